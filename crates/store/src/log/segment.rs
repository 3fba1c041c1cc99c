//! One file of the log: a header, then frames. `docs/log-format.md` has the same byte by byte, with an example.

use crate::limits::FRAME_BYTES_MAX;
use rowcast_core::{Hlc, NodeId, Sequence};

/// The start of a segment. Integers are little endian.
///
/// | bytes | field            |                                                                 |
/// |-------|------------------|-----------------------------------------------------------------|
/// | 8     | magic            | `rowcast\n`                                                     |
/// | 4     | version          | 1; a reader refuses what is newer                               |
/// | 8     | `node`           | whose log it is                                                 |
/// | 8     | `epoch`          | one more each time the log is opened                            |
/// | 8     | `first`          | no entry of this segment has a smaller sequence                 |
/// | 8     | `previous`       | sequence of the last entry before this segment, 0 for none      |
/// | 8     | `previous_bytes` | length of the segment before, 0 for none                        |
/// | 8     | `clock`          | no entry before has a later `Hlc`                               |
/// | 8     | `created_ms`     | milliseconds since 1970                                         |
/// | 4     | checksum         | CRC-32C of all the above; seeds the checksums of all frames     |
///
/// The file is named by `first`. It gets its name once the header is on disk, so a damaged header is never a torn one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentHeader {
    pub(crate) node: NodeId,
    pub(crate) epoch: u64,
    pub(crate) first: Sequence,
    pub(crate) previous: Sequence,
    pub(crate) previous_bytes: u64,
    pub(crate) clock: Hlc,
    pub(crate) created_ms: u64,
}

/// Why bytes are not a segment header we can read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HeaderFault {
    /// Short, foreign or altered.
    Damaged,
    /// Written by a newer program.
    Version(u32),
}

impl SegmentHeader {
    pub(crate) const BYTES: usize = 72;

    pub(crate) fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0..8].copy_from_slice(SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let fields = [
            self.node.0,
            self.epoch,
            self.first.0,
            self.previous.0,
            self.previous_bytes,
            self.clock.0,
            self.created_ms,
        ];
        for (field, at) in fields.iter().zip((12..68).step_by(8)) {
            bytes[at..at + 8].copy_from_slice(&field.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&bytes[..68]);
        bytes[68..72].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<SegmentHeader, HeaderFault> {
        if bytes.len() < 12 || !bytes.starts_with(SEGMENT_MAGIC) {
            return Err(HeaderFault::Damaged);
        }
        let version = u32_at(bytes, 8);
        if version > VERSION {
            return Err(HeaderFault::Version(version));
        }
        if version != VERSION || bytes.len() < Self::BYTES || crc32c::crc32c(&bytes[..68]) != u32_at(bytes, 68) {
            return Err(HeaderFault::Damaged);
        }
        let first = Sequence(u64_at(bytes, 28));
        if first > SEQUENCE_MAX {
            return Err(HeaderFault::Damaged);
        }
        Ok(SegmentHeader {
            node: NodeId(u64_at(bytes, 12)),
            epoch: u64_at(bytes, 20),
            first,
            previous: Sequence(u64_at(bytes, 36)),
            previous_bytes: u64_at(bytes, 44),
            clock: Hlc(u64_at(bytes, 52)),
            created_ms: u64_at(bytes, 60),
        })
    }

    /// What the checksums of its frames start from: a frame moved to another segment does not match.
    pub(crate) fn seed(&self) -> u32 {
        u32_at(&self.encode(), 68)
    }

    pub(crate) fn file_name(&self) -> String {
        format!("{:020}{SUFFIX}", self.first.0)
    }
}

/// The sequence a segment's file name says it begins with; `None`: not the name of a segment.
pub(crate) fn first_of_name(name: &str) -> Option<Sequence> {
    let digits = name.strip_suffix(SUFFIX)?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(Sequence)
}

/// The start of a frame: what one turn of the writer committed. Integers are little endian.
///
/// | bytes | field      |                                                                                  |
/// |-------|------------|----------------------------------------------------------------------------------|
/// | 4     | magic      | `frm\n`                                                                          |
/// | 4     | checksum   | CRC-32C of all that follows, started from the checksum of the segment's header   |
/// | 4     | `length`   | bytes of the body, at most `FRAME_BYTES_MAX`                                     |
/// | 4     | `previous` | checksum of the frame before, or of the segment's header                         |
/// | 8     | `first`    | sequence of its first entry                                                      |
/// | 4     | `count`    | of its entries; 0: a seal                                                        |
/// | 8     | `synced`   | the log was on disk up to this sequence when the frame was written               |
/// | 8     | `time_ms`  | when, milliseconds since 1970                                                    |
/// | ..    | body       | the entries, as `Change::encode` made them; of a seal, the segment's index       |
///
/// A seal ends a segment. Everything before it was on disk before the log went on elsewhere, so a log that ends with
/// one was left in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FrameHeader {
    pub(crate) length: u32,
    pub(crate) previous: u32,
    pub(crate) first: Sequence,
    pub(crate) count: u32,
    pub(crate) synced: Sequence,
    pub(crate) time_ms: u64,
}

