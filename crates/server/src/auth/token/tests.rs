//! Tokens that are good, and every way we know to pass off one that is not.

use super::super::tests::{HOME, Kept, RULES, TOKENS, authenticator, kept, run, with_tokens};
use super::*;
use crate::auth::{AuthError, Authenticator, Hasher, Principal};
use ::ring::rand::SystemRandom;
use ::ring::signature::{Ed25519KeyPair, KeyPair};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use std::sync::Arc;
use tempfile::TempDir;

fn rex(authenticator: &Authenticator) -> Principal {
    run(authenticator.verify("rex", b"bone", HOME)).expect("right").principal
}

/// An authenticator, and tokens of rex, signed so.
fn with_algorithm(algorithm: TokenAlgorithm) -> (Arc<Kept>, Authenticator, Issued, Issued, TempDir) {
    let (accounts, keys) = (kept(), tempfile::tempdir().expect("a folder"));
    let authenticator = with_tokens(&accounts, RULES, TokenRules { algorithm, ..TOKENS }, keys.path());
    let rex = rex(&authenticator);
    let issue = |usage| authenticator.issue(&rex, usage).expect("a key").expect("an account");
    let (access, refresh) = (issue(Usage::Access), issue(Usage::Refresh));
    (accounts, authenticator, access, refresh, keys)
}

fn user(authenticator: &Authenticator, token: &str) -> Result<String, TokenError> {
    authenticator.bearer(token, Usage::Access).map(|known| known.principal.user.to_string())
}

/// The parts of a token, decoded as far as they are JSON.
fn parts(token: &str) -> (Value, Value, String) {
    let parts: Vec<&str> = token.split('.').collect();
    let json =
        |part: &str| serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON");
    (json(parts[0]), json(parts[1]), parts[2].to_owned())
}

fn joined(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |json: &Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

#[test]
fn a_token_opens_what_a_password_does_until_it_expires() {
    for algorithm in [TokenAlgorithm::Hs256, TokenAlgorithm::EdDsa] {
        let (_, authenticator, access, refresh, keys) = with_algorithm(algorithm);
        let known = authenticator.bearer(&access.token, Usage::Access).expect("good");
        assert_eq!(known.principal, rex(&authenticator));
        assert_eq!((access.expires_in, refresh.expires_in), (100, 1000));
        let until = known.until_secs.expect("a time");
        let at = |now| authenticator.bearer_at(&access.token, Usage::Access, now).map(|known| known.until_secs);
        assert_eq!(at(until - 1), Ok(Some(until)));
        assert_eq!(at(until), Err(TokenError::Expired));
        assert_eq!(at(until + 1_000_000), Err(TokenError::Expired));
        assert_eq!(at(until - 100 - SKEW_SECS), Ok(Some(until)), "a clock that is a little behind");
        assert_eq!(at(until - 101 - SKEW_SECS), Err(TokenError::TooEarly));
        // The key stays the same.
        let again = with_tokens(&kept(), RULES, TOKENS, keys.path());
        assert_eq!(user(&again, &access.token), Err(TokenError::Revoked), "rex has another password hash there");
    }
}

#[test]
fn keys_are_made_when_they_are_needed_and_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let keys = tempfile::tempdir().expect("a folder");
    let authenticator = with_tokens(&kept(), RULES, TOKENS, keys.path());
    let file = keys.path().join("token-hs256.key");
    assert!(!file.exists());
    authenticator.issue(&rex(&authenticator), Usage::Access).expect("a key").expect("an account");
    assert_eq!(std::fs::metadata(&file).expect("made").permissions().mode() & 0o777, 0o600);
    assert!(!keys.path().join("token-ed25519.key").exists());
    std::fs::write(&file, b"short").expect("damaged");
    let damaged = with_tokens(&kept(), RULES, TOKENS, keys.path());
    assert!(damaged.issue(&rex(&damaged), Usage::Access).is_err());
    assert_eq!(std::fs::read(&file).expect("there"), b"short", "it is not replaced");
}

#[test]
fn each_kind_of_token_is_good_for_its_own_use() {
    let (_, authenticator, access, refresh, _keys) = with_algorithm(TokenAlgorithm::Hs256);
    assert_eq!(user(&authenticator, &refresh.token), Err(TokenError::OtherUse));
    assert_eq!(authenticator.bearer(&access.token, Usage::Refresh).err(), Some(TokenError::OtherUse));
    assert!(authenticator.bearer(&refresh.token, Usage::Refresh).is_ok());
}

