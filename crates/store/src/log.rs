//! The commit log: frames in segments, appended by the writer alone, read by everyone.
//!
//! `docs/log-format.md` describes the files. The log knows nothing of records; a frame's body is bytes to it.

mod frames;
mod index;
mod recover;
mod retention;
mod segment;

pub(crate) use frames::{Frame, FrameError, Frames};
pub(crate) use index::{Index, Mark};
pub use recover::{Cut, Verify};
pub(crate) use recover::{Opening, Recovered, open};
pub use retention::Retention;
use segment::first_of_name;
pub(crate) use segment::{FrameHeader, SegmentHeader};

use crate::damage::Mend;
use crate::disk::{Disk, DiskFile, is_full};
use crate::error::StoreError;
use rowcast_core::{Durability, Hlc, Sequence};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

/// The end of the log, as the one thread that writes it holds it.
///
/// Invariant: the file holds whole frames up to `offset`, and `next` is the sequence after the last of them.
pub(crate) struct Log {
    pub(crate) shared: Arc<LogFiles>,
    file: Arc<dyn DiskFile>,
    header: SegmentHeader,
    seed: u32,
    chain: u32, // Checksum of the last frame.
    offset: u64,
    next: Sequence,
    last: Sequence, // Of the last entry, which may be well before `next`.
    sealed: bool,   // The segment has its seal; the next one could not be begun yet.
    segment_bytes: u64,
}

/// The log's files, as everyone may look at them.
pub(crate) struct LogFiles {
    pub(crate) disk: Arc<dyn Disk>,
    /// The oldest first; the last is being written.
    pub(crate) segments: RwLock<VecDeque<Segment>>,
    pub(crate) sync: Arc<LogSync>,
}

/// What is known of one segment.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    /// The sequence of its last entry, or of the last before it.
    pub(crate) last: Sequence,
    /// Whole frames end here.
    pub(crate) bytes: u64,
    /// `None`: not looked up yet.
    pub(crate) index: Option<Index>,
}

/// What became of a frame that was to be appended.
pub(crate) enum Appended {
    /// It is with the operating system.
    Yes,
    /// There is no room for it; the log is as before.
    Full,
}

impl Log {
    /// The sequence that the next entry gets.
    pub(crate) fn next(&self) -> Sequence {
        self.next
    }

    /// The sequence of the last entry; [`Sequence::ZERO`] if there never was one.
    pub(crate) fn last(&self) -> Sequence {
        self.last
    }

    /// Writes one frame. Its body is in place in `frame`, behind room for the header, and holds `count` entries with
    /// the sequences from [`Log::next`] on; `clock` is the latest of their clocks. Where it is to be on the disk, and
    /// nothing before it has yet to get there, it is when this returns; otherwise it is with [`Log::sync`].
    pub(crate) fn append(
        &mut self,
        frame: &mut [u8],
        count: u32,
        durability: Durability,
        clock: Hlc,
        now_ms: u64,
    ) -> Result<Appended, StoreError> {
        if self.offset >= self.segment_bytes
            && let Appended::Full = self.roll(clock, now_ms)?
        {
            return Ok(Appended::Full);
        }
        let first = self.next;
        let offset = self.offset;
        let durably = durability == Durability::Sync && self.unsynced() == 0;
        if let Appended::Full = self.write(frame, count, now_ms, durably)? {
            return Ok(Appended::Full);
        }
        self.next = Sequence(first.0 + u64::from(count));
        self.last = Sequence(self.next.0 - 1);
        let mut segments = self.shared.segments.write().expect("no holder panics");
        let segment = segments.back_mut().expect("there is always a last segment");
        segment.bytes = self.offset;
        segment.last = self.last;
        segment.index.get_or_insert_default().observe(first, offset);
        drop(segments);
        self.shared.sync.written.store(self.last.0, Ordering::Release);
        if durably {
            self.shared.sync.synced.fetch_max(self.last.0, Ordering::AcqRel);
        }
        Ok(Appended::Yes)
    }

    /// Whether there is room for a frame of so many bytes: they are written where it would be, and cut off again. Who
    /// finds them after a crash takes them for a frame that was never finished.
    pub(crate) fn look_for_room(&mut self, bytes: usize, clock: Hlc, now_ms: u64) -> Result<Appended, StoreError> {
        if self.offset >= self.segment_bytes
            && let Appended::Full = self.roll(clock, now_ms)?
        {
            return Ok(Appended::Full);
        }
        let found = match self.file.write_at(&vec![0; bytes], self.offset) {
            Ok(()) => Appended::Yes,
            Err(error) if is_full(&error) => Appended::Full,
            Err(source) => return Err(self.failed("append to", source)),
        };
        self.file.truncate(self.offset).map_err(|source| self.failed("cut an unfinished frame off", source))?;
        Ok(found)
    }

