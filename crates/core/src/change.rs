//! What happens to one topic, and how it stands in the log.

use crate::hlc::Hlc;
use crate::position::{NodeId, Sequence, SessionId, TableId};
use rowcast_codec::QoS;

/// What a change does to its topic's record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ChangeKind {
    /// The record is replaced.
    Put = 0,
    /// The record is removed.
    Delete = 1,
    /// The record is removed because its time ran out.
    Expire = 2,
    /// Passes by; the record stays as it is. An event.
    Message = 3,
}

impl ChangeKind {
    /// Whether the record changes, so that its subscribers hear of a state (RETAIN as published is 1).
    #[must_use]
    pub fn is_state(self) -> bool {
        self != ChangeKind::Message
    }
}

/// One change as it is proposed: borrowed, ready to be encoded into a log frame.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// What it does.
    pub kind: ChangeKind,
    /// The quality of service it was published with; changes from elsewhere count as QoS 1.
    pub qos: QoS,
    /// Which table.
    pub table: TableId,
    /// Which record: the key in its order-preserving encoding, at most 65,535 bytes.
    pub key: &'a [u8],
    /// Whose it is.
    pub publisher: SessionId,
    /// Milliseconds since 1970 at which the record or message expires.
    pub expires_ms: Option<u64>,
    /// MQTT 5 properties that are passed on unaltered, in wire form (`PublishProperties::forwarded`).
    pub properties: &'a [u8],
    /// The record or the message; empty for deletes.
    pub payload: &'a [u8],
}

impl Change<'_> {
    /// Appends the entry that stands for this change, its clock still zero (see [`set_hlc`]).
    ///
    /// # Panics
    /// If the key is longer than 65,535 bytes: topics are checked long before.
    pub fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.key.len() <= usize::from(u16::MAX), "a key is at most 65,535 bytes");
        let expiry = if self.expires_ms.is_some() { 8 } else { 0 };
        let length = FIXED_BYTES - 4 + expiry + self.key.len() + self.properties.len() + self.payload.len();
        out.reserve(4 + length);
        let mut head = [0; FIXED_BYTES];
        head[0..4].copy_from_slice(&(length as u32).to_le_bytes());
        head[4] = self.kind as u8 | (self.qos as u8) << 2 | if self.expires_ms.is_some() { HAS_EXPIRY } else { 0 };
        head[5..9].copy_from_slice(&self.table.0.to_le_bytes());
        head[17..25].copy_from_slice(&self.publisher.0.to_le_bytes());
        head[25..27].copy_from_slice(&(self.key.len() as u16).to_le_bytes());
        head[27..31].copy_from_slice(&(self.properties.len() as u32).to_le_bytes());
        out.extend_from_slice(&head);
        if let Some(expires) = self.expires_ms {
            out.extend_from_slice(&expires.to_le_bytes());
        }
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.properties);
        out.extend_from_slice(self.payload);
    }

    /// The entry that stands for this change, its clock still zero.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        bytes
    }
}

/// Writes the commit's clock into an entry that [`Change::encode`] made.
pub fn set_hlc(entry: &mut [u8], hlc: Hlc) {
    entry[9..17].copy_from_slice(&hlc.0.to_le_bytes());
}

/// A change that happened: a line of the log. Borrowed from the frame it stands in.
///
/// Integers are little endian.
///
/// | bytes | field             |                                                                    |
/// |-------|-------------------|--------------------------------------------------------------------|
/// | 4     | `length`          | of all that follows, at most `ENTRY_BYTES_MAX`                     |
/// | 1     | flags             | bits 0–1 kind, 2–3 QoS, 4 foreign, 5 expires, 6 superseded, 7 zero |
/// | 4     | `table`           |                                                                    |
/// | 8     | `hlc`             | milliseconds << 16, then a counter                                 |
/// | 8     | `publisher`       | session, 0 for none                                                |
/// | 2     | length of `key`   |                                                                    |
/// | 4     | length of `properties` |                                                               |
/// | 16    | origin            | node and its sequence; only if foreign                             |
/// | 8     | `expires_ms`      | only if it expires                                                 |
/// | ..    | `key`, `properties`, `payload` |                                                       |
///
/// The sequence is not stored: a frame says its first, and entries count from there. The origin of an entry that is
/// not foreign is the node whose log it stands in.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its place in this node's log.
    pub sequence: Sequence,
    /// When it was committed at its origin.
    pub hlc: Hlc,
    /// Where it comes from, if not from this node.
    pub origin: Option<(NodeId, Sequence)>,
    /// A newer state was here already: logged, not applied, not shown.
    pub superseded: bool,
    /// What happened.
    pub change: Change<'a>,
}

const FIXED_BYTES: usize = 31;
const FOREIGN: u8 = 0x10;
const HAS_EXPIRY: u8 = 0x20;
const SUPERSEDED: u8 = 0x40;
const RESERVED: u8 = 0x80;

/// Why bytes are not an entry. Behind a checksum this means a defect or a newer format, never a torn write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EntryError {
    /// The entry says it is longer than what is there; both in bytes.
    #[error("an entry of {length} bytes does not fit the {left} that are left")]
    Truncated {
        /// What its length field, or its inner lengths, ask for.
        length: usize,
        /// What is there.
        left: usize,
    },
    /// Flags or a quality of service that this version does not know.
    #[error("an entry has the unknown flags {0:#04x}")]
    Flags(u8),
}

impl<'a> Entry<'a> {
    /// What the entry at the start of `bytes` does, without a look at the rest of it; `None`: there is none.
    #[must_use]
    pub fn kind_of(bytes: &[u8]) -> Option<ChangeKind> {
        bytes.get(4).map(|&flags| kind_in(flags))
    }

