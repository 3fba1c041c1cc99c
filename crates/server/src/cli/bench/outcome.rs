//! What came of a run, as figures with names, so that runs can be compared whatever they were about.

use super::run::Measured;
use super::tracker::Faults;
use hdrhistogram::Histogram;

#[derive(Clone, Default, Debug)]
pub(super) struct Outcome {
    pub(super) figures: Vec<Figure>,
    pub(super) faults: Faults,
    /// Messages that arrived and were looked at.
    pub(super) checked: u64,
    /// The first few.
    pub(super) errors: Vec<String>,
    pub(super) interrupted: bool,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Figure {
    /// For programs: `delivered_per_second`.
    pub(super) key: String,
    /// For people.
    pub(super) title: String,
    pub(super) unit: Unit,
    pub(super) value: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    Number,
    Bytes,
    Microseconds,
}

impl Outcome {
    pub(super) fn new(faults: Faults, checked: u64) -> Outcome {
        Outcome { faults, checked, ..Outcome::default() }
    }

    pub(super) fn is_well(&self) -> bool {
        !self.faults.any()
    }

    pub(super) fn figure(&mut self, key: String, title: String, unit: Unit, value: f64) {
        // A rate of no time at all, after Ctrl-C.
        if value.is_finite() {
            self.figures.push(Figure { key, title, unit, value });
        }
    }

    /// How many per second, and per CPU second of the broker.
    pub(super) fn rate(&mut self, what: &str, count: u64, measured: Measured) {
        let per = |seconds: f64| count as f64 / seconds;
        self.figure(format!("{what}_per_second"), format!("{what}/s"), Unit::Number, per(measured.seconds));
        if let Some(cpu) = measured.cpu {
            self.figure(format!("{what}_per_cpu_second"), format!("{what}/CPU s"), Unit::Number, per(cpu));
        }
    }

    /// The percentiles of times in nanoseconds.
    pub(super) fn latency(&mut self, what: &str, times: &Histogram<u64>) {
        if times.is_empty() {
            return;
        }
        for (key, title, share) in [
            ("p50", "p50", 0.5),
            ("p90", "p90", 0.9),
            ("p99", "p99", 0.99),
            ("p999", "p99.9", 0.999),
            ("max", "max", 1.0),
        ] {
            let value = times.value_at_quantile(share) as f64 / 1e3;
            self.figure(format!("{what}_{key}_us"), format!("{what} {title}"), Unit::Microseconds, value);
        }
    }
}

/// The figures of several rounds with one broker, in one.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    pub(super) figure: Figure,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Summary {
    /// The median of each figure, and how far the rounds are apart.
    pub(super) fn of(rounds: &[Outcome]) -> Vec<Summary> {
        let Some(first) = rounds.first() else { return Vec::new() };
        let summary = |figure: &Figure| {
            let same = |round: &Outcome| round.figures.iter().find(|other| other.key == figure.key).map(|f| f.value);
            let mut values: Vec<f64> = rounds.iter().filter_map(same).collect();
            values.sort_unstable_by(f64::total_cmp);
            let figure = Figure { value: median(&values), ..figure.clone() };
            Summary { figure, least: values[0], most: values[values.len() - 1] }
        };
        first.figures.iter().map(summary).collect()
    }

    /// How far the rounds are from the median at most, in per cent.
    pub(super) fn spread_percent(&self) -> f64 {
        let middle = self.figure.value;
        let far = (self.most - middle).max(middle - self.least);
        if middle > 0.0 { far / middle * 100.0 } else { 0.0 }
    }
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// Three digits and a letter: 972k, 1.79M.
pub(super) fn short(value: f64) -> String {
    let (value, letter) = match value.abs() {
        999_500.0.. => (value / 1e6, "M"),
        9_999.5.. => (value / 1e3, "k"),
        _ => return format!("{value:.0}"),
    };
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$}{letter}")
}

impl Unit {
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Unit::Number => short(value),
            Unit::Bytes => format!("{} B", short(value)),
            Unit::Microseconds if value >= 999_500.0 => format!("{:.2} s", value / 1e6),
            Unit::Microseconds if value >= 999.5 => format!("{:.2} ms", value / 1e3),
            Unit::Microseconds => format!("{value:.0} µs"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, expected) in [
            (0.0, "0"),
            (9_999.0, "9999"),
            (10_000.0, "10.0k"),
            (99_960.0, "100k"),
            (972_345.0, "972k"),
            (999_600.0, "1.00M"),
            (1_794_000.0, "1.79M"),
            (12_340_000.0, "12.3M"),
        ] {
            assert_eq!(short(value), expected);
        }
        assert_eq!(Unit::Microseconds.show(812.4), "812 µs");
        assert_eq!(Unit::Microseconds.show(1_234.0), "1.23 ms");
        assert_eq!(Unit::Microseconds.show(2_500_000.0), "2.50 s");
        assert_eq!(Unit::Bytes.show(2_058.0), "2058 B");
    }

    #[test]
    fn rounds_become_a_median_and_a_spread() {
        check(&[100.0], 100.0, 0.0);
        check(&[130.0, 90.0, 100.0], 100.0, 30.0);
        check(&[100.0, 300.0], 200.0, 50.0);
        check(&[0.0, 0.0], 0.0, 0.0);
        assert!(Summary::of(&[]).is_empty());
    }

    #[track_caller]
    fn check(values: &[f64], median: f64, spread: f64) {
        let round = |value: &f64| {
            let mut outcome = Outcome::default();
            outcome.rate("delivered", *value as u64, Measured { seconds: 1.0, cpu: None });
            outcome
        };
        let summaries = Summary::of(&values.iter().map(round).collect::<Vec<_>>());
        assert_eq!(summaries.len(), 1);
        assert_eq!((summaries[0].figure.value, summaries[0].spread_percent()), (median, spread));
    }

    #[test]
    fn a_rate_of_no_time_is_no_figure() {
        let mut outcome = Outcome::default();
        outcome.rate("delivered", 0, Measured { seconds: 0.0, cpu: Some(0.0) });
        outcome.latency("latency", &Histogram::new(3).expect("three digits"));
        assert_eq!(outcome.figures, []);
    }
}
