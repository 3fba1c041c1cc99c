//! Passwords: hashing, checking, making one up.

use super::scram::Verifier;
use argon2::password_hash::{self, PasswordHasher, PasswordVerifier, phc};
use argon2::{Algorithm, Argon2, Params, Version};
use std::fmt;

/// A password's hash with its salt and parameters, as a PHC string. Not shown: it can be guessed at.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Reads a PHC string; `None` unless it is argon2id with a salt, a hash, and parameters this machine can afford.
    #[must_use]
    pub fn parse(text: &str) -> Option<PasswordHash> {
        let hash = phc::PasswordHash::new(text).ok()?;
        let params = Params::try_from(&hash).ok()?;
        let affordable =
            params.m_cost() <= MEMORY_KIB_MAX && params.t_cost() <= PASSES_MAX && params.p_cost() <= LANES_MAX;
        let whole = hash.algorithm.as_str() == "argon2id" && hash.salt.is_some() && hash.hash.is_some();
        (whole && affordable).then(|| PasswordHash(text.to_owned()))
    }

    /// The PHC string, to be stored.
    #[must_use]
    pub fn as_phc(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// All that is kept of a password.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptPassword {
    /// To check it when it is sent.
    pub hash: PasswordHash,
    /// To check a proof of it; accounts of earlier versions have none.
    pub verifier: Option<Verifier>,
}

/// Hashes and checks with argon2id, at the cost OWASP recommends: 19 MiB, two passes.
#[derive(Clone, Debug)]
pub struct Hasher {
    argon2: Argon2<'static>,
    nobody: PasswordHash,
    scram_iterations: u32,
}

impl Default for Hasher {
    fn default() -> Hasher {
        Hasher::new(Params::default(), SCRAM_ITERATIONS)
    }
}

impl Hasher {
    fn new(params: Params, scram_iterations: u32) -> Hasher {
        let nobody =
            format!("$argon2id$v=19$m={},t={},p={}${NOBODY}", params.m_cost(), params.t_cost(), params.p_cost());
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        Hasher { argon2, nobody: PasswordHash(nobody), scram_iterations }
    }

    /// One for tests, that costs next to nothing.
    #[cfg(test)]
    pub(crate) fn cheap() -> Hasher {
        Hasher::new(Params::new(Params::MIN_M_COST, 1, 1, None).expect("the least there is"), 1)
    }

    /// What is to be kept of a password. Fails for passwords of gigabytes and without a source of randomness.
    pub fn keep(&self, password: &[u8]) -> Result<KeptPassword, password_hash::Error> {
        let verifier = Some(Verifier::new(password, self.scram_iterations));
        Ok(KeptPassword { hash: self.hash(password)?, verifier })
    }

    fn hash(&self, password: &[u8]) -> Result<PasswordHash, password_hash::Error> {
        Ok(PasswordHash(self.argon2.hash_password(password)?.to_string()))
    }

    /// How often a new verifier hashes.
    #[must_use]
    pub fn scram_iterations(&self) -> u32 {
        self.scram_iterations
    }

    /// Whether `password` is the one that was hashed. The parameters are the hash's; the comparison takes the same
    /// time wherever they differ.
    #[must_use]
    pub fn verify(&self, password: &[u8], hash: &PasswordHash) -> bool {
        phc::PasswordHash::new(&hash.0).is_ok_and(|hash| self.argon2.verify_password(password, &hash).is_ok())
    }

    /// As long as [`verify`](Hasher::verify), for the password of a user that does not exist; always false.
    #[must_use]
    pub fn verify_nobody(&self, password: &[u8]) -> bool {
        let _ = std::hint::black_box(self.verify(password, &self.nobody));
        false
    }
}

/// A new password of 100 random bits, in letters and digits nobody takes for another.
///
/// # Panics
/// If the system has no randomness.
#[must_use]
pub fn generate_password() -> String {
    let mut random = [0; 20];
    getrandom::fill(&mut random).expect("the system gives random bytes");
    let mut password = String::new();
    for (index, byte) in random.iter().enumerate() {
        if index > 0 && index % 5 == 0 {
            password.push('-');
        }
        password.push(char::from(ALPHABET[usize::from(byte & 31)]));
    }
    password
}

/// The client's work at each sign-in, and the attacker's at each guess, should the verifiers be stolen. RFC 7677 asks for
/// 4,096 at least; small devices take a second for this many.
const SCRAM_ITERATIONS: u32 = 100_000;

/// Salt and hash of no password.
const NOBODY: &str = "bm9ib2R5J3Mgc2FsdCE$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A stored hash must not ask for more than this: 1 GiB.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
const PASSES_MAX: u32 = 100;
const LANES_MAX: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_its_own_hash_only() {
        let hasher = Hasher::cheap();
        let hash = hasher.hash(b"bone").expect("hashed");
        assert!(hasher.verify(b"bone", &hash));
        for other in ["", "bon", "bone ", "BONE", "bone\0"] {
            assert!(!hasher.verify(other.as_bytes(), &hash), "{other:?}");
        }
        assert_ne!(hasher.hash(b"bone").expect("hashed"), hash, "a new salt each time");
        let long = vec![b'x'; 65_535];
        assert!(hasher.verify(&long, &hasher.hash(&long).expect("hashed")));
    }

    #[test]
    fn nobody_has_no_password_and_costs_the_same() {
        let hasher = Hasher::default();
        assert_eq!(PasswordHash::parse(&hasher.nobody.0), Some(hasher.nobody.clone()));
        assert!(!Hasher::cheap().verify_nobody(b""));
    }

    #[test]
    fn hashes_made_elsewhere_are_read_within_reason() {
        let salt_and_hash = "c29tZXNhbHQ$G5ajKFCoUzaXRLdz7UJb5wGkb2Xt+X5/GQjUYtS2+TE";
        for (text, expected) in [
            (format!("$argon2id$v=19$m=65536,t=2,p=1${salt_and_hash}"), true),
            (format!("$argon2id$v=19$m=4194304,t=2,p=1${salt_and_hash}"), false),
            (format!("$argon2id$v=19$m=65536,t=1000,p=1${salt_and_hash}"), false),
            (format!("$argon2i$v=19$m=65536,t=2,p=1${salt_and_hash}"), false),
            ("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ".to_owned(), false),
            ("$argon2id$v=19$m=65536,t=2,p=1".to_owned(), false),
            ("bone".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(PasswordHash::parse(&text).is_some(), expected, "{text}");
        }
    }

    #[test]
    fn made_up_passwords_differ_and_can_be_read_aloud() {
        let password = generate_password();
        assert_eq!(password.len(), 23);
        assert!(password.bytes().all(|byte| byte == b'-' || ALPHABET.contains(&byte)), "{password}");
        assert_ne!(generate_password(), password);
    }
}