#[test]
fn a_token_dies_with_its_users_password_and_account() {
    let (accounts, authenticator, access, refresh, _keys) = with_algorithm(TokenAlgorithm::Hs256);
    let change = |change: &dyn Fn(&mut Account)| {
        accounts.change("rex", |account| change(account));
        (user(&authenticator, &access.token), authenticator.bearer(&refresh.token, Usage::Refresh).map(|_| ()))
    };
    let revoked = (Err(TokenError::Revoked), Err(TokenError::Revoked));
    assert_eq!(change(&|account| account.role = "reader".to_owned()), (Ok("rex".to_owned()), Ok(())));
    let known = authenticator.bearer(&access.token, Usage::Access).expect("good");
    assert_eq!(*known.principal.role, *"reader", "rights are those of now");
    assert_eq!(change(&|account| account.active = false), revoked);
    assert_eq!(change(&|account| account.active = true), (Ok("rex".to_owned()), Ok(())));
    let same_password = |account: &mut Account| account.password = Hasher::cheap().keep(b"bone").expect("hashed");
    assert_eq!(change(&same_password), revoked);
    accounts.remove("rex");
    assert_eq!(user(&authenticator, &access.token), Err(TokenError::Revoked));
}

#[test]
fn what_is_not_signed_with_our_key_in_its_way_opens_nothing() {
    for algorithm in [TokenAlgorithm::Hs256, TokenAlgorithm::EdDsa] {
        let (_, authenticator, Issued { token, .. }, _, keys) = with_algorithm(algorithm);
        let (header, claims, signature) = parts(&token);
        let with_header = |change: &dyn Fn(&mut Value)| {
            let mut header = header.clone();
            change(&mut header);
            joined(&header, &claims, &signature)
        };
        let admin = {
            let mut claims = claims.clone();
            claims["sub"] = json!("admin");
            joined(&header, &claims, &signature)
        };
        // Signed with the public key as the secret, and with the secret's file as a public key would be.
        let file =
            keys.path().join(if algorithm == TokenAlgorithm::Hs256 { "token-hs256.key" } else { "token-ed25519.key" });
        let public = match algorithm {
            TokenAlgorithm::Hs256 => b"any".to_vec(),
            TokenAlgorithm::EdDsa => {
                let pair = Ed25519KeyPair::from_pkcs8(&std::fs::read(&file).expect("a key")).expect("a key");
                pair.public_key().as_ref().to_vec()
            }
        };
        let kid = header["kid"].as_str().expect("a name").to_owned();
        let confused = sign(Algorithm::HS256, Some(&kid), &claims, &EncodingKey::from_secret(&public).expect("a key"));
        let other_alg = if algorithm == TokenAlgorithm::Hs256 { "EdDSA" } else { "HS256" };
        let cases = [
            ("none", with_header(&|header| header["alg"] = json!("none")), TokenError::Malformed),
            ("None", with_header(&|header| header["alg"] = json!("None")), TokenError::Malformed),
            (
                "no algorithm",
                with_header(&|header| drop(header.as_object_mut().expect("one").remove("alg"))),
                TokenError::Malformed,
            ),
            ("none, unsigned", joined(&json!({"alg": "none", "kid": kid}), &claims, ""), TokenError::Malformed),
            ("unsigned", joined(&header, &claims, ""), TokenError::Signature),
            ("another algorithm", with_header(&|header| header["alg"] = json!(other_alg)), TokenError::Algorithm),
            ("a stronger one", with_header(&|header| header["alg"] = json!("HS512")), TokenError::Algorithm),
            ("another user", admin, TokenError::Signature),
            ("an unknown key", with_header(&|header| header["kid"] = json!("x")), TokenError::UnknownKey),
            (
                "no key",
                with_header(&|header| drop(header.as_object_mut().expect("one").remove("kid"))),
                TokenError::UnknownKey,
            ),
            ("a file as key", with_header(&|header| header["kid"] = json!("../secret")), TokenError::UnknownKey),
            ("what is critical", with_header(&|header| header["crit"] = json!(["exp"])), TokenError::Malformed),
            ("unencoded", with_header(&|header| header["b64"] = json!(false)), TokenError::Malformed),
            ("two signatures", format!("{token}.{signature}"), TokenError::Malformed),
            ("no signature", token.rsplit_once('.').expect("parts").0.to_owned(), TokenError::Malformed),
            ("nothing", String::new(), TokenError::Malformed),
            ("dots", "..".to_owned(), TokenError::Malformed),
            ("a huge one", format!("{token}{}", "A".repeat(TOKEN_BYTES_MAX)), TokenError::TooLarge),
        ];
        for (what, token, expected) in cases {
            assert_eq!(user(&authenticator, &token), Err(expected), "{what}: {token}");
        }
        let confused = user(&authenticator, &confused).expect_err("signed with what everybody knows");
        assert!(matches!(confused, TokenError::Algorithm | TokenError::Signature), "{confused}");
        // A key that travels with the token is nobody's.
        let (jwk, pair) = ed25519("x");
        let own = {
            let header = json!({"alg": "EdDSA", "jwk": jwk, "kid": kid});
            let message = joined(&header, &claims, "");
            let message = message.trim_end_matches('.');
            format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes())))
        };
        let refused = user(&authenticator, &own).expect_err("signed with a key of its own");
        assert!(matches!(refused, TokenError::Algorithm | TokenError::Signature), "{refused}");
        assert!(user(&authenticator, &token[..token.len() - 20]).is_err(), "half a signature");
        assert_eq!(user(&authenticator, &token), Ok("rex".to_owned()));
    }
}

