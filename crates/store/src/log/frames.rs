//! Walks the frames of one segment, checking each before it is shown.

use super::segment::{FRAME_MAGIC, FrameHeader, SegmentHeader, checksum_of};
use crate::disk::DiskFile;
use crate::limits::{FILLED_BYTES, READ_BYTES};
use bytes::Bytes;
use rowcast_core::Sequence;
use std::io;
use std::sync::Arc;

/// A cursor over a segment's frames.
///
/// Invariant: what it has shown matched its checksum, followed the frame before it, and has sequences without a gap.
pub(crate) struct Frames {
    file: Arc<dyn DiskFile>,
    seed: u32,
    offset: u64,           // Of the next frame.
    end: u64,              // Of what is looked at.
    previous: Option<u32>, // What the next frame must say of the one before; `None`: it was not seen.
    next: Sequence,        // The first sequence of the next frame.
    chunk: Bytes,
    chunk_offset: u64,
}

/// One frame that is as it was written.
pub(crate) struct Frame {
    pub(crate) header: FrameHeader,
    pub(crate) offset: u64,
    pub(crate) body: Bytes,
}

/// Why the next frame cannot be shown.
#[derive(Debug)]
pub(crate) enum FrameError {
    /// The disk said no.
    Io(io::Error),
    /// It is not as it was written.
    Bad { offset: u64, what: &'static str },
}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> FrameError {
        FrameError::Io(error)
    }
}

impl Frames {
    /// From the first frame of a segment on; `end` is the length of the file, or less.
    pub(crate) fn new(file: Arc<dyn DiskFile>, header: &SegmentHeader, end: u64) -> Frames {
        let seed = header.seed();
        let offset = SegmentHeader::BYTES as u64;
        Frames {
            file,
            seed,
            offset,
            end,
            previous: Some(seed),
            next: header.first,
            chunk: Bytes::new(),
            chunk_offset: 0,
        }
    }

    /// From a frame in the middle on, which begins at `offset` with the sequence `next`.
    pub(crate) fn skip_to(mut self, offset: u64, next: Sequence) -> Frames {
        if offset > self.offset {
            (self.offset, self.next, self.previous) = (offset, next, None);
        }
        self
    }

    /// Where the next frame begins: the end of what was shown.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame; `None` at the end. After an error the cursor stays before the frame that could not be shown.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let left = self.end.saturating_sub(self.offset);
        if left == 0 {
            return Ok(None);
        }
        let bad = |what| Err(FrameError::Bad { offset: self.offset, what });
        if left < FrameHeader::BYTES as u64 {
            return bad("the file ends inside the head of a frame");
        }
        let offset = self.offset;
        let Some((header, checksum)) = FrameHeader::decode(&self.load(offset, FrameHeader::BYTES)?) else {
            return Err(FrameError::Bad { offset, what: "no frame begins here" });
        };
        let bad = |what| Err(FrameError::Bad { offset, what });
        if header.frame_bytes() as u64 > left {
            return bad("the file ends inside a frame");
        }
        let frame = self.load(offset, header.frame_bytes())?;
        if checksum_of(&frame, self.seed) != checksum {
            return bad("the checksum of a frame does not match");
        }
        if self.previous.is_some_and(|previous| previous != header.previous) {
            return bad("a frame does not follow the one before it");
        }
        if header.first != self.next {
            return bad("the sequences of a frame do not follow those before it");
        }
        self.offset += header.frame_bytes() as u64;
        self.previous = Some(checksum);
        self.next = header.last().next();
        Ok(Some(Frame { header, offset, body: frame.slice(FrameHeader::BYTES..) }))
    }

    /// Whether nothing is left but the zeros behind a frame that was written durably.
    pub(crate) fn is_filled_up(&mut self) -> io::Result<bool> {
        let left = self.end - self.offset;
        Ok(left < FILLED_BYTES as u64 && self.load(self.offset, left as usize)?.iter().all(|&byte| byte == 0))
    }

    /// Looks behind the frame that could not be shown for a good one that was written when the log was already on disk
    /// up to the missing entries: then they were not merely torn, they are damaged. Returns where it is.
    pub(crate) fn proof_of_damage(&mut self) -> io::Result<Option<u64>> {
        let mut work = self.end.saturating_mul(CHECK_EFFORT);
        let mut at = self.offset + 1;
        while at + FrameHeader::BYTES as u64 <= self.end {
            let length = (self.end - at).min(READ_BYTES as u64) as usize;
            let chunk = self.load(at, length)?;
            let Some(found) = chunk.windows(FRAME_MAGIC.len()).position(|window| window == FRAME_MAGIC) else {
                at += (length - (FRAME_MAGIC.len() - 1)) as u64;
                continue;
            };
            at += found as u64;
            if self.proves_damage(at, &mut work)? {
                return Ok(Some(at));
            }
            at += 1;
        }
        Ok(None)
    }

    fn proves_damage(&mut self, at: u64, work: &mut u64) -> io::Result<bool> {
        if at + FrameHeader::BYTES as u64 > self.end {
            return Ok(false);
        }
        let Some((header, checksum)) = FrameHeader::decode(&self.load(at, FrameHeader::BYTES)?) else {
            return Ok(false);
        };
        if header.synced < self.next || at + header.frame_bytes() as u64 > self.end {
            return Ok(false);
        }
        // Somebody filled a message with what looks like frames, and the power went just then: refuse rather than
        // spend hours.
        *work = work.saturating_sub(header.frame_bytes() as u64);
        Ok(*work == 0 || checksum_of(&self.load(at, header.frame_bytes())?, self.seed) == checksum)
    }

    /// The `length` bytes at `offset`, which are within `end`.
    fn load(&mut self, offset: u64, length: usize) -> io::Result<Bytes> {
        let within = |chunk: &Bytes, chunk_offset: u64| {
            let start = usize::try_from(offset.checked_sub(chunk_offset)?).ok()?;
            (start + length <= chunk.len()).then(|| chunk.slice(start..start + length))
        };
        if let Some(bytes) = within(&self.chunk, self.chunk_offset) {
            return Ok(bytes);
        }
        let size = (length.max(READ_BYTES) as u64).min(self.end - offset) as usize;
        let mut chunk = vec![0; size];
        let read = self.file.read_at(&mut chunk, offset)?;
        chunk.truncate(read);
        (self.chunk, self.chunk_offset) = (chunk.into(), offset);
        within(&self.chunk, self.chunk_offset).ok_or_else(|| {
            io::Error::new(io::ErrorKind::UnexpectedEof, "a log segment became shorter while it was read")
        })
    }
}

const CHECK_EFFORT: u64 = 16; // Times the segment's length that is checksummed in search of a good frame.
