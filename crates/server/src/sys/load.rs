//! Loads: what there is in a minute, averaged over one, five and fifteen of them.

use super::figures::Counted;
use rowcast_core::shard::Counters;
use std::time::Instant;

/// What loads are shown of, and over how many minutes.
pub(super) const MEASURES: [(&str, Counted); 9] = [
    ("connections", |counters| counters.connected),
    ("messages/received", |counters| counters.packets_in),
    ("messages/sent", |counters| counters.packets_out),
    ("bytes/received", |counters| counters.bytes_in),
    ("bytes/sent", |counters| counters.bytes_out),
    ("publish/received", |counters| counters.publishes_in),
    ("publish/sent", |counters| counters.publishes_out),
    ("publish/dropped", |counters| counters.dropped),
    ("publish/rejected", |counters| counters.rejected),
];
pub(super) const MINUTES: [u32; 3] = [1, 5, 15];

/// Moving averages that forget exponentially, like the load average of a Unix system.
pub(super) struct Loads {
    at: Instant,
    before: Counters,
    averages: [[f64; MINUTES.len()]; MEASURES.len()],
}

impl Loads {
    /// Nothing has happened yet.
    pub(super) fn new(at: Instant) -> Loads {
        Loads { at, before: Counters::default(), averages: Default::default() }
    }

    /// Takes what was counted up to `now` in.
    pub(super) fn take(&mut self, counters: &Counters, now: Instant) {
        let minutes = now.saturating_duration_since(self.at).as_secs_f64() / 60.0;
        if minutes <= 0.0 {
            return;
        }
        for ((_, counted), averages) in MEASURES.iter().zip(&mut self.averages) {
            let rate = counted(counters).saturating_sub(counted(&self.before)) as f64 / minutes;
            for (average, span) in averages.iter_mut().zip(MINUTES) {
                let kept = (-minutes / f64::from(span)).exp();
                *average = rate + kept * (*average - rate);
            }
        }
        (self.at, self.before) = (now, *counters);
    }

    /// Of a measure over a span of [`MINUTES`], by their places.
    pub(super) fn average(&self, measure: usize, span: usize) -> f64 {
        self.averages[measure][span]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_steady_rate_is_approached_the_faster_the_shorter_the_span() {
        let start = Instant::now();
        let mut loads = Loads::new(start);
        for step in 1..=30 {
            let counters = Counters { publishes_in: step * 100, ..Counters::default() };
            loads.take(&counters, start + Duration::from_secs(step * 10));
        }
        // 600 a minute, for five minutes.
        let found: Vec<f64> = (0..3).map(|span| loads.average(5, span)).collect();
        for (found, span) in found.iter().zip([1.0, 5.0, 15.0]) {
            let expected = 600.0 * (1.0 - f64::exp(-5.0 / span));
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        }
        assert!(loads.average(6, 0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_sample_at_the_same_instant_changes_nothing() {
        let start = Instant::now();
        let mut loads = Loads::new(start);
        loads.take(&Counters { publishes_in: 100, ..Counters::default() }, start);
        assert!(loads.average(5, 0).abs() < f64::EPSILON);
        loads.take(&Counters { publishes_in: 100, ..Counters::default() }, start + Duration::from_mins(1));
        assert!((loads.average(5, 0) - 100.0 * (1.0 - f64::exp(-1.0))).abs() < 1e-6);
    }
}
