//! What the tests beside the packets check with.

use crate::{DecodeError, Packet, PacketId, Version};

/// All of them.
pub(crate) const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

/// A packet from its first byte and what follows the remaining length.
pub(crate) fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    let mut length = body.len();
    while length > 0x7F {
        frame.push((length & 0x7F) as u8 | 0x80);
        length >>= 7;
    }
    frame.push(length as u8);
    frame.extend_from_slice(body);
    frame
}

/// Text behind its length.
pub(crate) fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("short enough to be sent");
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

pub(crate) fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not 0")
}

/// The bytes and the packet are the same, in both directions.
#[track_caller]
pub(crate) fn check(version: Version, first: u8, body: &[u8], packet: &Packet<'_>) {
    check_decodes(version, first, body, packet);
    let mut out = b"before".to_vec();
    packet.encode(version, &mut out).expect("the packet has a form");
    assert_eq!(out.strip_prefix(b"before"), Some(&frame(first, body)[..]), "{packet:?} as bytes");
}

/// The bytes are the packet, though not in the form we would send it in.
#[track_caller]
pub(crate) fn check_decodes(version: Version, first: u8, body: &[u8], packet: &Packet<'_>) {
    assert_eq!(
        Packet::decode(version, &frame(first, body)).as_ref(),
        Ok(packet),
        "{version:?} {first:#04x} {body:02x?}"
    );
}

#[track_caller]
pub(crate) fn check_refused(version: Version, first: u8, body: &[u8], error: DecodeError) {
    assert_eq!(Packet::decode(version, &frame(first, body)), Err(error), "{version:?} {first:#04x} {body:02x?}");
}
