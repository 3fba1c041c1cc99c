//! The fixed header: which packet it is, and how long.

use crate::reader::varint;
use crate::{DecodeError, Version};

/// The length in bytes of the packet that `bytes` begin with, its fixed header included; `None` while that header
/// is incomplete. Nothing but the header is looked at, so a packet can be refused before its body has arrived.
///
/// `limit` is the largest whole packet accepted, in bytes, as Maximum Packet Size counts them (MQTT 5 §3.1.2.11.4).
///
/// What only the version can tell, AUTH and the flags MQTT 3.1 allows, is left to [`Packet::decode`].
///
/// [`Packet::decode`]: crate::Packet::decode
pub fn frame_length(bytes: &[u8], limit: u32) -> Result<Option<usize>, DecodeError> {
    let Some(header) = Header::load(bytes)? else { return Ok(None) };
    let size = header.bytes as u32 + header.remaining;
    if size > limit {
        return Err(DecodeError::TooLarge { size, limit });
    }
    Ok(Some(size as usize))
}

/// A packet's first two to five bytes.
///
/// | bits or bytes | field       |                                             |
/// |---------------|-------------|---------------------------------------------|
/// | 4 bits        | `kind`      | high half of the first byte                 |
/// | 4 bits        | `flags`     | fixed for each kind, but of PUBLISH         |
/// | 1 to 4 bytes  | `remaining` | variable byte integer: length of what follows |
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    /// Length of what follows the header.
    pub(crate) remaining: u32,
    /// Length of the header itself.
    pub(crate) bytes: usize,
}

impl Header {
    /// Reads the header at the front of `bytes`; `None` while it is incomplete.
    #[inline]
    pub(crate) fn load(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        let kind = Kind::from_number(first >> 4).ok_or(DecodeError::PacketType { number: first >> 4 })?;
        let flags = first & 0x0F;
        kind.check_flags(flags)?;
        let length = varint(rest, "remaining length")?;
        Ok(length.map(|(remaining, used)| Self { kind, flags, remaining, bytes: 1 + used }))
    }

    /// Checks what depends on the version: AUTH came with MQTT 5, and only MQTT 3.1 lets a client mark a repeated
    /// PUBREL, SUBSCRIBE or UNSUBSCRIBE as a duplicate (MQTT 3.1 §2.1).
    #[inline]
    pub(crate) fn check_version(&self, version: Version) -> Result<(), DecodeError> {
        if self.kind == Kind::Auth && version < Version::V5 {
            return Err(DecodeError::PacketType { number: Kind::Auth as u8 });
        }
        if version > Version::V31 && self.kind != Kind::Publish && self.flags != self.kind.flags() {
            return Err(DecodeError::ReservedFlags { packet: self.kind.name(), flags: self.flags });
        }
        Ok(())
    }
}

/// The packet types (MQTT 5 §2.1.2), numbered as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Connect = 1,
    Connack,
    Publish,
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
    Subscribe,
    Suback,
    Unsubscribe,
    Unsuback,
    Pingreq,
    Pingresp,
    Disconnect,
    Auth,
}

