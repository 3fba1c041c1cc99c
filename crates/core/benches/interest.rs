//! What finding out who wants a topic costs. `cargo bench -p rowcast-core --bench interest`

#![expect(clippy::disallowed_methods, reason = "a benchmark has no other clock")]

#[path = "fixture/filters.rs"]
mod filters;

use std::hint::black_box;
use std::time::Instant;

fn main() {
    for count in [100, 10_000, 100_000] {
        let mut interest = filters::interest(count);
        let known: Vec<String> = (0..100).map(filters::topic).collect();
        measure(&format!("a known topic among {count} filters"), 100, || {
            known.iter().map(|topic| interest.matches(black_box(topic)).len()).sum()
        });
        let mut next = 1_000;
        measure(&format!("a new topic among {count} filters"), 100, || {
            next += 100;
            let new: Vec<String> = (next..next + 100).map(filters::topic).collect();
            new.iter().map(|topic| interest.matches(black_box(topic)).len()).sum()
        });
    }
}

/// The fastest of several rounds of `once`, which does its work `times` times: the others were disturbed.
fn measure(what: &str, times: u32, mut once: impl FnMut() -> usize) {
    let mut round = || {
        let start = Instant::now();
        black_box((0..ROUNDS).map(|_| once()).sum::<usize>());
        start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS * times)
    };
    let fastest = (0..7).map(|_| round()).fold(f64::INFINITY, f64::min);
    println!("{fastest:8.1} ns  {what}");
}

const ROUNDS: u32 = 500;
