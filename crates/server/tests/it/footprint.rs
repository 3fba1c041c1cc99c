//! What it costs to have the program run. Of use on the release binary only, where `./test` runs it.

use crate::server::Application;
use std::time::Instant;

/// The bounds hold on a quiet machine; this is how much slower a busy one may be.
const BUSY: u128 = 5;

#[test]
#[ignore = "measures the release binary: `./test` runs it"]
fn it_starts_in_a_tenth_of_a_second_and_idles_in_20_mib() {
    let application = Application::new("");
    application.copy_example();
    application.start().terminate();
    let mut times = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        let server = application.start();
        times.push(start.elapsed().as_millis());
        server.connect("").ping();
        let memory = server.memory();
        assert!(memory < 20 * 1024 * 1024, "{} KiB", memory / 1024);
        println!("listening after {} ms, {} KiB resident", times[times.len() - 1], memory / 1024);
        server.terminate();
    }
    times.sort_unstable();
    assert!(times[2] < 100 * BUSY, "{times:?} ms");
}