impl Kind {
    #[inline]
    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Connect,
            2 => Self::Connack,
            3 => Self::Publish,
            4 => Self::Puback,
            5 => Self::Pubrec,
            6 => Self::Pubrel,
            7 => Self::Pubcomp,
            8 => Self::Subscribe,
            9 => Self::Suback,
            10 => Self::Unsubscribe,
            11 => Self::Unsuback,
            12 => Self::Pingreq,
            13 => Self::Pingresp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Connack => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::Puback => "PUBACK",
            Self::Pubrec => "PUBREC",
            Self::Pubrel => "PUBREL",
            Self::Pubcomp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::Suback => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Unsuback => "UNSUBACK",
            Self::Pingreq => "PINGREQ",
            Self::Pingresp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }

    /// The flags every packet of this kind carries; those of PUBLISH are its fields.
    pub(crate) fn flags(self) -> u8 {
        match self {
            Self::Pubrel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }

    #[inline]
    fn check_flags(self, flags: u8) -> Result<(), DecodeError> {
        match self {
            Self::Publish if flags & 0b0110 == 0b0110 => Err(DecodeError::Qos { field: "PUBLISH" }),
            Self::Publish if flags & 0b1110 == 0b1000 => Err(DecodeError::DupWithoutQos),
            Self::Publish => Ok(()),
            // MQTT 3.1 has DUP here; `check_version` refuses it for the others.
            Self::Pubrel | Self::Subscribe | Self::Unsubscribe if flags & 0b0111 == self.flags() => Ok(()),
            _ if flags == self.flags() => Ok(()),
            _ => Err(DecodeError::ReservedFlags { packet: self.name(), flags }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u32 = 1000;

    #[test]
    fn a_length_is_known_as_soon_as_the_header_is_there() {
        let check = |bytes: &[u8], length| assert_eq!(frame_length(bytes, LIMIT), Ok(length), "{bytes:02x?}");
        check(b"", None);
        check(b"\x10", None);
        check(b"\x10\x80", None);
        check(b"\xC0\x00", Some(2));
        check(b"\xC0\x00more", Some(2));
        check(b"\x30\x7F", Some(129));
        check(b"\x30\x80\x01", Some(131));
        check(b"\x30\xE5\x07", Some(1000));
    }

    #[test]
    fn a_packet_too_large_is_refused_before_its_body_arrives() {
        let check = |bytes: &[u8], size| {
            assert_eq!(frame_length(bytes, LIMIT), Err(DecodeError::TooLarge { size, limit: LIMIT }), "{bytes:02x?}");
        };
        check(b"\x30\xE6\x07", 1001);
        check(b"\x10\xFF\xFF\xFF\x7F", 268_435_460);
        assert_eq!(frame_length(b"\x10\xFF\xFF\xFF\x7F", u32::MAX), Ok(Some(268_435_460)));
    }

    #[test]
    fn a_length_has_at_most_four_bytes_and_no_more_than_it_needs() {
        // [MQTT-1.5.5-1]
        let too_long = DecodeError::VarintTooLong { field: "remaining length" };
        assert_eq!(frame_length(b"\x10\xFF\xFF\xFF\xFF", LIMIT), Err(too_long));
        assert_eq!(frame_length(b"\x10\xFF\xFF\xFF\xFF\x01", LIMIT), Err(too_long));
        assert_eq!(frame_length(b"\x10\x80\x80\x80\x80", LIMIT), Err(too_long));
        let not_minimal = DecodeError::VarintNotMinimal { field: "remaining length" };
        assert_eq!(frame_length(b"\xC0\x80\x00", LIMIT), Err(not_minimal));
        assert_eq!(frame_length(b"\x30\xFF\x00", LIMIT), Err(not_minimal));
        assert_eq!(frame_length(b"\x30\x80\x80\x00", LIMIT), Err(not_minimal));
        assert_eq!(frame_length(b"\x30\x80\x80\x80\x00", LIMIT), Err(not_minimal));
    }

    #[test]
    fn flags_are_checked_by_the_first_byte() {
        // [MQTT-2.1.3-1]
        for first in 0..=u8::MAX {
            let (number, flags) = (first >> 4, first & 0x0F);
            let accepted = match number {
                0 => false,
                3 => flags & 0b0110 != 0b0110 && flags & 0b1110 != 0b1000,
                // 1010 is a duplicate in MQTT 3.1, and refused later in the others.
                6 | 8 | 10 => flags == 0b0010 || flags == 0b1010,
                _ => flags == 0,
            };
            assert_eq!(frame_length(&[first], LIMIT).is_ok(), accepted, "{first:#010b}");
        }
    }

    #[test]
    fn a_first_byte_says_why_it_is_refused() {
        let check = |first, error| assert_eq!(frame_length(&[first], LIMIT), Err(error), "{first:#010b}");
        check(0x00, DecodeError::PacketType { number: 0 });
        check(0x36, DecodeError::Qos { field: "PUBLISH" });
        check(0x3E, DecodeError::Qos { field: "PUBLISH" });
        check(0x38, DecodeError::DupWithoutQos);
        check(0x80, DecodeError::ReservedFlags { packet: "SUBSCRIBE", flags: 0 });
        check(0xF1, DecodeError::ReservedFlags { packet: "AUTH", flags: 1 });
    }
}
