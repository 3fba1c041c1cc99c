//! Tokens in the place of passwords: JSON Web Tokens (RFC 7519), made here or by somebody who is trusted with it.
//!
//! A token says who somebody is, and until when. What they may do is still asked of their account each time, so that a
//! token does no more than a password does: it opens nothing once its user is gone, shut or has another password.

mod keys;
mod ring;

pub use keys::KeyFileError;
use keys::{KeySet, OwnKeys, VerifyingKey};

use super::account::Account;
use super::secret::Secret;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// What is configured about tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenRules {
    /// How those made here are signed.
    pub algorithm: TokenAlgorithm,
    /// How long one is good for.
    pub timeout: Duration,
    /// How long it can be exchanged for a new one without a password.
    pub refresh_timeout: Duration,
    /// Whose tokens are believed besides our own.
    pub issuer: Option<IssuerRules>,
}

/// How tokens made here are signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenAlgorithm {
    /// With a secret, which checks them too.
    Hs256,
    /// With a key of Ed25519, whose public half checks them.
    EdDsa,
}

/// Somebody else who makes tokens for this server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IssuerRules {
    /// Their public keys, a JWK set (RFC 7517).
    pub keys: PathBuf,
    /// What `iss` has to be.
    pub issuer: Option<String>,
    /// What `aud` has to hold. Without it, a token that says for whom it is made is refused.
    pub audience: Option<String>,
    /// The claim that names the user.
    pub user_claim: String,
}

/// What a token is for: one kind is never taken for the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Usage {
    /// To be let in.
    Access,
    /// To get another token to be let in with.
    Refresh,
}

/// Why a token opens nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// It is no token at all, or more than one.
    #[error("the token is malformed")]
    Malformed,
    /// It is longer than any that is taken.
    #[error("the token has more than {TOKEN_BYTES_MAX} bytes")]
    TooLarge,
    /// It names no key, or one that is not there.
    #[error("the token is signed with a key that is not known")]
    UnknownKey,
    /// It is signed in another way than its key is for; `none` is one.
    #[error("the token is signed in a way that is not allowed")]
    Algorithm,
    /// The signature is not by the key.
    #[error("the token's signature is wrong")]
    Signature,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    TooEarly,
    /// It does not say until when it is good, or who it is for, in a form that can be read.
    #[error("the token lacks a claim it needs")]
    Claims,
    /// It is from, or for, somebody else.
    #[error("the token's issuer or audience is another one")]
    OtherParty,
    /// It is a refresh token where an access token is needed, or the reverse.
    #[error("the token is for another use")]
    OtherUse,
    /// Its user is gone or shut, or has another password than when it was made.
    #[error("the token is of a user who may not sign in with it any more")]
    Revoked,
}

/// A token, and what goes with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Issued {
    /// The token.
    pub token: String,
    /// Seconds it is good for.
    pub expires_in: u64,
}

/// What a good token says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Claimed {
    pub(super) user: String,
    /// Seconds since 1970.
    pub(super) until_secs: u64,
    /// Of the account as it was; tokens made elsewhere have none.
    fingerprint: Option<String>,
}

impl Claimed {
    /// Whether it was made here, for who had shown a password or a certificate.
    pub(super) fn is_own(&self) -> bool {
        self.fingerprint.is_some()
    }
}

/// Makes and checks tokens.
pub(super) struct Tokens {
    own: OwnKeys,
    fingerprints: [u8; 32],
    force: RwLock<Arc<LoadedTokens>>,
}

/// Rules for tokens, and the keys of the issuer they name.
pub struct LoadedTokens {
    rules: TokenRules,
    others: KeySet,
}

/// The claims of a token made here.
#[derive(Serialize, Deserialize)]
struct OwnClaims {
    iss: String,
    sub: String,
    iat: u64,
    exp: u64,
    r#use: Usage,
    /// [`Tokens::fingerprint`]
    acc: String,
}

