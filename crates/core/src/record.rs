//! A topic's current value, and how it stands in a table.

use crate::change::{Change, ChangeKind, Entry};
use crate::hlc::{Hlc, Stamp};
use crate::position::{NodeId, Sequence, SessionId, TableId};
use rowcast_codec::QoS;

/// The current state of one topic. Borrowed from the table's bytes.
///
/// Integers are little endian.
///
/// | bytes | field                  |                              |
/// |-------|------------------------|------------------------------|
/// | 1     | `qos`                  | upper bits zero              |
/// | 8     | `version`              | sequence of its last put     |
/// | 8     | `hlc`                  |                              |
/// | 8     | `node`                 | origin of the last put       |
/// | 8     | `publisher`            | session, 0 for none          |
/// | 8     | `expires_ms`           | 0: never                     |
/// | 4     | length of `properties` |                              |
/// | ..    | `properties`, `payload`|                              |
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record<'a> {
    /// The sequence of the put that made it.
    pub version: Sequence,
    /// When and where it was made; decides against puts from other nodes.
    pub stamp: Stamp,
    /// What it was published with.
    pub qos: QoS,
    /// Who put it.
    pub publisher: SessionId,
    /// Milliseconds since 1970 at which it expires.
    pub expires_ms: Option<u64>,
    /// MQTT 5 properties it was published with, in wire form.
    pub properties: &'a [u8],
    /// The record itself.
    pub payload: &'a [u8],
}

/// The bytes of a record make no sense: the table is damaged or of a newer version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a stored record of {0} bytes is damaged")]
pub struct RecordError(pub usize);

const FIXED_BYTES: usize = 45;

impl<'a> Record<'a> {
    /// The record that a put makes; `node` is where the log is that holds it.
    #[must_use]
    pub fn from_put(entry: &Entry<'a>, node: NodeId) -> Record<'a> {
        Record {
            version: entry.sequence,
            stamp: Stamp { hlc: entry.hlc, node: entry.origin.map_or(node, |(origin, _)| origin) },
            qos: entry.change.qos,
            publisher: entry.change.publisher,
            expires_ms: entry.change.expires_ms,
            properties: entry.change.properties,
            payload: entry.change.payload,
        }
    }

    /// The put that made it, as the log of its node said it.
    #[must_use]
    pub fn to_put(&self, table: TableId, key: &'a [u8]) -> Entry<'a> {
        let &Record { version, stamp, qos, publisher, expires_ms, properties, payload } = self;
        let change = Change { kind: ChangeKind::Put, qos, table, key, publisher, expires_ms, properties, payload };
        Entry { sequence: version, hlc: stamp.hlc, origin: None, superseded: false, change }
    }

    /// Appends the stored form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(FIXED_BYTES + self.properties.len() + self.payload.len());
        out.push(self.qos as u8);
        out.extend_from_slice(&self.version.0.to_le_bytes());
        out.extend_from_slice(&self.stamp.hlc.0.to_le_bytes());
        out.extend_from_slice(&self.stamp.node.0.to_le_bytes());
        out.extend_from_slice(&self.publisher.0.to_le_bytes());
        out.extend_from_slice(&self.expires_ms.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&(self.properties.len() as u32).to_le_bytes());
        out.extend_from_slice(self.properties);
        out.extend_from_slice(self.payload);
    }

    /// Reads the stored form.
    pub fn decode(bytes: &'a [u8]) -> Result<Record<'a>, RecordError> {
        let damaged = RecordError(bytes.len());
        let (head, rest) = bytes.split_at_checked(FIXED_BYTES).ok_or(damaged)?;
        let u64_at = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        let length = u32::from_le_bytes(head[41..45].try_into().expect("four bytes")) as usize;
        let (properties, payload) = rest.split_at_checked(length).ok_or(damaged)?;
        Ok(Record {
            version: Sequence(u64_at(1)),
            stamp: Stamp { hlc: Hlc(u64_at(9)), node: NodeId(u64_at(17)) },
            qos: QoS::try_from(head[0]).map_err(|_| damaged)?,
            publisher: SessionId(u64_at(25)),
            expires_ms: Some(u64_at(33)).filter(|&ms| ms != 0),
            properties,
            payload,
        })
    }

    /// Whether its time has run out at `now_ms` (milliseconds since 1970), even if nobody has removed it yet.
    #[must_use]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|expires| expires <= now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was_stored_and_no_prefix_of_its_head_does() {
        let record = Record {
            version: Sequence(7),
            stamp: Stamp { hlc: Hlc(8), node: NodeId(9) },
            qos: QoS::AtLeastOnce,
            publisher: SessionId(3),
            expires_ms: Some(4),
            properties: b"pp",
            payload: b"{}",
        };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        assert_eq!(Record::decode(&bytes), Ok(record));
        for length in 0..FIXED_BYTES + 2 {
            assert!(Record::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}