    /// Puts everything appended on the disk.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        self.shared.sync.sync_to(self.last).map_err(|source| self.failed("sync", source))
    }

    /// How many sequences are appended but not known to be on the disk.
    pub(crate) fn unsynced(&self) -> u64 {
        self.last.0.saturating_sub(self.shared.sync.synced().0)
    }

    /// Ends the log in good order: who opens it next knows that nothing is missing.
    pub(crate) fn close(&mut self, now_ms: u64) -> Result<(), StoreError> {
        // A full disk leaves no room for the seal. Then the next start takes this for an unclean stop, no more.
        self.seal(now_ms).map(|_| ())
    }

    /// Ends this segment and begins the next.
    fn roll(&mut self, clock: Hlc, now_ms: u64) -> Result<Appended, StoreError> {
        if !self.sealed
            && let Appended::Full = self.seal(now_ms)?
        {
            return Ok(Appended::Full);
        }
        let header = SegmentHeader {
            first: self.next,
            previous: self.last,
            previous_bytes: self.offset,
            clock,
            created_ms: now_ms,
            ..self.header
        };
        let file = match create_segment(&*self.shared.disk, &header) {
            Ok(file) => file,
            Err(error) if is_full(&error) => return Ok(Appended::Full),
            Err(source) => {
                return Err(self.shared.failed("create", &header.file_name(), source));
            }
        };
        *self = Log::begin(Arc::clone(&self.shared), file, header, self.segment_bytes);
        Ok(Appended::Yes)
    }

    /// Writes the seal and puts the segment on the disk.
    fn seal(&mut self, now_ms: u64) -> Result<Appended, StoreError> {
        let mut frame = vec![0; FrameHeader::BYTES];
        let segments = self.shared.segments.read().expect("no holder panics");
        let index = segments.back().and_then(|segment| segment.index.clone()).unwrap_or_default();
        drop(segments);
        index.encode(self.offset, &mut frame);
        if let Appended::Full = self.write(&mut frame, 0, now_ms, false)? {
            return Ok(Appended::Full);
        }
        // The next segment refers to the length, of which zeros are no part.
        self.file.truncate(self.offset).map_err(|source| self.failed("cut zeros off", source))?;
        self.sealed = true;
        self.shared.segments.write().expect("no holder panics").back_mut().expect("the last segment").bytes =
            self.offset;
        self.shared.sync.sync_all().map_err(|source| self.failed("sync", source))?;
        Ok(Appended::Yes)
    }

    fn write(&mut self, frame: &mut [u8], count: u32, now_ms: u64, durably: bool) -> Result<Appended, StoreError> {
        let header = FrameHeader {
            length: (frame.len() - FrameHeader::BYTES) as u32,
            previous: self.chain,
            first: self.next,
            count,
            synced: self.shared.sync.synced(),
            time_ms: now_ms,
        };
        let chain = header.encode_into(frame, self.seed);
        let written = if durably {
            self.shared.sync.write_at(&*self.file, frame, self.offset)
        } else {
            self.file.write_at(frame, self.offset)
        };
        match written {
            Ok(()) => {
                self.chain = chain;
                self.offset += frame.len() as u64;
                Ok(Appended::Yes)
            }
            Err(error) if is_full(&error) => {
                self.file.truncate(self.offset).map_err(|source| self.failed("cut an unfinished frame off", source))?;
                Ok(Appended::Full)
            }
            Err(source) => Err(self.failed("append to", source)),
        }
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> StoreError {
        self.shared.failed(doing, &self.header.file_name(), source)
    }

    /// Goes on in a segment that has just been created.
    fn begin(shared: Arc<LogFiles>, file: Arc<dyn DiskFile>, header: SegmentHeader, segment_bytes: u64) -> Log {
        let bytes = SegmentHeader::BYTES as u64;
        let segment = Segment { header, last: header.previous, bytes, index: Some(Index::default()) };
        shared.segments.write().expect("no holder panics").push_back(segment);
        *shared.sync.file.lock().expect("no holder panics") = Arc::clone(&file);
        let seed = header.seed();
        Log {
            shared,
            file,
            header,
            seed,
            chain: seed,
            offset: bytes,
            next: header.first,
            last: header.previous,
            sealed: false,
            segment_bytes,
        }
    }
}