    /// Reads the entry at the start of `bytes`; returns it and its size in bytes.
    pub fn decode(bytes: &'a [u8], sequence: Sequence) -> Result<(Entry<'a>, usize), EntryError> {
        let truncated = |length| EntryError::Truncated { length, left: bytes.len() };
        let head = bytes.get(..FIXED_BYTES).ok_or(truncated(FIXED_BYTES))?;
        let size = 4 + u32_at(head, 0) as usize;
        let entry = bytes.get(..size).ok_or(truncated(size))?;
        let flags = head[4];
        if flags & RESERVED != 0 {
            return Err(EntryError::Flags(flags));
        }
        let kind = kind_in(flags);
        let qos = QoS::try_from(flags >> 2 & 3).map_err(|_| EntryError::Flags(flags))?;
        let mut rest = entry.get(FIXED_BYTES..).ok_or(truncated(FIXED_BYTES))?;
        let mut take = |length: usize| -> Result<&'a [u8], EntryError> {
            let (taken, left) = rest.split_at_checked(length).ok_or(truncated(length))?;
            rest = left;
            Ok(taken)
        };
        let origin = if flags & FOREIGN != 0 {
            let bytes = take(16)?;
            Some((NodeId(u64_at(bytes, 0)), Sequence(u64_at(bytes, 8))))
        } else {
            None
        };
        let expires_ms = if flags & HAS_EXPIRY != 0 { Some(u64_at(take(8)?, 0)) } else { None };
        let key = take(usize::from(u16::from_le_bytes([head[25], head[26]])))?;
        let properties = take(u32_at(head, 27) as usize)?;
        let change = Change {
            kind,
            qos,
            table: TableId(u32_at(head, 5)),
            key,
            publisher: SessionId(u64_at(head, 17)),
            expires_ms,
            properties,
            payload: rest,
        };
        let superseded = flags & SUPERSEDED != 0;
        Ok((Entry { sequence, hlc: Hlc(u64_at(head, 9)), origin, superseded, change }, size))
    }
}

fn kind_in(flags: u8) -> ChangeKind {
    match flags & 3 {
        0 => ChangeKind::Put,
        1 => ChangeKind::Delete,
        2 => ChangeKind::Expire,
        _ => ChangeKind::Message,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Walks entries that stand one behind the other, as in a log frame or a proposal.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    bytes: &'a [u8],
    next: Sequence,
}

impl<'a> Entries<'a> {
    /// The entries in `bytes`, the first of which has the sequence `first`.
    #[must_use]
    pub fn new(bytes: &'a [u8], first: Sequence) -> Entries<'a> {
        Entries { bytes, next: first }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, EntryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        match Entry::decode(self.bytes, self.next) {
            Ok((entry, size)) => {
                self.bytes = &self.bytes[size..];
                self.next = self.next.next();
                Some(Ok(entry))
            }
            Err(error) => {
                self.bytes = &[];
                Some(Err(error))
            }
        }
    }
}

/// A put of the server's own bookkeeping.
pub(crate) fn internal_row<'a>(table: TableId, key: &'a [u8], payload: &'a [u8]) -> Change<'a> {
    Change {
        kind: ChangeKind::Put,
        qos: QoS::AtLeastOnce,
        table,
        key,
        publisher: SessionId::NONE,
        expires_ms: None,
        properties: &[],
        payload,
    }
}

/// A delete of the server's own bookkeeping.
pub(crate) fn internal_delete(table: TableId, key: &[u8]) -> Change<'_> {
    Change { kind: ChangeKind::Delete, ..internal_row(table, key, &[]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dog<'a>(payload: &'a [u8], expires_ms: Option<u64>) -> Change<'a> {
        Change {
            kind: ChangeKind::Put,
            qos: QoS::ExactlyOnce,
            table: TableId(64),
            key: b"123",
            publisher: SessionId(9),
            expires_ms,
            properties: b"\x01\x01",
            payload,
        }
    }

    #[test]
    fn entries_come_back_as_they_were_written() {
        let mut bytes = Vec::new();
        dog(b"{}", None).encode(&mut bytes);
        let second = bytes.len();
        dog(b"", Some(77)).encode(&mut bytes);
        set_hlc(&mut bytes[second..], Hlc(5));
        let entries: Vec<Entry<'_>> = Entries::new(&bytes, Sequence(10)).map(Result::unwrap).collect();
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].sequence, entries[1].sequence), (Sequence(10), Sequence(11)));
        assert_eq!((entries[0].hlc, entries[1].hlc), (Hlc(0), Hlc(5)));
        assert_eq!((Entry::kind_of(&bytes), Entry::kind_of(&bytes[..4])), (Some(ChangeKind::Put), None));
        assert_eq!((entries[0].change.payload, entries[0].change.expires_ms), (&b"{}"[..], None));
        assert_eq!((entries[1].change.payload, entries[1].change.expires_ms), (&b""[..], Some(77)));
        assert_eq!((entries[1].change.key, entries[1].change.properties), (&b"123"[..], &b"\x01\x01"[..]));
        assert_eq!(entries[1].change.qos, QoS::ExactlyOnce);
    }

    #[test]
    fn no_prefix_of_an_entry_is_an_entry_and_none_panics() {
        let mut bytes = Vec::new();
        dog(b"{}", Some(1)).encode(&mut bytes);
        for length in 0..bytes.len() {
            assert!(Entry::decode(&bytes[..length], Sequence(1)).is_err(), "{length} bytes");
        }
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bad = bytes.clone();
                bad[at] ^= flip;
                let _ = Entry::decode(&bad, Sequence(1));
            }
        }
    }
}