impl FrameHeader {
    pub(crate) const BYTES: usize = 44;

    /// Fills the first bytes of `frame`, whose body is in place behind them; returns the frame's checksum.
    pub(crate) fn encode_into(&self, frame: &mut [u8], seed: u32) -> u32 {
        debug_assert_eq!(frame.len(), Self::BYTES + self.length as usize, "the length is the body's");
        frame[0..4].copy_from_slice(FRAME_MAGIC);
        frame[8..12].copy_from_slice(&self.length.to_le_bytes());
        frame[12..16].copy_from_slice(&self.previous.to_le_bytes());
        frame[16..24].copy_from_slice(&self.first.0.to_le_bytes());
        frame[24..28].copy_from_slice(&self.count.to_le_bytes());
        frame[28..36].copy_from_slice(&self.synced.0.to_le_bytes());
        frame[36..44].copy_from_slice(&self.time_ms.to_le_bytes());
        let checksum = crc32c::crc32c_append(seed, &frame[8..]);
        frame[4..8].copy_from_slice(&checksum.to_le_bytes());
        checksum
    }

    /// Reads the header at the start of `bytes`, of which there are enough, and what its checksum should be; `None`:
    /// this is no frame. The checksum is not looked at: that takes the body.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(FrameHeader, u32)> {
        if &bytes[0..4] != FRAME_MAGIC {
            return None;
        }
        let header = FrameHeader {
            length: u32_at(bytes, 8),
            previous: u32_at(bytes, 12),
            first: Sequence(u64_at(bytes, 16)),
            count: u32_at(bytes, 24),
            synced: Sequence(u64_at(bytes, 28)),
            time_ms: u64_at(bytes, 36),
        };
        (header.length as usize <= FRAME_BYTES_MAX).then_some((header, u32_at(bytes, 4)))
    }

    /// Its bytes with the body.
    pub(crate) fn frame_bytes(&self) -> usize {
        Self::BYTES + self.length as usize
    }

    /// The sequence of its last entry; of a seal, that of the last entry before it.
    pub(crate) fn last(&self) -> Sequence {
        Sequence(self.first.0.saturating_add(u64::from(self.count)).saturating_sub(1))
    }
}

/// The checksum that a whole frame should carry.
pub(crate) fn checksum_of(frame: &[u8], seed: u32) -> u32 {
    crc32c::crc32c_append(seed, &frame[8..])
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

pub(crate) const FRAME_MAGIC: &[u8; 4] = b"frm\n";
const SEGMENT_MAGIC: &[u8; 8] = b"rowcast\n";
const VERSION: u32 = 1;
const SEQUENCE_MAX: Sequence = Sequence(1 << 62); // Nobody lives to see it, and sums do not overflow.
const SUFFIX: &str = ".log";

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            node: NodeId(1),
            epoch: 2,
            first: Sequence(3),
            previous: Sequence(2),
            previous_bytes: 5,
            clock: Hlc(6),
            created_ms: 7,
        }
    }

    #[test]
    fn a_header_comes_back_and_no_altered_one_does() {
        let bytes = header().encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header()));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bad).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(SegmentHeader::decode(&bytes[..length]), Err(HeaderFault::Damaged));
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut bytes = header().encode();
        bytes[8] = 2;
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderFault::Version(2)));
        assert_eq!(SegmentHeader::decode(&bytes[..12]), Err(HeaderFault::Version(2)));
    }

    #[test]
    fn only_twenty_digits_name_a_segment() {
        assert_eq!(first_of_name(&header().file_name()), Some(Sequence(3)));
        for name in ["3.log", "0000000000000000000x.log", "00000000000000000003.tmp", "+0000000000000000003.log", ""] {
            assert_eq!(first_of_name(name), None, "{name}");
        }
    }
}
