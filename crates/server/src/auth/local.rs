//! How a command on this machine shows that it may read the keys of a node's data folder, and so may do everything
//! with it.

use super::secret::Secret;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt::Write;

/// Makes tokens that hold for a minute, and tells them from others.
#[derive(Clone)]
pub struct LocalKey([u8; 32]);

impl LocalKey {
    /// What the authorization scheme is called.
    pub const SCHEME: &str = "Rowcast-Local";

    /// The key of whoever has this secret.
    #[must_use]
    pub fn new(secret: &Secret) -> LocalKey {
        LocalKey(secret.key("commands on this machine"))
    }

    /// The value of an `Authorization` header for a request made now, in seconds since 1970.
    #[must_use]
    pub fn authorization(&self, now_secs: u64) -> String {
        let until = now_secs + VALID_SECS;
        let mut proof = String::new();
        for byte in self.mac(until).finalize().into_bytes() {
            let _ = write!(proof, "{byte:02x}");
        }
        format!("{} {until}.{proof}", Self::SCHEME)
    }

    /// Whether that value was made with this key, and not long ago. `None`: it is of another scheme.
    #[must_use]
    pub fn verify(&self, authorization: &str, now_secs: u64) -> Option<bool> {
        let (scheme, token) = authorization.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case(Self::SCHEME).then(|| self.fits(token.trim(), now_secs).is_some())
    }

    fn fits(&self, token: &str, now_secs: u64) -> Option<()> {
        let (until, proof) = token.split_once('.')?;
        let until = until.parse().ok().filter(|until| (now_secs..=now_secs + VALID_SECS).contains(until))?;
        let digits = proof.as_bytes().chunks(2).map(|pair| {
            let pair =
                std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
            u8::from_str_radix(pair, 16).ok()
        });
        let proof: Vec<u8> = (proof.len() == 64).then(|| digits.collect()).flatten()?;
        // Takes the same time wherever they differ.
        self.mac(until).verify_slice(&proof).ok()
    }

    fn mac(&self, until: u64) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(&until.to_be_bytes());
        mac
    }
}

const VALID_SECS: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fresh_token_of_the_same_secret_fits() {
        let key = LocalKey::new(&Secret::random().expect("random"));
        let token = key.authorization(1000);
        for (text, now, expected) in [
            (token.clone(), 1000, Some(true)),
            (token.to_ascii_lowercase(), 1060, Some(true)),
            (token.clone(), 1061, Some(false)),
            (token.clone(), 900, Some(false)),
            (token.replace("1060.", "1059."), 1000, Some(false)),
            (token[..token.len() - 1].to_owned(), 1000, Some(false)),
            (format!("{token}0"), 1000, Some(false)),
            (token.replace("1060.", "1060.+"), 1000, Some(false)),
            ("Rowcast-Local ü.ü".to_owned(), 1000, Some(false)),
            ("Rowcast-Local x".to_owned(), 1000, Some(false)),
            ("Basic cmV4OmJvbmU=".to_owned(), 1000, None),
            (String::new(), 1000, None),
        ] {
            assert_eq!(key.verify(&text, now), expected, "{text} at {now}");
        }
        let other = LocalKey::new(&Secret::random().expect("random"));
        assert_eq!(other.verify(&token, 1000), Some(false));
    }
}
