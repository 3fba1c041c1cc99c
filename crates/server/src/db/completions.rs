//! Who waits for which outcome.

use rowcast_core::{Completion, Outcome, Token};
use slab::Slab;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Callers outside the shards that wait for the writer: requests, the start of the program, hooks. The writer's sink
/// hands it what was committed; it wakes whoever asked. Cheap to clone, and holds nothing else of the database.
///
/// A lock, since callers live on every thread; it is held for one step in a slab and never while waiting. Bounded by
/// the writer's queue: what does not fit there leaves here at once.
#[derive(Clone, Default)]
pub struct Completions {
    waiting: Arc<Mutex<Slab<oneshot::Sender<Outcome>>>>,
}

impl Completions {
    /// A token for a proposal, and where its outcome will arrive.
    pub(super) fn expect(&self) -> (Token, oneshot::Receiver<Outcome>) {
        let (sender, receiver) = oneshot::channel();
        let place = self.lock().insert(sender);
        (Token(place as u64), receiver)
    }

    /// Takes a token back that was never proposed.
    pub(super) fn forget(&self, token: Token) {
        drop(self.take(token));
    }

    /// Tells each caller what became of its proposal. Who has stopped waiting is not missed.
    pub fn complete(&self, completions: impl IntoIterator<Item = Completion>) {
        for Completion { token, outcome } in completions {
            if let Some(sender) = self.take(token) {
                let _ = sender.send(outcome);
            }
        }
    }

    fn take(&self, token: Token) -> Option<oneshot::Sender<Outcome>> {
        let sender = self.lock().try_remove(token.0 as usize);
        debug_assert!(sender.is_some(), "a token completes once: {token:?}");
        sender
    }

    /// The slab is whole after every statement, so a panic elsewhere spoils nothing.
    fn lock(&self) -> MutexGuard<'_, Slab<oneshot::Sender<Outcome>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_reaches_whoever_asked() {
        let completions = Completions::default();
        let (first, mut first_outcome) = completions.expect();
        let (gone, _) = completions.expect();
        let (last, mut last_outcome) = completions.expect();
        completions.complete([
            Completion { token: last, outcome: Outcome::Full },
            Completion { token: gone, outcome: Outcome::Full },
            Completion { token: first, outcome: Outcome::Absent },
        ]);
        assert_eq!(first_outcome.try_recv(), Ok(Outcome::Absent));
        assert_eq!(last_outcome.try_recv(), Ok(Outcome::Full));
        assert!(completions.lock().is_empty());
    }
}