impl LogFiles {
    /// Removes segments that are beyond `retention` and that the tables have persisted. Returns whether the tables
    /// stand in the way of more.
    pub(crate) fn retain(&self, retention: &Retention, persisted: Sequence, now_ms: u64) -> Result<bool, StoreError> {
        let mut segments = self.segments.write().expect("no holder panics");
        let found = retention.expendable(segments.iter(), persisted, now_ms);
        // First from the list, then from the disk: a reader that finds no file looks at the list again.
        let dropped: Vec<Segment> = segments.drain(..found.segments).collect();
        drop(segments);
        for segment in &dropped {
            let name = segment.header.file_name();
            self.disk.remove(&name).map_err(|source| self.failed("remove", &name, source))?;
        }
        if !dropped.is_empty() {
            self.disk.sync_dir().map_err(|source| self.failed("sync the folder", "", source))?;
        }
        Ok(found.blocked)
    }

    fn failed(&self, doing: &'static str, name: &str, source: io::Error) -> StoreError {
        StoreError::Io { doing, place: self.disk.place(name), source }
    }
}

/// How tables are mended whose log is not open yet: from it, if nothing was cut off in front of its oldest segment.
pub(crate) fn mend(disk: &dyn Disk) -> Mend {
    let oldest = |disk: &dyn Disk| {
        let names = disk.list().ok()?;
        let (_, name) = names.iter().filter_map(|name| Some((first_of_name(name)?, name))).min()?;
        let mut head = [0; SegmentHeader::BYTES];
        let read = disk.open(name).ok()?.read_at(&mut head, 0).ok()?;
        SegmentHeader::decode(&head[..read]).ok()
    };
    match oldest(disk) {
        Some(header) if header.previous == Sequence::ZERO => Mend::FromLog,
        _ => Mend::FromBackup,
    }
}

/// Puts the log on the disk, for whoever needs it there: the writer before it acknowledges, the tables before they
/// persist what the log says.
pub struct LogSync {
    file: Mutex<Arc<dyn DiskFile>>, // The last segment. All before it are on the disk.
    written: AtomicU64,
    synced: AtomicU64,
    failed: AtomicBool,
}

impl LogSync {
    fn new(file: Arc<dyn DiskFile>, synced: Sequence) -> LogSync {
        LogSync {
            file: Mutex::new(file),
            written: AtomicU64::new(synced.0),
            synced: AtomicU64::new(synced.0),
            failed: AtomicBool::new(false),
        }
    }

    /// The log is on the disk up to here.
    #[must_use]
    pub fn synced(&self) -> Sequence {
        Sequence(self.synced.load(Ordering::Acquire))
    }

    /// Returns once the log is on the disk up to `sequence`. After one failure it fails for ever: what a failed sync
    /// left behind is unknown, and a second one that succeeds proves nothing.
    pub fn sync_to(&self, sequence: Sequence) -> io::Result<()> {
        if self.synced() >= sequence { Ok(()) } else { self.sync_all() }
    }

    /// Puts everything on the disk that was written by now.
    pub(crate) fn sync_written(&self) -> io::Result<()> {
        self.sync_to(Sequence(self.written.load(Ordering::Acquire)))
    }

    /// Writes to the last segment, where all before is on the disk, so that this is as well.
    fn write_at(&self, file: &dyn DiskFile, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check()?;
        let written = file.write_durably_at(bytes, offset);
        if written.as_ref().is_err_and(|error| !is_full(error)) {
            self.failed.store(true, Ordering::Release); // Never back: another thread's sync may have failed meanwhile.
        }
        written
    }

    fn check(&self) -> io::Result<()> {
        if self.failed.load(Ordering::Acquire) { Err(io::Error::other("an earlier sync failed")) } else { Ok(()) }
    }

    fn sync_all(&self) -> io::Result<()> {
        self.check()?;
        // In this order: what was written by now is in this file, or in one before it, which is on the disk.
        let written = self.written.load(Ordering::Acquire);
        let file = Arc::clone(&self.file.lock().expect("no holder panics"));
        file.sync_data().inspect_err(|_| self.failed.store(true, Ordering::Release))?;
        self.synced.fetch_max(written, Ordering::AcqRel);
        Ok(())
    }
}

/// Makes a segment under a passing name and gives it its own once its header is on the disk.
fn create_segment(disk: &dyn Disk, header: &SegmentHeader) -> io::Result<Arc<dyn DiskFile>> {
    remove_if_there(disk, UNFINISHED)?;
    let file = disk.create(UNFINISHED)?;
    file.write_at(&header.encode(), 0)?;
    file.sync_data()?;
    disk.rename(UNFINISHED, &header.file_name())?;
    disk.sync_dir()?;
    Ok(file)
}

fn remove_if_there(disk: &dyn Disk, name: &str) -> io::Result<()> {
    match disk.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

const UNFINISHED: &str = "segment.tmp";