impl TokenRules {
    /// Reads the keys of the issuer.
    pub fn load(self) -> Result<LoadedTokens, KeyFileError> {
        let others = self.issuer.as_ref().map(|issuer| KeySet::read(&issuer.keys)).transpose()?;
        Ok(LoadedTokens { rules: self, others: others.unwrap_or_default() })
    }
}

impl Tokens {
    /// Tokens of the server whose keys are in `folder`. Fails if the issuer's keys cannot be read.
    pub(super) fn new(rules: TokenRules, folder: &Path, secret: &Secret) -> Result<Tokens, KeyFileError> {
        ring::install();
        Ok(Tokens {
            own: OwnKeys::new(folder),
            fingerprints: secret.key("accounts that tokens are made for"),
            force: RwLock::new(Arc::new(rules.load()?)),
        })
    }

    /// Tokens are made, and believed, as these rules say from now on.
    pub(super) fn set(&self, loaded: LoadedTokens) {
        *self.force.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
    }

    /// Reads the issuer's keys again. If that fails, those it had stay.
    pub(super) fn reload(&self) -> Result<(), KeyFileError> {
        self.set(self.in_force().rules.clone().load()?);
        Ok(())
    }

    /// The file with the issuer's keys.
    pub(super) fn key_file(&self) -> Option<PathBuf> {
        self.in_force().rules.issuer.as_ref().map(|issuer| issuer.keys.clone())
    }

    fn in_force(&self) -> Arc<LoadedTokens> {
        Arc::clone(&self.force.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a token. Fails if there is no key yet and none can be made.
    pub(super) fn issue(&self, account: &Account, usage: Usage, now_secs: u64) -> io::Result<Issued> {
        let TokenRules { algorithm, timeout, refresh_timeout, .. } = self.in_force().rules;
        let key = self.own.signing(algorithm)?;
        let lifetime = match usage {
            Usage::Access => timeout,
            Usage::Refresh => refresh_timeout,
        };
        let expires_in = lifetime.as_secs();
        let claims = OwnClaims {
            iss: ISSUER.to_owned(),
            sub: account.name.clone(),
            iat: now_secs,
            exp: now_secs.saturating_add(expires_in),
            r#use: usage,
            acc: self.fingerprint(account),
        };
        let header = Header { kid: Some(key.id.clone()), ..Header::new(key.algorithm) };
        let token = jsonwebtoken::encode(&header, &claims, &key.encoding);
        Ok(Issued { token: token.map_err(|error| io::Error::other(error.to_string()))?, expires_in })
    }

    /// What a token says, if it is good for this use now.
    pub(super) fn verify(&self, token: &str, usage: Usage, now_secs: u64) -> Result<Claimed, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLarge);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|error| refusal(error.kind()))?;
        if let Some(key) = header.kid.as_deref().and_then(|id| self.own.find(id)) {
            return verify_own(token, &key, usage, now_secs);
        }
        let LoadedTokens { rules, others } = &*self.in_force();
        let key = others.find(header.kid.as_deref()).ok_or(TokenError::UnknownKey)?;
        match (&rules.issuer, usage) {
            (Some(issuer), Usage::Access) => verify_other(token, key, issuer, now_secs),
            _ => Err(TokenError::OtherUse),
        }
    }

    /// Whether an account is still what it was when a token was made for it.
    pub(super) fn is_for(&self, claimed: &Claimed, account: &Account) -> bool {
        let is_same = claimed.fingerprint.as_ref().is_none_or(|then| *then == self.fingerprint(account));
        account.active && is_same
    }

    /// What changes whenever an account's password does, and when its name becomes somebody else's.
    fn fingerprint(&self, account: &Account) -> String {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.fingerprints).expect("a key of any length");
        mac.update(account.password.hash.as_phc().as_bytes());
        mac.update(account.name.as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(&mac.finalize().into_bytes()[..12])
    }
}

impl std::fmt::Debug for LoadedTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadedTokens").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// Whether a password is meant to be a token: three parts, of which the first is JSON in base64.
pub(super) fn is_token(password: &[u8]) -> bool {
    password.starts_with(b"eyJ") && password.iter().filter(|&&byte| byte == b'.').count() == 2
}

