//! Opens the log after a stop of any kind, and says what became of its end.
//!
//! A crash leaves a torn tail: frames that were never acknowledged as synced, some of them whole, some not. It is cut.
//! Anything else that is not as it was written is damage, and opening fails with its place: what follows a damaged
//! frame was acknowledged, and must not vanish in silence.

use super::frames::{Frame, FrameError, Frames};
use super::segment::{HeaderFault, SegmentHeader, first_of_name};
use super::{Index, Log, LogFiles, LogSync, Segment, UNFINISHED, create_segment, remove_if_there};
use crate::disk::{Disk, DiskFile};
use crate::error::OpenError;
use crate::limits::SEQUENCE_GAP;
use crate::tables::Effect;
use bytes::Bytes;
use rowcast_core::{Entries, Hlc, NodeId, Sequence};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, RwLock};

/// How much of the log is read when it is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Verify {
    /// What the tables do not hold yet, and the last segment. Older ones are checked whenever they are read.
    #[default]
    Tail,
    /// Everything.
    All,
}

/// A torn tail that was cut off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    /// The file.
    pub place: String,
    /// Where it ends now.
    pub offset: u64,
    /// How many bytes went.
    pub bytes: u64,
    /// What was wrong with them.
    pub what: &'static str,
}

/// How to open a log.
pub(crate) struct Opening<'a> {
    pub(crate) disk: &'a Arc<dyn Disk>,
    pub(crate) node: NodeId,
    pub(crate) segment_bytes: u64,
    /// The tables hold everything up to here.
    pub(crate) applied: Sequence,
    pub(crate) verify: Verify,
    pub(crate) now_ms: u64,
}

impl Opening<'_> {
    fn header(
        &self,
        epoch: u64,
        first: Sequence,
        previous: Sequence,
        previous_bytes: u64,
        clock: Hlc,
    ) -> SegmentHeader {
        SegmentHeader { node: self.node, epoch, first, previous, previous_bytes, clock, created_ms: self.now_ms }
    }
}

/// A log that can go on.
pub(crate) struct Recovered {
    pub(crate) log: Log,
    /// No entry has a later clock.
    pub(crate) clock: Hlc,
    /// Whether it was closed in good order.
    pub(crate) clean: bool,
    pub(crate) cut: Option<Cut>,
}

/// A frame that the tables lack, in part at least. Its entries have been looked at.
pub(crate) struct Replay {
    pub(crate) first: Sequence,
    pub(crate) last: Sequence,
    pub(crate) body: Bytes,
}

/// Opens the log, or begins one. Every frame that the tables lack is shown to `replay`.
pub(crate) fn open(
    opening: &Opening<'_>,
    replay: &mut dyn FnMut(&Replay) -> Result<(), OpenError>,
) -> Result<Recovered, OpenError> {
    let disk = &**opening.disk;
    remove_if_there(disk, UNFINISHED).map_err(|source| failed(disk, "remove", UNFINISHED, source))?;
    let mut files = list(opening)?;
    drop_leftovers(disk, &mut files)?;
    check_links(disk, &files)?;
    let Some(last) = files.last() else {
        if opening.applied != Sequence::ZERO {
            return Err(OpenError::LogMissing { applied: opening.applied, first: None });
        }
        let header = opening.header(1, Sequence(1), Sequence::ZERO, 0, Hlc::default());
        return begin(opening, Vec::new(), header, true, None);
    };
    let oldest = &files[0].header;
    if opening.applied < oldest.previous {
        return Err(OpenError::LogMissing { applied: opening.applied, first: Some(oldest.first) });
    }
    let (last_header, last_bytes) = (last.header, last.bytes);
    sync_tail(disk, last)?;
    let (mut segments, end) = scan_all(opening, files, replay)?;
    if opening.applied > end.last {
        return Err(OpenError::TablesAhead { applied: opening.applied, last: end.last });
    }
    let clean = end.sealed && end.torn.is_none();
    if end.offset < last_bytes {
        cut_tail(disk, &last_header, end.offset)?;
    }
    let cut = end.torn.map(|what| Cut {
        place: disk.place(&last_header.file_name()),
        offset: end.offset,
        bytes: last_bytes - end.offset,
        what,
    });
    let after = end.last.next().0.max(last_header.first.0);
    let first = Sequence(if clean { after } else { after + SEQUENCE_GAP });
    // A segment without entries is replaced: starts in vain leave nothing behind.
    let empty = end.last == last_header.previous;
    let (previous, previous_bytes) =
        if empty { (last_header.previous, last_header.previous_bytes) } else { (end.last, end.offset) };
    let header = opening.header(last_header.epoch + 1, first, previous, previous_bytes, end.clock);
    if empty {
        segments.pop();
    }
    let recovered = begin(opening, segments, header, clean, cut)?;
    if empty && last_header.first != first {
        let name = last_header.file_name();
        remove_if_there(disk, &name).map_err(|source| failed(disk, "remove", &name, source))?;
    }
    Ok(recovered)
}

