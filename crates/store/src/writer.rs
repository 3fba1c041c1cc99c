//! The one thread that changes anything: it decides, numbers, stamps, appends, syncs, applies and publishes.

mod turn;
mod upkeep;

use crate::error::{StateError, StoreError};
use crate::limits::{EXPIRE_PER_TURN, TURN_BYTES_MAX, UNSYNCED_MAX};
use crate::log::{Appended, Log};
use crate::queue::Queue;
use crate::store::Shared;
use crate::tables::{Due, Room};
use rowcast_codec::QoS;
use rowcast_core::{
    Batch, Change, ChangeKind, Clock, Completion, Durability, Hlc, Outcome, Proposals, Sequence, SessionId,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use turn::{Scratch, Turn};
use upkeep::{Beside, Running, Upkeep};

/// Who proposed something: the number of a shard, or of whoever else waits for completions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Origin(pub u32);

impl Origin {
    /// The store itself: expiry. Its completions are nobody's.
    pub const STORE: Origin = Origin(u32::MAX);
}

/// What one turn of the writer did.
#[derive(Debug)]
pub struct Committed {
    /// What was written, if anything was.
    pub batch: Option<Arc<Batch>>,
    /// What became of each proposal that wants to know, by origin, in the order they were proposed.
    pub completions: Vec<(Origin, Vec<Completion>)>,
}

/// Who hears of what the writer thread does.
pub trait Sink: Send {
    /// A turn is over. What was asked to be durable is, and everything is visible.
    fn committed(&mut self, batch: Option<Arc<Batch>>, completions: Vec<(Origin, Vec<Completion>)>);

    /// The thread ends, because the process must: memory and disk may differ.
    fn failed(&mut self, error: StoreError);
}

/// The writing end of a store. There is one.
pub struct Writer {
    shared: Arc<Shared>,
    log: Log,
    clock: Clock,
    latest: Hlc, // The last stamp given or seen.
    upkeep: Arc<Upkeep>,
    scratch: Scratch,
    is_full: bool, // As `Shared::fullness` says.
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, log: Log, latest: Hlc, hash_seed: u64) -> Writer {
        let upkeep = Arc::new(Upkeep::new(Arc::clone(&shared)));
        Writer {
            shared,
            log,
            clock: Clock::after(latest),
            latest,
            upkeep,
            scratch: Scratch::new(hash_seed),
            is_full: false,
        }
    }

    /// Decides on proposals in their order and commits what is to be written as one frame.
    ///
    /// `now_ms` is the wall clock, milliseconds since 1970. After an error nothing more may be asked of the writer.
    pub fn turn(&mut self, work: Vec<(Origin, Proposals)>, now_ms: u64) -> Result<Committed, StoreError> {
        let room = self.shared.state.ready()?;
        let mut turn = Turn::new(&self.shared, &mut self.clock, &mut self.scratch, self.log.next(), now_ms, &work);
        let mut completions = Vec::with_capacity(work.len());
        for (origin, proposals) in work {
            completions.push((origin, turn.decide(proposals)));
        }
        let mut written = turn.finish();
        self.latest = self.latest.max(written.latest);
        if written.count == 0 {
            return Ok(Committed { batch: None, completions });
        }
        let appended = match room {
            Room::Yes => {
                let (frame, count) = (&mut written.frame, written.count);
                self.log.append(frame, count, written.durability, self.latest, now_ms)?
            }
            Room::DiskFull | Room::Damaged(_) => Appended::Full,
        };
        if let Appended::Full = appended {
            let outcome = match room {
                Room::Damaged(damage) => Outcome::Unreadable(self.shared.words(&damage)),
                Room::Yes | Room::DiskFull => Outcome::Full,
            };
            if outcome == Outcome::Full {
                let refused = completions.iter().map(|(_, list)| list.len()).sum();
                self.shared.fullness.refuse(written.frame.len(), refused);
                self.is_full = true;
            }
            for completion in completions.iter_mut().flat_map(|(_, list)| list) {
                completion.outcome = outcome.clone();
            }
            return Ok(Committed { batch: None, completions });
        }
        // Less than was refused may fit now and then.
        if self.is_full && self.shared.fullness.get().wanted <= Some(written.frame.len() as u64) {
            self.found_room();
        }
        if written.durability == Durability::Sync || self.log.unsynced() >= UNSYNCED_MAX {
            self.log.sync()?;
        }
        let batch = Arc::new(written.into_batch(self.log.last()));
        self.publish(&batch)?;
        Ok(Committed { batch: Some(batch), completions })
    }

    /// What is due about once a second: records expire, what is written gets to the disk, old log goes. Returns what was
    /// committed, and whether there is more to expire. [`spawn`] sees to it by itself.
    pub fn tick(&mut self, now_ms: u64) -> Result<(Committed, More), StoreError> {
        let expired = self.expire(now_ms)?;
        self.upkeep.run(now_ms)?;
        self.look_for_room(now_ms)?;
        Ok(expired)
    }

    /// Where the disk was full, sees whether as much as was refused would fit by now. Nobody may propose anything to a node
    /// that says it is not ready.
    fn look_for_room(&mut self, now_ms: u64) -> Result<(), StoreError> {
        let Some(wanted) = self.is_full.then(|| self.shared.fullness.get().wanted).flatten() else { return Ok(()) };
        let bytes = usize::try_from(wanted).unwrap_or(usize::MAX).min(TURN_BYTES_MAX);
        if self.shared.state.ready()? == Room::Yes
            && let Appended::Yes = self.log.look_for_room(bytes, self.latest, now_ms)?
        {
            self.found_room();
        }
        Ok(())
    }

    fn found_room(&mut self) {
        self.is_full = false;
        self.shared.fullness.pass();
    }

    /// Leaves everything in good order, so that the next start has nothing to recover.
    pub fn close(mut self, now_ms: u64) -> Result<(), StoreError> {
        if self.log.unsynced() > 0 {
            self.log.sync()?;
        }
        // What cannot be persisted for want of room, or for damage, is in the log.
        match self.shared.state.checkpoint() {
            Ok(()) | Err(StateError::Full { .. } | StateError::Unreadable(_)) => {}
            Err(error) => return Err(error.into()),
        }
        self.log.close(now_ms)
    }

    fn publish(&mut self, batch: &Arc<Batch>) -> Result<(), StoreError> {
        let effects = self.scratch.effects(batch, self.shared.node);
        self.shared.state.apply(&effects, batch.last())?;
        self.shared.publish(Arc::clone(batch));
        Ok(())
    }

    /// Removes records whose time has run out, through the log like any other change.
    fn expire(&mut self, now_ms: u64) -> Result<(Committed, More), StoreError> {
        let due = self.shared.state.due(now_ms, EXPIRE_PER_TURN)?;
        let more = if due.len() == EXPIRE_PER_TURN { More::Yes } else { More::No };
        let mut proposals = Proposals::default();
        let mut stale = Vec::new();
        for due in due {
            let record = match self.shared.get(due.table, &due.key) {
                // Left alone, and not looked at again while this runs: one that cannot be read is not shown to anyone.
                Err(StateError::Unreadable(_)) => None,
                record => record?,
            };
            let record = record.as_ref().and_then(|bytes| bytes.record().ok());
            if record.is_some_and(|record| record.expires_ms == Some(due.expires_ms)) {
                proposals.push(None, Durability::Flush, &[expiry(&due)]);
            } else {
                stale.push(due);
            }
        }
        if !stale.is_empty() {
            self.shared.state.forget(&stale)?;
        }
        if proposals.is_empty() {
            return Ok((Committed { batch: None, completions: Vec::new() }, more));
        }
        Ok((self.turn(vec![(Origin::STORE, proposals)], now_ms)?, more))
    }

    /// The sequence of the last entry written.
    #[must_use]
    pub fn last(&self) -> Sequence {
        self.log.last()
    }
}

