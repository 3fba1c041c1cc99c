//! When things are due, more exactly than to the millisecond of tokio's timers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Nanoseconds since a run began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Clock {
        Clock(Instant::now())
    }

    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).expect("no run takes centuries")
    }
}

/// An even pace: the time of each of a row of events is fixed when the row begins, however late it is by then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    first: u64,
    interval: f64,
}

impl Pace {
    /// `rate` events a second; the first after the `part`th of `parts` of an interval, so that several rows interleave.
    pub(super) fn new(start: u64, rate: f64, part: usize, parts: usize) -> Pace {
        let interval = 1e9 / rate;
        Pace { first: start + (interval * part as f64 / parts as f64) as u64, interval }
    }

    /// When the event of this number is due.
    pub(super) fn due(&self, number: u64) -> u64 {
        self.first + (self.interval * number as f64) as u64
    }
}

/// A thread that wakes tasks when they asked for it, to some 50 microseconds.
pub(super) struct Alarms {
    ask: Sender<Asked>,
    clock: Clock,
}

/// When to wake whom.
type Asked = (u64, Arc<Notify>);

impl Alarms {
    /// The thread ends with the last [`Alarm`].
    pub(super) fn start(clock: Clock) -> Alarms {
        let (ask, asked) = channel();
        std::thread::spawn(move || ring(&asked, clock));
        Alarms { ask, clock }
    }

    /// One for one task.
    pub(super) fn alarm(&self) -> Alarm {
        Alarm { ask: self.ask.clone(), clock: self.clock, rung: Arc::default(), asked: 0 }
    }
}

fn ring(asked: &Receiver<Asked>, clock: Clock) {
    // By due time; a count tells those of one time apart.
    let mut waiting: BTreeMap<(u64, u64), Arc<Notify>> = BTreeMap::new();
    let mut count = 0;
    loop {
        let now = clock.now();
        while let Some(first) = waiting.first_entry().filter(|first| first.key().0 <= now) {
            first.remove().notify_one();
        }
        let wait = waiting.first_key_value().map_or(LONG, |((due, _), _)| Duration::from_nanos(due - now));
        match asked.recv_timeout(wait) {
            Ok((due, sleeper)) => {
                count += 1;
                waiting.insert((due, count), sleeper);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Nobody waits.
const LONG: Duration = Duration::from_secs(3600);

/// Wakes a task at a moment.
pub(super) struct Alarm {
    ask: Sender<Asked>,
    clock: Clock,
    rung: Arc<Notify>,
    asked: u64,
}

impl Alarm {
    /// Waits until the clock shows `due`. To be dropped at any time.
    pub(super) async fn at(&mut self, due: u64) {
        while self.clock.now() < due {
            if self.asked != due {
                self.asked = due;
                let _ = self.ask.send((due, Arc::clone(&self.rung)));
            }
            self.rung.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_interleave_and_do_not_drift() {
        let rows: Vec<Pace> = (0..4).map(|part| Pace::new(1_000, 1_000.0, part, 4)).collect();
        assert_eq!(rows.iter().map(|row| row.due(0)).collect::<Vec<_>>(), [1_000, 251_000, 501_000, 751_000]);
        assert_eq!(rows[1].due(1_000_000), 1_000 + 250_000 + 1_000_000_000_000);
        assert_eq!(Pace::new(0, 3.0, 0, 1).due(3), 1_000_000_000);
    }

    #[test]
    fn an_alarm_rings_when_it_is_time_and_not_before() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let clock = Clock::start();
        let alarms = Alarms::start(clock);
        runtime.block_on(async {
            let (mut one, mut other) = (alarms.alarm(), alarms.alarm());
            for due in [0, 1_000_000, 2_000_000] {
                tokio::join!(one.at(due + 500_000), other.at(due));
                assert!(clock.now() >= due + 500_000);
            }
        });
    }
}
