//! What this server alone knows, kept beside its data.

use crate::private_file;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Random bytes from which keys are derived, one for each purpose. They stay the same for as long as the data does.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// The one in `folder`, which is made if it is not there.
    pub fn open(folder: &Path) -> io::Result<Secret> {
        let path = folder.join(NAME);
        match fs::read(&path) {
            Ok(bytes) => {
                let damaged = |_| io::Error::new(ErrorKind::InvalidData, format!("{} is damaged", path.display()));
                <[u8; 32]>::try_from(bytes).map(Secret).map_err(damaged)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let secret = Secret::random()?;
                private_file::write(&path, &secret.0)?;
                Ok(secret)
            }
            Err(error) => Err(error),
        }
    }

    /// A new one, kept nowhere.
    pub fn random() -> io::Result<Secret> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Secret(bytes))
    }

    /// The key for a purpose.
    #[must_use]
    pub fn key(&self, purpose: &str) -> [u8; 32] {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(purpose.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

const NAME: &str = "secret";

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_made_once_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = folder.path().join("keys");
        let secret = Secret::open(&keys).expect("made");
        assert_eq!(Secret::open(&keys).expect("found"), secret);
        assert_ne!(Secret::random().expect("random"), secret);
        let mode = fs::metadata(keys.join(NAME)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_secret_is_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(NAME), b"short").expect("written");
        assert!(Secret::open(folder.path()).is_err());
    }

    #[test]
    fn every_purpose_has_a_key_of_its_own() {
        let secret = Secret([7; 32]);
        assert_eq!(secret.key("a"), secret.key("a"));
        assert_ne!(secret.key("a"), secret.key("b"));
        assert_ne!(secret.key("a"), Secret([8; 32]).key("a"));
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }
}
