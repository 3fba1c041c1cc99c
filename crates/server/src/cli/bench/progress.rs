//! What a terminal shows while a load runs. Nothing where there is no terminal.

use super::outcome::short;
use super::tracker::Faults;
use indicatif::{ProgressBar, ProgressStyle};
use std::cell::Cell;
use std::time::Instant;

pub(super) struct Progress {
    bar: ProgressBar,
    last: Cell<Option<(Instant, u64)>>,
    rate: Cell<f64>,
}

impl Progress {
    /// A line on standard error that begins with `what`.
    pub(super) fn new(what: String) -> Progress {
        let style = ProgressStyle::with_template("{prefix} {bar:24.green} {msg}").expect("the template is right");
        let bar = ProgressBar::new(PARTS).with_style(style.progress_chars("━━─")).with_prefix(what);
        Progress { bar, last: Cell::default(), rate: Cell::default() }
    }

    /// How much of it is over, how much was done so far, and what went wrong.
    pub(super) fn show(&self, share: f64, count: u64, faults: Faults) {
        let now = Instant::now();
        match self.last.get() {
            Some((then, before)) if now.duration_since(then).as_secs_f64() >= 0.5 => {
                self.rate.set(count.saturating_sub(before) as f64 / now.duration_since(then).as_secs_f64());
                self.last.set(Some((now, count)));
            }
            Some(_) => {}
            None => self.last.set(Some((now, count))),
        }
        self.bar.set_position((share.clamp(0.0, 1.0) * PARTS as f64) as u64);
        let wrong = if faults.any() { ", something is wrong" } else { "" };
        self.bar.set_message(format!("{}/s{wrong}", short(self.rate.get())));
    }

    /// What happens that has no measure.
    pub(super) fn say(&self, what: &'static str) {
        self.bar.set_message(what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The length of the bar, whatever it measures.
const PARTS: u64 = 1000;
