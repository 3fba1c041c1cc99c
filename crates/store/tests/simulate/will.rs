//! When a will must be published, and when it must not.

use std::collections::BTreeMap;

/// Wills by the number of their message.
#[derive(Default)]
pub(crate) struct Wills(BTreeMap<usize, Will>);

/// A will of a CONNECT that was sent. Times are milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
struct Will {
    client: usize,
    delay_secs: u32,
    /// From when on it may be published; `None`: not as things are.
    from: Option<u64>,
    /// When it must have been; `None`: it need not be.
    until: Option<u64>,
    /// Its client said goodbye, and the server may not have written that down.
    farewell: bool,
    /// The next connection is there: once nothing is under way, it is over.
    over: bool,
    /// It was due while the disk was full.
    excused: bool,
    fired: bool,
}

/// How long what is due may wait for somebody to look.
const TICK_MS: u64 = 1_000;

impl Wills {
    /// A CONNECT with a will is on its way.
    pub(crate) fn arm(&mut self, number: usize, client: usize, delay_secs: u32) {
        let will = Will {
            client,
            delay_secs,
            from: None,
            until: None,
            farewell: false,
            over: false,
            excused: false,
            fired: false,
        };
        self.0.insert(number, will);
    }

    fn of(&mut self, client: usize) -> impl Iterator<Item = &mut Will> {
        self.0.values_mut().filter(move |will| will.client == client && !will.fired)
    }

    /// A connection was lost `at` a time. `expiry_secs`: how long its session goes on. `surely`: it was open, and the
    /// server knows that it is lost.
    pub(crate) fn lost(&mut self, number: usize, at: u64, expiry_secs: u32, surely: bool) {
        let Some(will) = self.0.get_mut(&number) else { return };
        let due = at + u64::from(will.delay_secs.min(expiry_secs)) * 1000;
        // One whose fate is not known may be thrown away with its session at any time.
        let from = if surely { due } else { at };
        will.from = Some(will.from.map_or(from, |suspected| suspected.min(from)));
        will.until = Some(due).filter(|_| surely);
    }

    /// The client said goodbye, and the server heard it.
    pub(crate) fn farewell(&mut self, number: usize) {
        if let Some(will) = self.0.get_mut(&number) {
            (will.from, will.until, will.farewell) = (None, None, true);
        }
    }

    /// The client connects again: from here on, what waits may be cancelled, or be published at once.
    pub(crate) fn returns(&mut self, client: usize, at: u64) {
        for will in self.of(client).filter(|will| will.from.is_some()) {
            will.until = None;
            will.from = will.from.map(|from| from.min(at));
        }
    }

    /// Its session goes on, or a new one has begun: what waited is over, or was published.
    pub(crate) fn returned(&mut self, client: usize, except: Option<usize>) {
        for (_, will) in self.0.iter_mut().filter(|&(&number, _)| Some(number) != except) {
            if will.client == client && !will.fired {
                (will.until, will.farewell, will.over) = (None, false, true);
            }
        }
    }

    /// The node starts again: those of clients that were there are due from now on.
    pub(crate) fn restarted(&mut self, at: u64) {
        for will in self.0.values_mut().filter(|will| !will.fired) {
            if will.farewell {
                will.from = Some(at);
            }
            // It may have been written down already when it is due, or not yet.
            if let Some(until) = &mut will.until {
                *until = (*until).max(at + u64::from(will.delay_secs) * 1000);
            }
        }
    }

    /// Nothing that was under way is left: what clients said is on disk.
    pub(crate) fn settled(&mut self) {
        for will in self.0.values_mut() {
            will.farewell = false;
            will.from = will.from.filter(|_| !will.over);
        }
    }

    /// The disk is full: what is due now is published when there is room, or when the node starts again.
    pub(crate) fn excuse(&mut self) {
        for will in self.0.values_mut() {
            will.until = None;
            will.excused |= will.from.is_some() || will.farewell;
        }
    }

    /// A will was published.
    pub(crate) fn fire(&mut self, number: usize, at: u64) -> Result<(), String> {
        let Some(will) = self.0.get_mut(&number) else { return Ok(()) };
        if std::mem::replace(&mut will.fired, true) {
            return Err(format!("will {number} is published a second time"));
        }
        if !will.excused && will.from.is_none_or(|from| at < from) {
            return Err(format!("will {number} is published at {at}: {will:?}"));
        }
        Ok(())
    }

    /// Nothing is left to do at `now`: what was due is published.
    pub(crate) fn check(&self, now: u64) -> Result<(), String> {
        let late = |will: &Will| !will.fired && will.until.is_some_and(|until| until + TICK_MS <= now);
        match self.0.iter().find(|(_, will)| late(will)) {
            Some((number, will)) => Err(format!("will {number} is not published at {now}: {will:?}")),
            None => Ok(()),
        }
    }
}
