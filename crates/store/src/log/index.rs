//! Where in a segment a sequence is: a mark every [`INDEX_EVERY_BYTES`], so that a reader can begin anywhere.

use super::frames::{FrameError, Frames};
use super::segment::{FrameHeader, SegmentHeader, u64_at};
use crate::disk::DiskFile;
use crate::limits::INDEX_EVERY_BYTES;
use rowcast_core::Sequence;
use std::io;
use std::sync::Arc;

/// Marks in ascending order, the first at the first frame.
///
/// In a seal, the body is the marks (8 bytes sequence, 8 bytes offset each), then 8 bytes: the offset of the seal.
/// The file's last 8 bytes thus lead to its index.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    marks: Vec<Mark>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    /// The first sequence of the frame.
    pub(crate) first: Sequence,
    /// Where it begins.
    pub(crate) offset: u64,
}

impl Index {
    /// Takes note of the next frame.
    pub(crate) fn observe(&mut self, first: Sequence, offset: u64) {
        if self.marks.last().is_none_or(|mark| offset >= mark.offset + INDEX_EVERY_BYTES) {
            self.marks.push(Mark { first, offset });
        }
    }

    /// The last mark not beyond `sequence`; `None`: begin at the first frame.
    pub(crate) fn find(&self, sequence: Sequence) -> Option<Mark> {
        let after = self.marks.partition_point(|mark| mark.first <= sequence);
        after.checked_sub(1).map(|at| self.marks[at])
    }

    /// The last mark that `is_before` says so of, which it says of none behind one it does not; asks of few.
    pub(crate) fn last_before<E>(&self, is_before: impl Fn(Mark) -> Result<bool, E>) -> Result<Option<Mark>, E> {
        let (mut from, mut to) = (0, self.marks.len());
        while from < to {
            let middle = from + (to - from) / 2;
            if is_before(self.marks[middle])? {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        Ok(from.checked_sub(1).map(|at| self.marks[at]))
    }

    /// The body of a seal at `offset`.
    pub(crate) fn encode(&self, offset: u64, out: &mut Vec<u8>) {
        for mark in &self.marks {
            out.extend_from_slice(&mark.first.0.to_le_bytes());
            out.extend_from_slice(&mark.offset.to_le_bytes());
        }
        out.extend_from_slice(&offset.to_le_bytes());
    }

    /// Reads the index from a segment's seal, or makes it by reading the segment.
    pub(crate) fn load(file: &Arc<dyn DiskFile>, header: &SegmentHeader, bytes: u64) -> Result<Index, FrameError> {
        if let Some(index) = Self::from_seal(file, header, bytes)? {
            return Ok(index);
        }
        let mut index = Index::default();
        let mut frames = Frames::new(Arc::clone(file), header, bytes);
        while let Some(frame) = frames.next()? {
            index.observe(frame.header.first, frame.offset);
        }
        Ok(index)
    }

    fn from_seal(file: &Arc<dyn DiskFile>, header: &SegmentHeader, bytes: u64) -> io::Result<Option<Index>> {
        let mut trailer = [0; 8];
        let Some(at) = bytes.checked_sub(trailer.len() as u64) else { return Ok(None) };
        if file.read_at(&mut trailer, at)? < trailer.len() {
            return Ok(None);
        }
        let offset = u64::from_le_bytes(trailer);
        if offset < SegmentHeader::BYTES as u64 || offset + (FrameHeader::BYTES + trailer.len()) as u64 > bytes {
            return Ok(None);
        }
        let mut seal = vec![0; (bytes - offset).min(SEAL_BYTES_MAX) as usize];
        let read = file.read_at(&mut seal, offset)?;
        let is_seal = read == seal.len()
            && FrameHeader::decode(&seal).is_some_and(|(frame, checksum)| {
                frame.count == 0
                    && frame.frame_bytes() == seal.len()
                    && super::segment::checksum_of(&seal, header.seed()) == checksum
            });
        if !is_seal {
            return Ok(None);
        }
        let marks = &seal[FrameHeader::BYTES..seal.len() - trailer.len()];
        let marks =
            marks.chunks_exact(16).map(|mark| Mark { first: Sequence(u64_at(mark, 0)), offset: u64_at(mark, 8) });
        Ok(Some(Index { marks: marks.collect() }))
    }
}

const SEAL_BYTES_MAX: u64 = 1024 * 1024 * 1024; // A frame's bound; the file's length bounds it further.

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mark_not_beyond_a_sequence_is_found() {
        let mut index = Index::default();
        assert_eq!(index.find(Sequence(9)), None);
        for (first, offset) in [(10, 72), (20, 80), (30, 72 + INDEX_EVERY_BYTES), (40, 100 + 2 * INDEX_EVERY_BYTES)] {
            index.observe(Sequence(first), offset);
        }
        let found = |sequence| index.find(Sequence(sequence)).map(|mark| mark.first.0);
        assert_eq!(
            [9, 10, 29, 30, 39, 40, 99].map(found),
            [None, Some(10), Some(10), Some(30), Some(30), Some(40), Some(40)]
        );
    }
}
