//! Whole nodes without a socket: shards, the real store over a disk in memory that fails, clients of all versions, virtual
//! time; everything from one seed, on one thread.
//!
//! ```text
//! cargo test -p rowcast-store --test simulate            # the seeds that CI runs
//! ./test simulate 10m                                    # new seeds, for as long
//! ROWCAST_SEEDS=1000..2000 cargo test ...                # those; one that fails runs the same way again
//! ROWCAST_TRACE=1 ROWCAST_SEEDS=1234..1235 cargo test ... -- --nocapture
//! ```
//!
//! A seed that fails is told with its step and what went wrong, and is tried with fewer steps and clients: the smallest
//! run that still fails is told as well. What a run is about depends on its seed: one that ends in 7 is about clients
//! that share subscriptions, one that ends in 5 about what clients may read, which changes.

mod book;
mod bounds;
mod client;
mod group;
mod kept;
#[path = "../../../core/tests/shard/node.rs"]
#[expect(dead_code, reason = "packet scripts use more of it")]
mod node;
mod random;
mod run;
#[path = "../../../core/tests/shard/text.rs"]
#[expect(dead_code, reason = "packet scripts read packets as well")]
mod text;
mod will;

use run::{Mistake, Run, Size};
use std::io::{IsTerminal, Write};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

type Node = node::Node<kept::Kept>;

/// Seeds of a usual run, ...
const SEEDS: u64 = 150;
/// ... up to where there are more of those about groups and rights, ...
const FOCUSED_SEEDS: u64 = 300;
/// ... and those that once failed, with what they found. Where a run is made in another way, so is theirs.
const FOUND: [(u64, &str); 53] = [
    (5_327, "a message came back from a member of a group without room that had QoS 0, and went to nobody"),
    (
        6_895,
        "a subscription that was not stored entered its group when roles changed, and was given a message for ever",
    ),
    (9_200_210, "a clean start without room on the disk took a session that was there out of their count"),
    (9_202_128, "a node that ended while it cleared a session away kept its subscriptions and their group"),
    (9_205_792, "the same, and its handshakes"),
    (9_223_429, "a session was stored whose client had been refused"),
    (9_266_399, "an identifier that was left out came round to a client that held another message under it"),
    (9_275_208, "an event overtook a state of its topic that waited for room"),
    (9_278_054, "an event that waited overtook the state of its topic that a cut log no longer held"),
    (9_286_950, "rows of a session stayed that there had been no room to take away"),
    (9_300_883, "a power cut took a message of QoS 2 from a table that does not wait for the disk"),
    (9_307_075, "the same, late in a run"),
    (9_307_429, "a change came twice after a crash"),
    (9_428_253, "a session more than may be was let in while another was about to take the place of an expired one"),
    (9_443_450, "an event that waited went out with the lower QoS of a new subscription, behind a newer one"),
    (9_447_928, "a replay was over though it could not be written down that its subscription was gone"),
    (20_040_267, "what stood for lost changes was not shown to who asked for the past"),
    (20_055_874, "what was given up of a subscription was not shown to the one in its place"),
    (20_099_888, "what came behind all that was in doubt overtook what stood for lost changes"),
    (30_029_001, "a will waited on when a clean start came behind a connection that was to go on with the session"),
    (30_041_434, "a power cut took what a member of a group had given back when its session ended"),
    (30_043_381, "a group forgot over a restart that a message has QoS 2, and gave it to another member as well"),
    (30_043_413, "the same, once a member with QoS 1 had had no room for it"),
    (30_093_617, "a new session was given with QoS 2 what an earlier one of its client had, whose time had run out"),
    (30_110_837, "the same, where the session ended before the group was written down"),
    (30_134_893, "what a replay still owed was lost when its filter was subscribed to again without the past"),
    (40_023_677, "a power cut forgot that a session had a message of a group, as there had been no room for its claim"),
    (30_138_547, "the same, where it had lost its place to a full disk and acknowledged it over its next connection"),
    (60_029_757, "a group forgot over a second restart what it had found to be handed out after the first"),
    (72_004_581, "a will that had waited took the place of the next one of its client on a full disk"),
    (740_012_657, "the simulator itself: what a group gave with QoS 0 to who had just left was to be had"),
    (740_027_489, "the same: a state with QoS 0, shown for lost changes, was not to be behind an event"),
    (
        800_034_586,
        "a state that changed was lost: its QoS 2 delivery was given up before what was to be shown instead was stored",
    ),
    (900_048_276, "one's own state from before No Local was replaced was in neither what was asked for nor the log"),
    (910_022_813, "an event overtook a state that its client had published over the connection before"),
    (920_029_689, "the same, with more going on"),
    (930_005_332, "a handshake stayed of a session that ended before it found the delivery again"),
    (930_070_597, "a session whose time had run out was stored again behind the refusal of its client"),
    (940_014_309, "a state with QoS 1 overtook one of its topic with QoS 0 that waited for room"),
    (940_282_484, "the simulator itself: an answer that does not say to what, and had expired, was to come again"),
    (940_313_154, "one's own state from before No Local was replaced came before what it had replaced"),
    (940_317_573, "what a conflating client that had come back lost to a cut log was not shown to it"),
    (950_001_243, "a message of QoS 2 that expired while its node was away was never ended"),
    (970_018_789, "the simulator itself: a replay's delivery came again when its subscription was gone"),
    (970_026_312, "the simulator itself: a power cut took one of two copies, and its identifier was given to another"),
    (980_059_217, "the simulator itself: what a session had acknowledged that ended went back to its group"),
    (996_032_466, "the simulator itself: a power cut took a state that had been shown, and the one before it came"),
    (996_038_664, "a new subscription was not shown what changed between the end of a cut log and itself"),
    (1_012_061_849, "the simulator itself: a session ended whose client had not seen that it was disconnected"),
    (1_022_020_397, "what a group that was over had handed out was taken for what another of its name had"),
    (1_047_017_282, "a will that a full disk kept from waiting outlasted its session"),
    (1_047_040_873, "the simulator itself: a client heard late of what its session had, which had ended by then"),
    (1_795_896_056_308, "the simulator itself: a change that a power cut took was held to be the last of its record"),
];