fn sign(algorithm: Algorithm, kid: Option<&str>, claims: &Value, key: &EncodingKey) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, key).expect("signed")
}

/// A key pair, and its public half as a JWK.
fn ed25519(kid: &str) -> (Value, Ed25519KeyPair) {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("a key");
    let x = BASE64_URL_SAFE_NO_PAD.encode(pair.public_key());
    (json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x }), pair)
}

fn signed(pair: &Ed25519KeyPair, kid: &str, claims: &Value) -> String {
    let message = joined(&json!({ "alg": "EdDSA", "kid": kid }), claims, "");
    let message = message.trim_end_matches('.');
    format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes())))
}

fn issuer(folder: &TempDir, keys: &Value) -> TokenRules {
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, json!({ "keys": keys }).to_string()).expect("written");
    let issuer = IssuerRules {
        keys: path,
        issuer: Some("https://id.example".to_owned()),
        audience: Some("dogs".to_owned()),
        user_claim: "sub".to_owned(),
    };
    TokenRules { issuer: Some(issuer), ..TOKENS }
}

#[test]
fn tokens_of_somebody_else_are_believed_within_what_is_agreed() {
    let folder = tempfile::tempdir().expect("a folder");
    let ((jwk, pair), (_, stranger)) = (ed25519("k1"), ed25519("k1"));
    let authenticator = with_tokens(&kept(), RULES, issuer(&folder, &json!([jwk])), folder.path());
    let now = super::super::now_secs();
    let good = json!({ "iss": "https://id.example", "aud": "dogs", "sub": "rex", "exp": now + 60, "nbf": now });
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        user(&authenticator, &signed(&pair, "k1", &claims))
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().expect("claims").remove(name);
        user(&authenticator, &signed(&pair, "k1", &claims))
    };
    let rex = Ok("rex".to_owned());
    assert_eq!(with("aud", json!(["cats", "dogs"])), rex);
    assert_eq!(with("exp", json!(now as f64 + 60.5)), rex);
    assert_eq!(with("nbf", json!(now + SKEW_SECS - 5)), rex);
    assert_eq!(without("nbf"), rex);
    assert_eq!(with("use", json!("refresh")), rex, "what others mean by it is theirs");
    for (found, expected) in [
        (with("exp", json!(now)), TokenError::Expired),
        (with("exp", json!(0)), TokenError::Expired),
        (with("exp", json!("tomorrow")), TokenError::Claims),
        (with("exp", json!(-1)), TokenError::Claims),
        (with("exp", json!(1e300)), TokenError::Claims),
        (without("exp"), TokenError::Claims),
        (with("nbf", json!(now + SKEW_SECS + 60)), TokenError::TooEarly),
        (with("nbf", json!("x")), TokenError::Claims),
        (with("iss", json!("https://evil.example")), TokenError::OtherParty),
        (without("iss"), TokenError::OtherParty),
        (with("aud", json!("cats")), TokenError::OtherParty),
        (with("aud", json!([])), TokenError::OtherParty),
        (without("aud"), TokenError::OtherParty),
        (with("sub", json!("nobody")), TokenError::Revoked),
        (with("sub", json!("gone")), TokenError::Revoked),
        (with("sub", json!("")), TokenError::Claims),
        (with("sub", json!(7)), TokenError::Claims),
        (without("sub"), TokenError::Claims),
        (user(&authenticator, &signed(&pair, "k2", &good)), TokenError::UnknownKey),
        (user(&authenticator, &signed(&stranger, "k1", &good)), TokenError::Signature),
    ] {
        assert_eq!(found, Err(expected));
    }
    let refresh = authenticator.bearer(&signed(&pair, "k1", &good), Usage::Refresh);
    assert_eq!(refresh.err(), Some(TokenError::OtherUse));
    // Signed with the public key as a secret.
    let public = EncodingKey::from_secret(pair.public_key().as_ref()).expect("a key");
    assert_eq!(user(&authenticator, &sign(Algorithm::HS256, Some("k1"), &good, &public)), Err(TokenError::Algorithm));
}

