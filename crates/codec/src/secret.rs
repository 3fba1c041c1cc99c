//! Bytes that must not reach a log.

use std::fmt;
use std::ops::Deref;

/// A password or authentication data. Printing shows neither the bytes nor how many there are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret<'a>(pub &'a [u8]);

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl Deref for Secret<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0
    }
}

impl<'a> From<&'a [u8]> for Secret<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Auth, AuthProperties, Connect, ConnectProperties, Packet, ReasonCode, Secret, Version};

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Some(Secret(b"hunter2"));
        let connect = Packet::Connect(Box::new(Connect {
            version: Version::V5,
            is_bridge: false,
            clean_start: true,
            keep_alive_secs: 0,
            client_id: "a",
            will: None,
            username: None,
            password: secret,
            properties: ConnectProperties { authentication_data: secret, ..ConnectProperties::default() },
        }));
        let auth = Packet::Auth(Auth {
            reason: ReasonCode::ContinueAuthentication,
            properties: AuthProperties { authentication_data: secret, ..AuthProperties::default() },
        });
        for packet in [connect, auth] {
            let printed = format!("{packet:?} {packet:#?}");
            assert!(!printed.contains("hunter2") && !printed.contains("104"), "{printed}");
        }
    }
}
