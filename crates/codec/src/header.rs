//! The fixed header: which packet it is, and how long.

use crate::reader::varint;
use crate::{DecodeError, Packet, Version};

/// The length in bytes of the packet that `bytes` begin with, its fixed header included; `None` while that header
/// is incomplete. Nothing but the header is looked at, so a packet can be refused before its body has arrived.
///
/// `limit` is the largest whole packet accepted, in bytes, as Maximum Packet Size counts them (MQTT 5 §3.1.2.11.4).
///
/// What only the version can tell, AUTH and the flags MQTT 3.1 allows, is left to [`Packet::decode`].
///
/// [`Packet::decode`]: crate::Packet::decode
pub fn frame_length(bytes: &[u8], limit: u32) -> Result<Option<usize>, DecodeError> {
    Ok(Header::load_within(bytes, limit)?.map(|header| header.packet_bytes()))
}

/// A whole packet of which no more than the header was looked at.
///
/// For whoever takes one packet after the other off the same bytes: [`frame_length`] and [`Packet::decode`] in one.
#[derive(Debug, Clone, Copy)]
pub struct Framed<'a> {
    header: Header,
    body: &'a [u8],
}

impl<'a> Framed<'a> {
    /// The packet that `bytes` begin with; `None` while it is incomplete. It is refused where [`frame_length`] refuses it.
    #[inline]
    pub fn load(bytes: &'a [u8], limit: u32) -> Result<Option<Self>, DecodeError> {
        let Some(header) = Header::load_within(bytes, limit)? else { return Ok(None) };
        Ok(bytes.get(header.bytes..header.packet_bytes()).map(|body| Self { header, body }))
    }

    /// Length of the packet in bytes, its fixed header included.
    pub fn packet_bytes(&self) -> usize {
        self.header.packet_bytes()
    }

    /// What the packet says, as [`Packet::decode`] does. `topic` is that of a PUBLISH which was decoded before: clients
    /// that send many at once send them to one topic more often than not, and the same one is not checked again.
    #[inline(always)] // Built where it is looked at: moving it costs as much as reading it.
    pub fn decode(&self, version: Version, topic: &'a str) -> Result<Packet<'a>, DecodeError> {
        Packet::load(version, &self.header, self.body, topic)
    }
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

    /// [`load`](Self::load) of a packet of at most `limit` bytes.
    #[inline]
    fn load_within(bytes: &[u8], limit: u32) -> Result<Option<Self>, DecodeError> {
        let Some(header) = Self::load(bytes)? else { return Ok(None) };
        let size = header.bytes as u32 + header.remaining;
        if size > limit { Err(DecodeError::TooLarge { size, limit }) } else { Ok(Some(header)) }
    }

    fn packet_bytes(&self) -> usize {
        self.bytes + self.remaining as usize
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
    fn a_packet_is_framed_once_all_of_it_is_there() {
        let bytes = b"\x30\x05\0\x01ahi\xC0\0";
        for length in 0..7 {
            assert!(Framed::load(&bytes[..length], LIMIT).expect("no fault").is_none(), "{length} bytes");
        }
        let framed = Framed::load(bytes, LIMIT).expect("no fault").expect("a packet");
        assert_eq!(framed.packet_bytes(), 7);
        let decoded = Packet::decode(Version::V311, &bytes[..7]);
        assert!(decoded.is_ok());
        for known in ["", "a", "b", "ahi"] {
            assert_eq!(framed.decode(Version::V311, known), decoded, "behind a packet for {known:?}");
        }
        let refused = Framed::load(b"\x30\xE6\x07", LIMIT).map(drop);
        assert_eq!(refused, Err(DecodeError::TooLarge { size: 1001, limit: LIMIT }));
    }

    #[test]
    fn a_topic_is_known_by_all_of_its_bytes() {
        for bytes in [&b"\x30\x03\0\x01+"[..], b"\x30\x03\0\x01\0", b"\x30\x03\0\x01\xFF", b"\x30\x02\0\0"] {
            let framed = Framed::load(bytes, LIMIT).expect("no fault").expect("a packet");
            for known in ["", "a", "aa"] {
                assert_eq!(framed.decode(Version::V311, known), Packet::decode(Version::V311, bytes), "{bytes:02x?}");
                assert!(framed.decode(Version::V311, known).is_err());
            }
        }
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