/// A segment file as it was found.
struct Found {
    header: SegmentHeader,
    bytes: u64,
    file: Arc<dyn DiskFile>,
}

/// All segments, the oldest first.
fn list(opening: &Opening<'_>) -> Result<Vec<Found>, OpenError> {
    let disk = &**opening.disk;
    let names = disk.list().map_err(|source| failed(disk, "list", "", source))?;
    let mut firsts: Vec<Sequence> = names.iter().filter_map(|name| first_of_name(name)).collect();
    firsts.sort_unstable();
    firsts.into_iter().map(|first| open_segment(opening, first)).collect()
}

fn open_segment(opening: &Opening<'_>, first: Sequence) -> Result<Found, OpenError> {
    let disk = &**opening.disk;
    let name = SegmentHeader { first, ..opening.header(0, first, first, 0, Hlc::default()) }.file_name();
    let io = |source| failed(disk, "read", &name, source);
    let file = disk.open(&name).map_err(io)?;
    let bytes = file.len().map_err(io)?;
    let mut head = [0; SegmentHeader::BYTES];
    let read = file.read_at(&mut head, 0).map_err(io)?;
    let header = SegmentHeader::decode(&head[..read]).map_err(|fault| match fault {
        HeaderFault::Damaged => damaged(disk, &name, 0, "the head of the segment is not as it was written"),
        HeaderFault::Version(version) => OpenError::NewerLog { place: disk.place(&name), version },
    })?;
    if header.node != opening.node {
        return Err(OpenError::ForeignLog { place: disk.place(&name), theirs: header.node, ours: opening.node });
    }
    if header.first != first {
        return Err(damaged(disk, &name, 0, "the file's name is not the one it was written under"));
    }
    Ok(Found { header, bytes, file })
}

/// A start that replaced a segment without entries may have ended before it was removed.
fn drop_leftovers(disk: &dyn Disk, files: &mut Vec<Found>) -> Result<(), OpenError> {
    let mut at = 0;
    while at + 1 < files.len() {
        let (this, next) = (&files[at].header, &files[at + 1].header);
        if (this.previous, this.previous_bytes) == (next.previous, next.previous_bytes) {
            let name = this.file_name();
            remove_if_there(disk, &name).map_err(|source| failed(disk, "remove", &name, source))?;
            files.remove(at);
        } else {
            at += 1;
        }
    }
    Ok(())
}

/// Each segment says what came before it, so that none can be missing, shortened or swapped unnoticed.
fn check_links(disk: &dyn Disk, files: &[Found]) -> Result<(), OpenError> {
    for pair in files.windows(2) {
        let (this, next) = (&pair[0], &pair[1].header);
        let name = this.header.file_name();
        if next.previous_bytes != this.bytes {
            let at = next.previous_bytes.min(this.bytes);
            return Err(damaged(disk, &name, at, "the segment is not as long as the next one says, or one is missing"));
        }
        if next.previous < this.header.first || next.epoch < this.header.epoch {
            return Err(damaged(disk, &name, 0, "the next segment does not follow this one"));
        }
    }
    Ok(())
}

/// Where the log ends.
struct End {
    last: Sequence,
    offset: u64,
    clock: Hlc,
    sealed: bool,
    torn: Option<&'static str>,
}

fn scan_all(
    opening: &Opening<'_>,
    files: Vec<Found>,
    replay: &mut dyn FnMut(&Replay) -> Result<(), OpenError>,
) -> Result<(Vec<Segment>, End), OpenError> {
    let disk = &**opening.disk;
    let lasts: Vec<Option<Sequence>> =
        files.iter().skip(1).map(|next| Some(next.header.previous)).chain([None]).collect();
    let mut segments = Vec::with_capacity(files.len() + 1);
    let mut end = None;
    for (found, expected) in files.into_iter().zip(lasts) {
        let header = found.header;
        if let Some(last) = expected
            && opening.verify == Verify::Tail
            && last <= opening.applied
        {
            segments.push(Segment { header, last, bytes: found.bytes, index: None });
            continue;
        }
        let mut index = Index::default();
        let scanned = scan(opening, &found, &mut index, replay)?;
        if let Some(what) = scanned.torn
            && expected.is_some()
        {
            return Err(damaged(disk, &header.file_name(), scanned.offset, what));
        }
        if expected.is_some_and(|last| last != scanned.last) {
            let what = "the segment does not end with the sequence that the next one says";
            return Err(damaged(disk, &header.file_name(), scanned.offset, what));
        }
        segments.push(Segment { header, last: scanned.last, bytes: scanned.offset, index: Some(index) });
        end = Some(scanned);
    }
    Ok((segments, end.expect("the last segment is always read")))
}

