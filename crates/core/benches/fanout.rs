//! What a message costs from the publisher's socket to those of its subscribers, in one shard, without the sockets.
//! `cargo bench -p rowcast-core --bench fanout`

#![expect(clippy::disallowed_methods, reason = "a benchmark has no other clock")]

#[path = "fixture/crowd.rs"]
mod crowd;

use rowcast_codec::QoS;
use std::hint::black_box;
use std::time::Instant;

fn main() {
    for (who, words) in [(crowd::Who::SuperUsers, "super users"), (crowd::Who::OfARole, "clients with a role")] {
        for subscribers in [1, 10, 100, 1_000] {
            let mut crowd = crowd::Crowd::new(subscribers, who, QoS::AtMostOnce);
            let times = 100_000 / subscribers;
            let mut round = || {
                let start = Instant::now();
                black_box((0..times).map(|_| crowd.publish()).sum::<usize>());
                start.elapsed().as_secs_f64() * 1e9 / f64::from(times)
            };
            let fastest = (0..7).map(|_| round()).fold(f64::INFINITY, f64::min);
            println!(
                "{fastest:9.1} ns  a message to {subscribers} {words}, {:6.1} ns each",
                fastest / f64::from(subscribers)
            );
        }
    }
}