#[test]
fn changed_keys_are_taken_over_and_broken_ones_are_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let ((first, first_pair), (second, second_pair)) = (ed25519("k1"), ed25519("k2"));
    let rules = issuer(&folder, &json!([first]));
    let path = rules.issuer.clone().expect("an issuer").keys;
    let authenticator = with_tokens(&kept(), RULES, rules, folder.path());
    let exp = super::super::now_secs() + 60;
    let claims = json!({ "iss": "https://id.example", "aud": "dogs", "sub": "rex", "exp": exp });
    let opens = |pair, kid| user(&authenticator, &signed(pair, kid, &claims)).is_ok();
    assert!(opens(&first_pair, "k1") && !opens(&second_pair, "k2"));
    std::fs::write(&path, json!({ "keys": [second] }).to_string()).expect("written");
    authenticator.reload_keys();
    assert!(!opens(&first_pair, "k1") && opens(&second_pair, "k2"));
    for broken in ["", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"c2hvcnQ"}]}"#] {
        std::fs::write(&path, broken).expect("written");
        authenticator.reload_keys();
        assert!(opens(&second_pair, "k2"), "{broken}");
        let started = Tokens::new(issuer_at(&path), folder.path(), &Secret::random().expect("random"));
        assert!(started.is_err(), "{broken}");
    }
    let many: Vec<Value> = (0..101).map(|number| ed25519(&number.to_string()).0).collect();
    std::fs::write(&path, json!({ "keys": many }).to_string()).expect("written");
    authenticator.reload_keys();
    std::fs::write(&path, format!("{{\"keys\":[]{}}}", " ".repeat(300_000))).expect("written");
    authenticator.reload_keys();
    std::fs::remove_file(&path).expect("removed");
    authenticator.reload_keys();
    assert!(opens(&second_pair, "k2"));
}

fn issuer_at(path: &Path) -> TokenRules {
    let issuer = IssuerRules { keys: path.to_owned(), issuer: None, audience: None, user_claim: "sub".to_owned() };
    TokenRules { issuer: Some(issuer), ..TOKENS }
}

#[test]
fn keys_of_every_kind_check_tokens_of_their_own_algorithm_only() {
    // Keys of RSA, P-256 and Ed25519, and tokens of rex signed with them, by openssl.
    let cases: Vec<Value> = serde_json::from_str(include_str!("../../../tests/data/jws.json")).expect("cases");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("jwks.json");
    assert_eq!(cases.len(), 3);
    for case in &cases {
        for alg in [None, Some("HS256"), Some("RS256"), Some("ES256"), Some("EdDSA")] {
            let mut jwk = case["key"].clone();
            if let Some(alg) = alg {
                jwk["alg"] = json!(alg);
            }
            std::fs::write(&path, json!({ "keys": [jwk] }).to_string()).expect("written");
            let Ok(keys) = KeySet::read(&path) else {
                assert!(alg.is_some_and(|alg| case["alg"] != alg), "{case} as {alg:?}");
                continue;
            };
            ring::install();
            let key = keys.find(None).expect("the only key");
            let token = case["token"].as_str().expect("a token");
            let found = decode::<Value>(token, key, &validation(key)).map(|claims| claims["sub"].clone());
            assert_eq!(found, Ok(json!("rex")), "{case}");
            let spoiled = token.replacen(".ey", ".eY", 1);
            assert_eq!(decode::<Value>(&spoiled, key, &validation(key)).err(), Some(TokenError::Signature));
        }
    }
}

#[test]
fn over_mqtt_a_token_stands_in_for_a_password_where_that_is_wanted() {
    let (accounts, authenticator, access, refresh, keys) = with_algorithm(TokenAlgorithm::Hs256);
    let sign_in = |authenticator: &Authenticator, user: &str, token: &str| {
        run(authenticator.sign_in(user, token.as_bytes(), HOME)).map(|known| known.principal.user.to_string())
    };
    for user in ["", "rex"] {
        assert_eq!(sign_in(&authenticator, user, &access.token), Ok("rex".to_owned()));
    }
    assert_eq!(sign_in(&authenticator, "admin", &access.token), Err(TokenError::OtherParty.into()));
    assert_eq!(sign_in(&authenticator, "rex", &refresh.token), Err(TokenError::OtherUse.into()));
    assert_eq!(sign_in(&authenticator, "rex", "bone"), Ok("rex".to_owned()));
    let rules = crate::auth::Rules { tokens_as_passwords: false, ..RULES };
    let without = with_tokens(&accounts, rules, TOKENS, keys.path());
    assert_eq!(sign_in(&without, "rex", &access.token), Err(AuthError::Refused));
}

#[test]
fn who_has_no_account_gets_no_token() {
    let authenticator = authenticator(&kept(), RULES);
    let gone = Principal { user: "gone".into(), ..rex(&authenticator) };
    for nobody in [Principal::anonymous(), Principal::local(), gone] {
        assert_eq!(authenticator.issue(&nobody, Usage::Access).expect("a key"), None);
    }
}
