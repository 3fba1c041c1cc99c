//! How much time a shard's thread has to spare.

use std::cell::Cell;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// What a thread has worked since it was looked at last.
pub(super) struct Pace {
    looked: Cell<Instant>,
    /// By then, since it began.
    worked: Cell<Duration>,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { looked: Cell::new(Instant::now()), worked: Cell::default() }
    }
}

impl Pace {
    /// Whether this thread worked for more than a quarter of the time since the last look.
    pub(super) fn tick(&self) -> bool {
        let worked = Handle::current().metrics().worker_total_busy_duration(0);
        let passed = self.looked.replace(Instant::now()).elapsed();
        worked.saturating_sub(self.worked.replace(worked)) > passed / 4
    }
}
