//! The past that a client asked for (`rowcast-since`, `rowcast-last`): it comes in order, each change once, and all of
//! it before what is newer.

use super::subscribing::{Filter, Held};
use std::collections::BTreeSet;

/// The replays of a session.
#[derive(Default)]
pub(super) struct Replays(Vec<Replaying>);

struct Replaying {
    held: Held,
    /// What its deliveries may name: subscriptions that take the place of its own go on with it.
    identifiers: Vec<u32>,
    /// It holds what came after the first, up to the second; `None`: what it is, or whether it goes on, is not known.
    range: Option<(u64, u64)>,
    /// The last change that came by it.
    last: u64,
    /// Messages that it must bring.
    expected: BTreeSet<usize>,
    /// Some of it is gone from the log.
    is_cut: bool,
}

/// How a message comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    Live,
    /// By a replay, or perhaps by one: it may have come before, and be older than what came.
    Replay,
}

impl Replays {
    /// It is asked for. One of the same filter may go on, or not.
    pub(super) fn begin(&mut self, held: Held) {
        self.doubt(held.filter);
        let (identifiers, expected) = (Vec::new(), BTreeSet::new());
        self.0.push(Replaying { held, identifiers, range: None, last: 0, expected, is_cut: false });
    }

    /// Subscriptions of a filter have this identifier from now on.
    pub(super) fn rename(&mut self, filter: Filter, identifier: u32) {
        for replay in self.0.iter_mut().filter(|replay| replay.held.filter == filter) {
            replay.identifiers.push(identifier);
        }
    }

    /// It is granted, and must bring these.
    pub(super) fn granted(&mut self, filter: Filter, range: (u64, u64), expected: BTreeSet<usize>) {
        if let Some(replay) = self.0.iter_mut().rfind(|replay| replay.held.filter == filter) {
            replay.range = Some(range);
            if !replay.is_cut {
                replay.expected = expected;
            }
        }
    }

    /// The one that was asked for last is not granted.
    pub(super) fn refused(&mut self, filter: Filter) {
        if let Some(at) = self.0.iter().rposition(|replay| replay.held.filter == filter) {
            self.0.remove(at);
        }
    }

    /// What was asked for a filter is asked anew, or taken back.
    pub(super) fn doubt(&mut self, filter: Filter) {
        for replay in self.0.iter_mut().filter(|replay| replay.held.filter == filter) {
            replay.range = None;
            replay.expected.clear();
        }
    }

    /// Some of what there was to be replayed is gone.
    pub(super) fn cut(&mut self) {
        for replay in &mut self.0 {
            replay.is_cut = true;
            replay.expected.clear();
        }
    }

    /// These messages are gone from the log.
    pub(super) fn lose(&mut self, lost: &BTreeSet<usize>) {
        for replay in &mut self.0 {
            replay.expected.retain(|number| !lost.contains(number));
        }
    }

    /// A message came, `again` or for the first time, for the subscriptions with these identifiers; it stands in the log
    /// at `sequence`.
    pub(super) fn on_delivery(
        &mut self,
        (number, topic): (usize, &str),
        sequence: Option<u64>,
        identifiers: &[u32],
        again: bool,
    ) -> Result<Way, String> {
        for replay in &mut self.0 {
            replay.expected.remove(&number);
        }
        let Some(sequence) = sequence else { return Ok(Way::Live) };
        let is_by = |replay: &Replaying| {
            replay.held.selects(topic) && replay.identifiers.iter().any(|known| identifiers.contains(known))
        };
        // What comes again when its subscription is gone does not name it any more.
        let may_be_by = |replay: &Replaying| is_by(replay) || again && replay.held.selects(topic);
        let is_doubtful = |replay: &Replaying| replay.range.is_none() && may_be_by(replay);
        if self.0.iter().any(is_doubtful) {
            return Ok(Way::Replay);
        }
        let mut holding: Vec<&mut Replaying> =
            self.0.iter_mut().filter(|replay| is_by(replay) && replay.holds(sequence)).collect();
        // Where an identifier is of several filters, it may be another of them that brings this on the way there.
        if let ([replay], false) = (&mut holding[..], again)
            && !replay.held.is_one_of_several()
        {
            if sequence <= replay.last {
                return Ok(Way::Live);
            }
            replay.last = sequence;
        }
        if !holding.is_empty() {
            return Ok(Way::Replay);
        }
        if again {
            return Ok(Way::Live);
        }
        // What is newer than all of the past comes when that is over.
        let is_over = |replay: &&Replaying| replay.range.is_some_and(|(_, until)| until < sequence);
        if let Some(replay) = self.0.iter().filter(is_over).find(|replay| !replay.expected.is_empty()) {
            return Err(format!("{number} came before {:?} of {}", replay.expected, replay.held.filter));
        }
        self.0.retain(|replay| !is_over(&replay));
        Ok(Way::Live)
    }

    /// Everything has settled: all of the past has come.
    pub(super) fn check_complete(&self) -> Result<(), String> {
        match self.0.iter().find(|replay| !replay.expected.is_empty()) {
            Some(replay) => Err(format!("{:?} of {} never came", replay.expected, replay.held.filter)),
            None => Ok(()),
        }
    }
}

impl Replaying {
    fn holds(&self, sequence: u64) -> bool {
        self.range.is_some_and(|(after, until)| after < sequence && sequence <= until)
    }
}