fn verify_own(token: &str, key: &VerifyingKey, usage: Usage, now_secs: u64) -> Result<Claimed, TokenError> {
    let claims: OwnClaims = decode(token, key, &validation(key))?;
    if claims.r#use != usage {
        return Err(TokenError::OtherUse);
    }
    if claims.exp <= now_secs {
        return Err(TokenError::Expired);
    }
    if claims.iat > now_secs.saturating_add(SKEW_SECS) {
        return Err(TokenError::TooEarly);
    }
    Ok(Claimed { user: claims.sub, until_secs: claims.exp, fingerprint: Some(claims.acc) })
}

fn verify_other(token: &str, key: &VerifyingKey, rules: &IssuerRules, now_secs: u64) -> Result<Claimed, TokenError> {
    let mut validation = validation(key);
    validation.iss = rules.issuer.clone().map(|issuer| [issuer].into());
    validation.aud = rules.audience.clone().map(|audience| [audience].into());
    let required = [("iss", rules.issuer.is_some()), ("aud", rules.audience.is_some())];
    validation.required_spec_claims =
        required.into_iter().filter(|(_, is_required)| *is_required).map(|(claim, _)| claim.to_owned()).collect();
    let claims: serde_json::Map<String, serde_json::Value> = decode(token, key, &validation)?;
    let until_secs = instant(claims.get("exp"))?.ok_or(TokenError::Claims)?;
    let since_secs = instant(claims.get("nbf"))?.unwrap_or(0);
    if until_secs <= now_secs {
        return Err(TokenError::Expired);
    }
    if since_secs > now_secs.saturating_add(SKEW_SECS) {
        return Err(TokenError::TooEarly);
    }
    let user = claims.get(&rules.user_claim).and_then(serde_json::Value::as_str).filter(|user| !user.is_empty());
    Ok(Claimed { user: user.ok_or(TokenError::Claims)?.to_owned(), until_secs, fingerprint: None })
}

/// A NumericDate (RFC 7519 §2) in whole seconds, which may have a fraction.
fn instant(claim: Option<&serde_json::Value>) -> Result<Option<u64>, TokenError> {
    let Some(claim) = claim else { return Ok(None) };
    let secs = claim.as_f64().filter(|secs| (0.0..=MAX_SECS).contains(secs)).ok_or(TokenError::Claims)?;
    Ok(Some(secs as u64))
}

/// The algorithm is the key's, whatever the token says. Times are checked here, against the caller's clock: the
/// library's own checks do not get along with numbers of arbitrary precision, which records may hold.
fn validation(key: &VerifyingKey) -> Validation {
    let mut validation = Validation::new(key.algorithm);
    validation.required_spec_claims.clear();
    (validation.validate_exp, validation.validate_nbf) = (false, false);
    validation
}

fn decode<T: serde::de::DeserializeOwned>(
    token: &str,
    key: &VerifyingKey,
    validation: &Validation,
) -> Result<T, TokenError> {
    let decoded = jsonwebtoken::decode(token, &key.decoding, validation);
    decoded.map(|decoded| decoded.claims).map_err(|error| refusal(error.kind()))
}

fn refusal(error: &ErrorKind) -> TokenError {
    match error {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => TokenError::Algorithm,
        ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience | ErrorKind::MissingRequiredClaim(_) => {
            TokenError::OtherParty
        }
        _ => TokenError::Malformed,
    }
}

/// Who makes our tokens.
const ISSUER: &str = "rowcast";
/// How far the clocks of those who make tokens may be ahead of ours.
const SKEW_SECS: u64 = 60;
/// Bytes of a token; those of large identity providers have some thousand.
const TOKEN_BYTES_MAX: usize = 8192;
/// The year 9999.
const MAX_SECS: f64 = 253_402_300_799.0;

#[cfg(test)]
mod tests;
