//! HTTP Basic authentication (RFC 7617).

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use std::fmt;

/// A name and a password, as someone claims them.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Who they say they are.
    pub user: String,
    /// What they say to prove it.
    pub password: Vec<u8>,
}

/// Why a header holds no credentials.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BasicError {
    /// The scheme is another one.
    #[error("the authorization scheme is not Basic")]
    OtherScheme,
    /// What follows the scheme is not base64 of `user:password`.
    #[error("the Basic credentials are malformed")]
    Malformed,
}

/// Reads the value of an `Authorization` header.
pub fn basic(header: &str) -> Result<Credentials, BasicError> {
    let (scheme, encoded) = header.trim().split_once(' ').ok_or(BasicError::OtherScheme)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(BasicError::OtherScheme);
    }
    let decoded = BASE64.decode(encoded.trim()).map_err(|_| BasicError::Malformed)?;
    let colon = decoded.iter().position(|&byte| byte == b':').ok_or(BasicError::Malformed)?;
    let user = std::str::from_utf8(&decoded[..colon]).map_err(|_| BasicError::Malformed)?;
    Ok(Credentials { user: user.to_owned(), password: decoded[colon + 1..].to_vec() })
}

impl Credentials {
    /// The value of an `Authorization` header.
    #[must_use]
    pub fn to_basic(&self) -> String {
        let plain = [self.user.as_bytes(), b":", &self.password].concat();
        format!("Basic {}", BASE64.encode(plain))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// With padding or without: clients do either.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_are_parted_at_the_first_colon() {
        check("Basic cmV4OmJvbmU=", Ok(("rex", "bone")));
        check("basic cmV4OmJvbmU", Ok(("rex", "bone")));
        check("Basic   cmV4OmJvbmU= ", Ok(("rex", "bone")));
        check("Basic cmV4OmE6Yg==", Ok(("rex", "a:b")));
        check("Basic cmV4Og==", Ok(("rex", "")));
        check("Basic Og==", Ok(("", "")));
        check("Basic cmV4", Err(BasicError::Malformed));
        check("Basic !", Err(BasicError::Malformed));
        check("Basic /zpib25l", Err(BasicError::Malformed));
        check("Basic", Err(BasicError::OtherScheme));
        check("Bearer cmV4OmJvbmU=", Err(BasicError::OtherScheme));
        check("", Err(BasicError::OtherScheme));
    }

    #[track_caller]
    fn check(header: &str, expected: Result<(&str, &str), BasicError>) {
        let expected = expected
            .map(|(user, password)| Credentials { user: user.to_owned(), password: password.as_bytes().to_vec() });
        assert_eq!(basic(header), expected, "{header}");
        if let Ok(credentials) = expected {
            assert_eq!(basic(&credentials.to_basic()), Ok(credentials));
        }
    }
}
