//! Ranges of the log for whoever fell behind the tail in memory.
//!
//! Blocking: for a thread that may wait for the disk.

use crate::disk::DiskFile;
use crate::error::ReadError;
use crate::log::{Frame, FrameError, Frames, Index, LogFiles, Mark, Segment, SegmentHeader};
use rowcast_core::{Batch, Entry, Sequence};
use std::collections::VecDeque;
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

/// When the entries of a frame were committed: one turn of the writer, one time.
fn clock_ms(frame: &Frame) -> u64 {
    Entry::decode(&frame.body, frame.header.first).map_or(0, |(entry, _)| entry.hlc.millis())
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
        self.with_segment(header, |file| {
            let mut frames = Frames::new(Arc::clone(file), header, end);
            if let Some(mark) = self.look_up(header, file, end, |index| index.find(after.next()))? {
                frames = frames.skip_to(mark.offset, mark.first);
            }
            let mut bytes = 0;
            while bytes < bytes_max.max(1) {
                let Some(frame) = frames.next()? else { break };
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
        })
    }

    /// The last position before everything committed at `time_ms` (since 1970) or later, by the log's own clock, which
    /// never runs backwards.
    pub(crate) fn position_at(&self, time_ms: u64, committed: Sequence) -> Result<Sequence, ReadError> {
        let found = {
            let segments = self.segments.read().expect("no holder panics");
            let later = segments.partition_point(|segment| segment.header.clock.millis() < time_ms);
            later.checked_sub(1).map(|at| (segments[at].header, segments[at].bytes, segments[at].last))
        };
        let Some((header, end, last)) = found else { return Ok(self.oldest()) };
        let walked = self.with_segment(&header, |file| {
            let index = self.look_up(&header, file, end, Index::clone)?;
            let is_before = |mark: Mark| {
                let mut frames = Frames::new(Arc::clone(file), &header, end).skip_to(mark.offset, mark.first);
                Ok::<_, FrameError>(frames.next()?.is_some_and(|frame| clock_ms(&frame) < time_ms))
            };
            let mark = index.last_before(is_before)?;
            let mut frames = Frames::new(Arc::clone(file), &header, end);
            if let Some(mark) = mark {
                frames = frames.skip_to(mark.offset, mark.first);
            }
            while let Some(frame) = frames.next()? {
                if frame.header.count == 0 {
                    continue;
                }
                if clock_ms(&frame) >= time_ms || frame.header.last() > committed {
                    return Ok(Sequence(frame.header.first.0 - 1));
                }
            }
            Ok(last)
        });
        match walked {
            // Retention took the file meanwhile: what is left was committed later.
            Err(ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(self.oldest()),
            walked => walked,
        }
    }

    /// A piece of the log that ends with the last batch up to `until`, about as long as marks are apart; empty if there
    /// is nothing.
    pub(crate) fn read_back(&self, until: Sequence) -> Result<Vec<Arc<Batch>>, ReadError> {
        let found = {
            let segments = self.segments.read().expect("no holder panics");
            let begun = segments.partition_point(|segment| segment.header.first <= until);
            let with_entries = |segment: &&Segment| segment.last >= segment.header.first;
            segments.range(..begun).rev().find(with_entries).map(|segment| (segment.header, segment.bytes))
        };
        let Some((header, end)) = found else { return Ok(Vec::new()) };
        let walked = self.with_segment(&header, |file| {
            let mut batches = Vec::new();
            let mut frames = Frames::new(Arc::clone(file), &header, end);
            if let Some(mark) = self.look_up(&header, file, end, |index| index.find(until))? {
                frames = frames.skip_to(mark.offset, mark.first);
            }
            while let Some(frame) = frames.next()?.filter(|frame| frame.header.last() <= until) {
                if frame.header.count > 0 {
                    batches.push(Arc::new(Batch::new(frame.header.first, frame.header.last(), frame.body)));
                }
            }
            Ok(batches)
        });
        match walked {
            // Retention took the file meanwhile.
            Err(ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            walked => walked,
        }
    }

    /// Opens a segment and says of what goes wrong there where that was.
    fn with_segment<T>(
        &self,
        header: &SegmentHeader,
        read: impl FnOnce(&Arc<dyn DiskFile>) -> Result<T, FrameError>,
    ) -> Result<T, ReadError> {
        let name = header.file_name();
        let read = self.disk.open(&name).map_err(FrameError::Io).and_then(|file| read(&file));
        read.map_err(|error| match error {
            FrameError::Io(source) => ReadError::Io { place: self.disk.place(&name), source },
            FrameError::Bad { offset, what } => ReadError::DamagedLog { place: self.disk.place(&name), offset, what },
        })
    }

    /// What a segment's index says. Loads it if nobody has needed it yet.
    fn look_up<T>(
        &self,
        header: &SegmentHeader,
        file: &Arc<dyn DiskFile>,
        end: u64,
        find: impl Fn(&Index) -> T,
    ) -> Result<T, FrameError> {
        let at =
            |segments: &VecDeque<Segment>| segments.iter().position(|segment| segment.header.first == header.first);
        {
            let segments = self.segments.read().expect("no holder panics");
            if let Some(index) = at(&segments).and_then(|at| segments[at].index.as_ref()) {
                return Ok(find(index));
            }
        }
        let index = Index::load(file, header, end)?;
        let found = find(&index);
        let mut segments = self.segments.write().expect("no holder panics");
        if let Some(at) = at(&segments) {
            segments[at].index = Some(index);
        }
        Ok(found)
    }
}
