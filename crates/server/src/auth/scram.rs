//! SCRAM-SHA-256 (RFC 5802, RFC 7677): a client proves that it knows a password without sending it, and learns that the
//! server knows it too. What the server keeps lets nobody sign in.
//!
//! Channel binding is not offered: there is no `SCRAM-SHA-256-PLUS`.

mod client;
mod server;

pub use client::{ClientError, ScramClient};
pub(super) use server::{Malformed, ScramServer};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::digest::CtOutput;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt;

/// The method's name in CONNECT and AUTH.
pub const METHOD: &str = "SCRAM-SHA-256";

/// What is kept of a password to check proofs of it. Written as RFC 5803 proposes:
/// `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`. Not shown: it can be guessed at.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    salt: Vec<u8>,
    iterations: u32,
    stored_key: Key,
    server_key: Key,
}

type Key = [u8; 32];

/// Two messages of either side, a line break between them, as whatever they could be.
#[cfg(any(test, fuzzing))]
pub(crate) fn try_messages(input: &[u8]) {
    let at = input.iter().position(|&byte| byte == b'\n').unwrap_or(input.len());
    let (first, last) = (&input[..at], input.get(at + 1..).unwrap_or_default());
    let verifier = |_: &str| Verifier::of(b"bone", b"salt", 1);
    if let Ok((challenged, answer)) = ScramServer::challenge(first, verifier) {
        assert!(answer.starts_with("r="), "{answer}");
        let is_right = challenged.proof(last).is_ok_and(|proof| proof.is_right());
        assert!(!is_right, "a proof for a nonce that was never told");
    }
    // A client is sent more than one iteration only where that is no work.
    let is_dear = String::from_utf8_lossy(last).rsplit("i=").next().is_none_or(|count| count.len() > 4);
    let (mut client, _) = ScramClient::new("rex", b"bone");
    let answered = !is_dear && client.answer(last).is_ok();
    assert!(!answered, "an answer to a nonce that was never sent");
    assert!(client.finish(last).is_err(), "a signature over nothing that was said");
    if let Some(verifier) = std::str::from_utf8(last).ok().and_then(Verifier::parse) {
        assert!(Verifier::parse(&verifier.to_string()) == Some(verifier), "read as it is written");
    }
}

impl Verifier {
    /// The one of `password`, with a salt of its own.
    ///
    /// # Panics
    /// If the system has no randomness.
    #[must_use]
    pub(super) fn new(password: &[u8], iterations: u32) -> Verifier {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).expect("the system gives random bytes");
        Verifier::of(password, &salt, iterations)
    }

    fn of(password: &[u8], salt: &[u8], iterations: u32) -> Verifier {
        let salted = salted_password(password, salt, iterations);
        let stored_key = Sha256::digest(client_key(&salted)).into();
        Verifier { salt: salt.to_vec(), iterations, stored_key, server_key: server_key(&salted) }
    }

    /// One that looks like anybody's and fits no password. The same for the same name, as long as the secret is: who
    /// asks twice does not learn that there is no such user.
    pub(super) fn of_nobody(name: &str, secret: &Key, iterations: u32) -> Verifier {
        let salt = hmac(secret, format!("salt of {name}").as_bytes());
        Verifier { salt: salt[..SALT_BYTES].to_vec(), iterations, stored_key: [0; 32], server_key: [0; 32] }
    }

    /// Reads the stored form; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Verifier> {
        let (costs, keys) = text.strip_prefix(METHOD)?.strip_prefix('$')?.split_once('$')?;
        let (iterations, salt) = costs.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let key = |text: &str| Key::try_from(BASE64_STANDARD.decode(text).ok()?).ok();
        Some(Verifier {
            salt: BASE64_STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty())?,
            iterations: iterations.parse().ok().filter(|&iterations| iterations > 0)?,
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }

    /// Whether `proof` over `said` could only be made with the password.
    fn is_proven_by(&self, proof: &Key, said: &[u8]) -> bool {
        let signature = hmac(&self.stored_key, said);
        let client_key = xor(proof, &signature);
        // Comparing `CtOutput` takes the same time wherever they differ.
        CtOutput::<Sha256>::new(Sha256::digest(client_key)) == CtOutput::new(self.stored_key.into())
    }

    /// By which the server proves that it knows the password.
    fn signature(&self, said: &[u8]) -> Key {
        hmac(&self.server_key, said)
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored_key, server_key] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|bytes| BASE64_STANDARD.encode(bytes));
        write!(f, "{METHOD}${}:{salt}${stored_key}:{server_key}", self.iterations)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(..)")
    }
}

fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> Key {
    pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(&prepared(password), salt, iterations)
}

/// A password as both sides hash it: what looks the same is the same (RFC 4013). Bytes that are no text, or not allowed
/// in one, are taken as they are.
fn prepared(password: &[u8]) -> Cow<'_, [u8]> {
    let text = std::str::from_utf8(password).ok().and_then(|text| stringprep::saslprep(text).ok());
    match text {
        Some(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        _ => Cow::Borrowed(password),
    }
}

fn client_key(salted_password: &Key) -> Key {
    hmac(salted_password, b"Client Key")
}

fn server_key(salted_password: &Key) -> Key {
    hmac(salted_password, b"Server Key")
}

fn hmac(key: &Key, message: &[u8]) -> Key {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn xor(one: &Key, other: &Key) -> Key {
    std::array::from_fn(|index| one[index] ^ other[index])
}

/// The next `name=value` of a message. Values contain no comma (RFC 5802 §7).
fn attribute<'m>(rest: &mut Option<&'m str>, name: char) -> Option<&'m str> {
    let (first, behind) = match (*rest)?.split_once(',') {
        Some((first, behind)) => (first, Some(behind)),
        None => ((*rest)?, None),
    };
    let value = first.strip_prefix(name)?.strip_prefix('=')?;
    *rest = behind;
    Some(value)
}

fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

/// Bytes of a nonce before it is written as text.
const NONCE_BYTES: usize = 18;

fn new_nonce() -> String {
    let mut random = [0; NONCE_BYTES];
    getrandom::fill(&mut random).expect("the system gives random bytes");
    BASE64_STANDARD.encode(random)
}

const SALT_BYTES: usize = 16;
/// Bytes of a message: names and nonces are far shorter.
const MESSAGE_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_comes_back_as_it_was_stored() {
        let verifier = Verifier::new(b"bone", 2);
        assert_eq!(Verifier::parse(&verifier.to_string()), Some(verifier.clone()));
        assert_ne!(Verifier::new(b"bone", 2), verifier, "a new salt each time");
        assert_eq!(format!("{verifier:?}"), "Verifier(..)");
        let key = BASE64_STANDARD.encode([7; 32]);
        for text in [
            String::new(),
            METHOD.to_owned(),
            format!("SCRAM-SHA-1$4096:c2FsdA==${key}:{key}"),
            format!("{METHOD}$0:c2FsdA==${key}:{key}"),
            format!("{METHOD}$-1:c2FsdA==${key}:{key}"),
            format!("{METHOD}$4096:${key}:{key}"),
            format!("{METHOD}$4096:c2FsdA==${key}"),
            format!("{METHOD}$4096:c2FsdA==${key}:c2hvcnQ="),
            format!("{METHOD}$4096:!${key}:{key}"),
        ] {
            assert_eq!(Verifier::parse(&text), None, "{text}");
        }
        assert!(Verifier::parse(&format!("{METHOD}$4096:c2FsdA==${key}:{key}")).is_some());
    }

    #[test]
    fn nobody_has_a_salt_that_stays() {
        let nobody = |name, secret| Verifier::of_nobody(name, secret, 4096);
        assert_eq!(nobody("rex", &[1; 32]), nobody("rex", &[1; 32]));
        assert_ne!(nobody("rex", &[1; 32]).salt, nobody("max", &[1; 32]).salt);
        assert_ne!(nobody("rex", &[1; 32]).salt, nobody("rex", &[2; 32]).salt);
        assert_eq!(nobody("rex", &[1; 32]).salt.len(), Verifier::new(b"bone", 1).salt.len());
    }

    #[test]
    fn passwords_that_look_the_same_are_the_same() {
        // RFC 4013 §3, and what is no text.
        for (password, expected) in
            [("I\u{ad}X", "IX"), ("user", "user"), ("\u{aa}", "a"), ("\u{2168}", "IX"), ("a\u{7}b", "a\u{7}b")]
        {
            assert_eq!(&*prepared(password.as_bytes()), expected.as_bytes(), "{password:?}");
        }
        assert_eq!(&*prepared(b"\xff\0"), b"\xff\0");
    }
}