/// Whether there is more to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum More {
    /// There is.
    Yes,
    /// There is not.
    No,
}

fn expiry(due: &Due) -> Change<'_> {
    Change {
        kind: ChangeKind::Expire,
        qos: QoS::AtLeastOnce,
        table: due.table,
        key: &due.key,
        publisher: SessionId::NONE,
        expires_ms: None,
        properties: &[],
        payload: &[],
    }
}

/// Runs the writer on a thread of its own until the queue is closed and empty, or something fails. While it syncs,
/// the next turn gathers in the queue.
#[must_use]
pub fn spawn(writer: Writer, queue: Queue, mut sink: Box<dyn Sink>) -> JoinHandle<()> {
    let body = move || {
        // After a panic the writer is not used again; only the news of it goes out.
        let ended = catch_unwind(AssertUnwindSafe(|| run(writer, &queue, &mut *sink)));
        if let Err(error) = ended.unwrap_or(Err(StoreError::Defect)) {
            queue.close();
            sink.failed(error);
        }
    };
    std::thread::Builder::new().name("writer".to_owned()).spawn(body).expect("the system has room for a thread")
}

fn run(writer: Writer, queue: &Queue, sink: &mut dyn Sink) -> Result<(), StoreError> {
    let beside = Beside::default();
    std::thread::scope(|scope| {
        let upkeep = beside.start(scope, Arc::clone(&writer.upkeep));
        take_turns(writer, queue, sink, upkeep)
    })
}

fn take_turns(
    mut writer: Writer,
    queue: &Queue,
    sink: &mut dyn Sink,
    mut upkeep: Running<'_>,
) -> Result<(), StoreError> {
    let mut next_expiry = Instant::now() + TICK;
    while let Some(work) = queue.drain(next_expiry.saturating_duration_since(Instant::now())) {
        upkeep.check()?;
        if !work.is_empty() {
            let pieces = work.len();
            let Committed { batch, completions } = writer.turn(work, wall_clock_ms())?;
            queue.decided(pieces);
            upkeep.written(batch.as_ref().map_or(0, |batch| batch.bytes().len()));
            sink.committed(batch, completions);
        }
        if Instant::now() >= next_expiry {
            let (Committed { batch, .. }, more) = writer.expire(wall_clock_ms())?;
            if batch.is_some() {
                sink.committed(batch, Vec::new());
            }
            writer.look_for_room(wall_clock_ms())?;
            next_expiry = Instant::now() + if more == More::Yes { Duration::ZERO } else { TICK };
        }
    }
    drop(upkeep);
    writer.close(wall_clock_ms())
}

fn wall_clock_ms() -> u64 {
    // A clock before 1970 stamps like one at 1970; stamps never run backwards anyway.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// How long what need not be synced stays unsynced, and a record outlives its time.
const TICK: Duration = Duration::from_secs(1);