/// Reads one segment to its end, or to where it is torn. Damage is an error.
fn scan(
    opening: &Opening<'_>,
    found: &Found,
    index: &mut Index,
    replay: &mut dyn FnMut(&Replay) -> Result<(), OpenError>,
) -> Result<End, OpenError> {
    let disk = &**opening.disk;
    let name = found.header.file_name();
    let io = |source| failed(disk, "read", &name, source);
    let mut frames = Frames::new(Arc::clone(&found.file), &found.header, found.bytes);
    let mut end = End { last: found.header.previous, offset: 0, clock: found.header.clock, sealed: false, torn: None };
    loop {
        match frames.next() {
            Ok(Some(frame)) => {
                index.observe(frame.header.first, frame.offset);
                end.sealed = frame.header.count == 0;
                if !end.sealed {
                    end.last = frame.header.last();
                    end.clock =
                        end.clock.max(latest_clock(&frame).map_err(|what| damaged(disk, &name, frame.offset, what))?);
                    if end.last > opening.applied {
                        let (first, last) = (frame.header.first, frame.header.last());
                        replay(&Replay { first, last, body: frame.body })?;
                    }
                }
            }
            Ok(None) => break,
            Err(FrameError::Io(source)) => return Err(io(source)),
            Err(FrameError::Bad { offset, what }) => {
                if frames.proof_of_damage().map_err(io)?.is_some() {
                    return Err(damaged(disk, &name, offset, what));
                }
                end.torn = (!frames.is_filled_up().map_err(io)?).then_some(what);
                break;
            }
        }
    }
    end.offset = frames.offset();
    Ok(end)
}

/// The latest clock of a frame's entries, which are looked at one by one on the way: a checksum says that they are as
/// they were written, not that they make sense.
fn latest_clock(frame: &Frame) -> Result<Hlc, &'static str> {
    let mut clock = Hlc::default();
    let mut count = 0;
    for entry in Entries::new(&frame.body, frame.header.first) {
        let entry =
            entry.ok().filter(Effect::is_sound).ok_or("a frame holds an entry that this version cannot read")?;
        clock = clock.max(entry.hlc);
        count += 1;
    }
    if count == frame.header.count { Ok(clock) } else { Err("a frame does not hold as many entries as it says") }
}

/// What is there may be in the system's memory only. Before anything is built on it, it goes to the disk.
fn sync_tail(disk: &dyn Disk, last: &Found) -> Result<(), OpenError> {
    last.file.sync_data().map_err(|source| failed(disk, "sync", &last.header.file_name(), source))
}

/// Cuts off what is torn, and zeros. The next segment refers to the length.
fn cut_tail(disk: &dyn Disk, header: &SegmentHeader, offset: u64) -> Result<(), OpenError> {
    let name = header.file_name();
    let cut = || -> io::Result<()> {
        let file = disk.open(&name)?;
        file.truncate(offset)?;
        file.sync_data()
    };
    cut().map_err(|source| failed(disk, "cut", &name, source))
}

/// Begins a segment; nothing is ever appended to one of an earlier run.
fn begin(
    opening: &Opening<'_>,
    segments: Vec<Segment>,
    header: SegmentHeader,
    clean: bool,
    cut: Option<Cut>,
) -> Result<Recovered, OpenError> {
    let disk = &**opening.disk;
    let file = create_segment(disk, &header).map_err(|source| failed(disk, "create", &header.file_name(), source))?;
    let shared = Arc::new(LogFiles {
        disk: Arc::clone(opening.disk),
        segments: RwLock::new(VecDeque::from(segments)),
        sync: Arc::new(LogSync::new(Arc::clone(&file), header.previous)),
    });
    let log = Log::begin(shared, file, header, opening.segment_bytes);
    Ok(Recovered { log, clock: header.clock, clean, cut })
}

fn failed(disk: &dyn Disk, doing: &'static str, name: &str, source: io::Error) -> OpenError {
    OpenError::Io { doing, place: disk.place(name), source }
}

fn damaged(disk: &dyn Disk, name: &str, offset: u64, what: &'static str) -> OpenError {
    OpenError::DamagedLog { place: disk.place(name), offset, what }
}
