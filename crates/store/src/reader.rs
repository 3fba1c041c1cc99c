//! Ranges of the log for whoever fell behind the tail in memory.
//!
//! Blocking: for a thread that may wait for the disk.

use crate::disk::DiskFile;
use crate::error::ReadError;
use crate::log::{FrameError, Frames, Index, LogFiles, SegmentHeader};
use rowcast_core::{Batch, Sequence};
use std::io;
use std::sync::Arc;

/// What follows a position.
#[derive(Clone, Debug)]
pub struct LogPage {
    /// Batches in order. The first may begin before the position; entries up to it are known already.
    pub batches: Vec<Arc<Batch>>,
    /// From this position on, everything that follows is still there.
    pub oldest: Sequence,
    /// The last entry there is for now. A reader that has come so far is level with the log.
    pub committed: Sequence,
}

impl LogFiles {
    /// From this position on, everything that follows is still there.
    pub(crate) fn oldest(&self) -> Sequence {
        let segments = self.segments.read().expect("no holder panics");
        segments.front().map_or(Sequence::ZERO, |segment| segment.header.previous)
    }

    /// Bytes and number of the segments.
    pub(crate) fn size(&self) -> (u64, usize) {
        let segments = self.segments.read().expect("no holder panics");
        (segments.iter().map(|segment| segment.bytes).sum(), segments.len())
    }

    /// The batches after `after` and up to `committed`, about `bytes_max` of them, but one at least.
    pub(crate) fn read(
        &self,
        after: Sequence,
        committed: Sequence,
        bytes_max: usize,
    ) -> Result<Vec<Arc<Batch>>, ReadError> {
        let mut batches = Vec::new();
        let mut bytes = 0;
        let mut at = after;
        while at < committed && (bytes < bytes_max || batches.is_empty()) {
            let Some((header, end)) = self.segment_after(at)? else { break };
            match self.read_segment(&header, end, at, committed, bytes_max.saturating_sub(bytes), &mut batches) {
                Ok(()) => {}
                // Retention took the file after we looked it up. What was read before it is good.
                Err(ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    if batches.is_empty() && self.oldest() > after {
                        return Err(ReadError::FellOff { after, oldest: self.oldest() });
                    }
                    break;
                }
                Err(error) => return Err(error),
            }
            match batches.last() {
                Some(last) if last.last() > at => at = last.last(),
                _ => break,
            }
            bytes = batches.iter().map(|batch| batch.bytes().len()).sum();
        }
        Ok(batches)
    }

    /// The segment that holds the first entry after `after`, and its length.
    fn segment_after(&self, after: Sequence) -> Result<Option<(SegmentHeader, u64)>, ReadError> {
        let segments = self.segments.read().expect("no holder panics");
        let oldest = segments.front().map_or(Sequence::ZERO, |segment| segment.header.previous);
        if after < oldest {
            return Err(ReadError::FellOff { after, oldest });
        }
        let at = segments.partition_point(|segment| segment.last <= after);
        Ok(segments.get(at).map(|segment| (segment.header, segment.bytes)))
    }

    fn read_segment(
        &self,
        header: &SegmentHeader,
        end: u64,
        after: Sequence,
        committed: Sequence,
        bytes_max: usize,
        batches: &mut Vec<Arc<Batch>>,
    ) -> Result<(), ReadError> {
        let name = header.file_name();
        let place = || self.disk.place(&name);
        let failed = |error| match error {
            FrameError::Io(source) => ReadError::Io { place: place(), source },
            FrameError::Bad { offset, what } => ReadError::DamagedLog { place: place(), offset, what },
        };
        let file = self.disk.open(&name).map_err(|source| failed(FrameError::Io(source)))?;
        let mut frames = Frames::new(Arc::clone(&file), header, end);
        if let Some((first, offset)) = self.mark(header, &file, end, after).map_err(failed)? {
            frames = frames.skip_to(offset, first);
        }
        let mut bytes = 0;
        while bytes < bytes_max.max(1) {
            let Some(frame) = frames.next().map_err(failed)? else { break };
            let last = frame.header.last();
            if last > committed {
                break;
            }
            if frame.header.count > 0 && last > after {
                bytes += frame.body.len();
                batches.push(Arc::new(Batch::new(frame.header.first, last, frame.body)));
            }
        }
        Ok(())
    }

    /// Where to begin reading for what follows `after`. Loads the segment's index if nobody has needed it yet.
    fn mark(
        &self,
        header: &SegmentHeader,
        file: &Arc<dyn DiskFile>,
        end: u64,
        after: Sequence,
    ) -> Result<Option<(Sequence, u64)>, FrameError> {
        let find = |index: &Index| index.find(after.next()).map(|mark| (mark.first, mark.offset));
        let at = |segments: &std::collections::VecDeque<crate::log::Segment>| {
            segments.iter().position(|segment| segment.header.first == header.first)
        };
        {
            let segments = self.segments.read().expect("no holder panics");
            if let Some(index) = at(&segments).and_then(|at| segments[at].index.as_ref()) {
                return Ok(find(index));
            }
        }
        let index = Index::load(file, header, end)?;
        let mark = find(&index);
        let mut segments = self.segments.write().expect("no holder panics");
        if let Some(at) = at(&segments) {
            segments[at].index = Some(index);
        }
        Ok(mark)
    }
}
