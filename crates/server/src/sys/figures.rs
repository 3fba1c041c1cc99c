//! Every figure there is below `$SYS/broker`: its topic, and where it comes from. What they mean is in `docs/sys.md`.

use super::load::{self, Loads};
use rowcast_core::Sequence;
use rowcast_core::shard::{Counters, Gauges};
use rowcast_core::sys::{ROOT, Value};
use rowcast_store::Stats;
use std::time::Duration;

/// What figures are made from.
pub(super) struct Seen<'s> {
    pub(super) counters: Counters,
    pub(super) gauges: Gauges,
    pub(super) uptime: Duration,
    pub(super) connected: u64,
    pub(super) connected_max: u64,
    pub(super) refused: u64,
    /// `None`: not counted yet.
    pub(super) records: Option<u64>,
    pub(super) log: Stats,
    pub(super) oldest: Sequence,
    pub(super) resident_bytes: Option<u64>,
    pub(super) loads: &'s Loads,
}

pub(super) type Counted = fn(&Counters) -> u64;

/// The topics of those that can change.
pub(super) fn topics() -> Vec<String> {
    let loads = load::MEASURES.iter().flat_map(|(name, _)| load::MINUTES.map(|minutes| load_topic(name, minutes)));
    FIGURES.iter().map(|(topic, _)| full(topic)).chain(loads).collect()
}

fn full(topic: &str) -> String {
    format!("{ROOT}/broker/{topic}")
}

fn load_topic(name: &str, minutes: u32) -> String {
    full(&format!("load/{name}/{minutes}min"))
}

/// All of them, as they are now.
pub(super) fn values(seen: &Seen<'_>) -> Vec<Value> {
    let value = |topic: String, payload: String| Value { topic, payload };
    let mut values = vec![value(full("version"), concat!("rowcast ", env!("CARGO_PKG_VERSION")).to_owned())];
    for (topic, of) in FIGURES {
        values.extend(of(seen).map(|number| value(full(topic), number.to_string())));
    }
    for (measure, (name, _)) in load::MEASURES.iter().enumerate() {
        for (span, minutes) in load::MINUTES.iter().enumerate() {
            let average = seen.loads.average(measure, span);
            values.push(value(load_topic(name, *minutes), format!("{average:.2}")));
        }
    }
    values
}

impl Seen<'_> {
    fn away(&self) -> u64 {
        self.gauges.sessions.saturating_sub(self.gauges.lasting)
    }

    fn entries(&self) -> u64 {
        self.log.committed.0.saturating_sub(self.oldest.0)
    }
}

/// By topic below `$SYS/broker/`; `None`: it is not known, and so not there.
type Figure = (&'static str, fn(&Seen<'_>) -> Option<u64>);

const FIGURES: &[Figure] = &[
    ("uptime", |seen| Some(seen.uptime.as_secs())),
    ("clients/connected", |seen| Some(seen.connected)),
    ("clients/disconnected", |seen| Some(seen.away())),
    ("clients/total", |seen| Some(seen.connected + seen.away())),
    ("clients/maximum", |seen| Some(seen.connected_max)),
    ("clients/expired", |seen| Some(seen.counters.expired)),
    ("connections/refused", |seen| Some(seen.refused)),
    ("messages/received", |seen| Some(seen.counters.packets_in)),
    ("messages/sent", |seen| Some(seen.counters.packets_out)),
    ("messages/stored", |seen| Some(seen.entries())),
    ("store/messages/count", |seen| Some(seen.entries())),
    ("store/messages/bytes", |seen| Some(seen.log.log_bytes)),
    ("publish/messages/received", |seen| Some(seen.counters.publishes_in)),
    ("publish/messages/sent", |seen| Some(seen.counters.publishes_out)),
    ("publish/messages/dropped", |seen| Some(seen.counters.dropped)),
    ("publish/messages/conflated", |seen| Some(seen.counters.conflated)),
    ("publish/messages/rejected", |seen| Some(seen.counters.rejected)),
    ("publish/messages/lost", |seen| Some(seen.counters.lost)),
    ("publish/bytes/received", |seen| Some(seen.counters.payload_bytes_in)),
    ("publish/bytes/sent", |seen| Some(seen.counters.payload_bytes_out)),
    ("bytes/received", |seen| Some(seen.counters.bytes_in)),
    ("bytes/sent", |seen| Some(seen.counters.bytes_out)),
    ("subscriptions/count", |seen| Some(seen.gauges.subscriptions + seen.gauges.shared_subscriptions)),
    ("shared_subscriptions/count", |seen| Some(seen.gauges.shared_subscriptions)),
    ("retained messages/count", |seen| seen.records),
    ("log/oldest", |seen| Some(seen.oldest.0)),
    ("log/committed", |seen| Some(seen.log.committed.0)),
    ("log/synced", |seen| Some(seen.log.synced.0)),
    ("log/applied", |seen| Some(seen.log.persisted.0)),
    ("log/bytes", |seen| Some(seen.log.log_bytes)),
    ("log/segments", |seen| Some(seen.log.segments as u64)),
    ("memory/resident", |seen| seen.resident_bytes),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::time::Instant;

    #[test]
    fn the_documentation_names_every_figure_and_no_other() {
        let log = Stats {
            log_bytes: 0,
            segments: 1,
            tail_bytes: 0,
            committed: Sequence(9),
            synced: Sequence(9),
            persisted: Sequence(7),
        };
        let seen = Seen {
            counters: Counters::default(),
            gauges: Gauges { sessions: 3, lasting: 1, ..Gauges::default() },
            uptime: Duration::from_millis(2900),
            connected: 4,
            connected_max: 5,
            refused: 0,
            records: Some(6),
            log,
            oldest: Sequence(2),
            resident_bytes: Some(1),
            loads: &Loads::new(Instant::now()),
        };
        let values = values(&seen);
        let topics: BTreeSet<&str> =
            values.iter().filter_map(|value| value.topic.strip_prefix("$SYS/broker/")).collect();
        assert_eq!(topics.len(), values.len(), "each once");
        let change = super::topics();
        assert!(change.iter().all(|topic| values.iter().any(|value| value.topic == *topic)));
        assert_eq!(change.len() + 1, values.len());
        let page = include_str!("../../../../docs/sys.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(topic, _)| topic);
        let windows = |topic: &str| load::MINUTES.map(|minutes| topic.replace("N", &minutes.to_string()));
        let documented: BTreeSet<String> = rows
            .flat_map(|topic| if topic.starts_with("load/") { windows(topic).to_vec() } else { vec![topic.to_owned()] })
            .collect();
        assert_eq!(documented.iter().map(String::as_str).collect::<BTreeSet<_>>(), topics);
        let value = |topic: &str| {
            let found = values.iter().find(|value| value.topic.ends_with(topic)).expect("a figure");
            found.payload.clone()
        };
        assert_eq!(value("broker/uptime"), "2");
        assert_eq!((value("clients/disconnected"), value("clients/total")), ("2".to_owned(), "6".to_owned()));
        assert_eq!(value("store/messages/count"), "7");
        assert_eq!(value("load/bytes/sent/5min"), "0.00");
    }
}