#[test]
fn whatever_happens_clients_get_what_they_must() {
    let variable = |name| std::env::var(name).ok();
    let size = match variable("ROWCAST_SIZE") {
        Some(size) => parse_size(&size).expect("ROWCAST_SIZE=steps,clients"),
        None => Size::USUAL,
    };
    let failed = match (variable("ROWCAST_SEEDS"), variable("ROWCAST_FOR")) {
        (Some(range), _) => try_seeds(parse_seeds(&range).expect("ROWCAST_SEEDS=from..to"), size, None),
        (None, Some(time)) => {
            let time = parse_time(&time).expect("ROWCAST_FOR=30s, 10m or 2h");
            let first = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() * 1_000;
            try_seeds(first..u64::MAX, size, Some(time))
        }
        (None, None) => {
            let focused = (SEEDS..FOCUSED_SEEDS).filter(|seed| run::FOCUSED_DIGITS.contains(&(seed % 10)));
            try_seeds((0..SEEDS).chain(focused).chain(FOUND.map(|(seed, _)| seed)), size, None)
        }
    };
    assert!(failed == 0, "{failed} seeds failed");
}

/// Runs seeds, for some time at most. Returns how many fail.
fn try_seeds(seeds: impl Iterator<Item = u64>, size: Size, time: Option<Duration>) -> usize {
    let began = Instant::now();
    let (mut tried, mut failed) = (0, 0);
    for seed in seeds {
        if time.is_some_and(|time| began.elapsed() >= time) {
            break;
        }
        if let Err((step, mistake)) = run(seed, size) {
            println!("ROWCAST_SEEDS={seed}..{}, step {step}: {mistake}", seed + 1);
            if !traces()
                && let Some(small) = shrink(seed, size)
            {
                println!("    also with ROWCAST_SIZE={},{}", small.steps, small.clients);
            }
            failed += 1;
        }
        tried += 1;
        if time.is_some() && std::io::stderr().is_terminal() {
            let progress = format!("\r{tried} seeds in {} s, {failed} failed ", began.elapsed().as_secs());
            let _ = std::io::stderr().write_all(progress.as_bytes()); // Not what the test says, which may be captured.
        }
    }
    if let Some(time) = time {
        println!("{tried} seeds in {} s, {failed} failed", time.as_secs());
    }
    failed
}

/// The smallest of some smaller runs of a seed that fails as well.
fn shrink(seed: u64, size: Size) -> Option<Size> {
    let clients = (2..=size.clients).map(|clients| Size { clients, ..size });
    let sizes = clients.flat_map(|size| (1..8).map(move |eighths| Size { steps: size.steps * eighths / 8, ..size }));
    sizes.filter(|small| small.steps > 0).find(|&small| run(seed, small).is_err())
}

fn run(seed: u64, size: Size) -> Result<(), Mistake> {
    let run = catch_unwind(AssertUnwindSafe(|| Run::new(seed, size).run()));
    run.unwrap_or_else(|_| Err((0, "panicked".to_owned())))
}

fn parse_seeds(range: &str) -> Option<Range<u64>> {
    let (from, to) = range.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}

fn parse_size(size: &str) -> Option<Size> {
    let (steps, clients) = size.split_once(',')?;
    Some(Size { steps: steps.parse().ok()?, clients: clients.parse().ok()? })
}

fn parse_time(time: &str) -> Option<Duration> {
    let (number, unit) = time.split_at_checked(time.len().checked_sub(1)?)?;
    let secs = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    Some(Duration::from_secs(number.parse::<u64>().ok()? * secs))
}

/// Whether every packet is shown.
fn traces() -> bool {
    static TRACES: LazyLock<bool> = LazyLock::new(|| std::env::var_os("ROWCAST_TRACE").is_some());
    *TRACES
}
