//! What the server says of itself, on topics below `$SYS`.
//!
//! Values (`$SYS/broker/uptime`) are states, events (`$SYS/clients/a/connected`) pass by. Neither stands in the log or
//! in a table: who knows the values answers reads of [`TableId::SYS`] with [`page`], and passes on what changed as any
//! message that nobody logs. So they have QoS 0: a value that is lost is replaced by the next.

use crate::change::{Change, ChangeKind};
use crate::hlc::{Hlc, Stamp};
use crate::position::{NodeId, Sequence, SessionId, TableId};
use crate::record::Record;
use crate::shard::ScannedRecord;
use crate::tables::{Range, encode_open};
use rowcast_codec::QoS;

/// The first level of all these topics. Wildcards do not select it [MQTT-4.7.2-1].
pub const ROOT: &str = "$SYS";

/// A topic below [`ROOT`] and what it says now.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Value {
    /// The whole topic.
    pub topic: String,
    /// A number as text, in most cases.
    pub payload: String,
}

/// Whether a topic or filter, one that nobody shares, is at or below [`ROOT`].
#[must_use]
pub fn is_below(filter: &str) -> bool {
    filter.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether it is where a bridge of another broker says whether it is there: `$SYS/broker/connection/NAME/state`.
///
/// The one topic below [`ROOT`] that clients publish to. It is an open topic in all else, as brokers that are bridged by
/// name set a retained will there, and do not come in where that is refused.
#[must_use]
pub fn is_bridge_state(topic: &str) -> bool {
    let name = topic.strip_prefix(BRIDGES).and_then(|rest| rest.strip_suffix("/state"));
    name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// Whether a filter at or below [`ROOT`] may select such a topic.
#[must_use]
pub fn may_select_bridges(filter: &str) -> bool {
    let mut levels = filter.split('/');
    for level in BRIDGES.trim_end_matches('/').split('/') {
        match levels.next() {
            Some("#") => return true,
            Some(asked) if asked == level || asked == "+" => {}
            _ => return false,
        }
    }
    levels.next().is_some()
}

const BRIDGES: &str = "$SYS/broker/connection/";

/// Where something is said of one client: `$SYS/clients/ID/connected`, the identifier as one level.
///
/// `/`, `+`, `#` and `%` of it are written as `%2F`, `%2B`, `%23` and `%25`; one too long for a topic is cut off.
#[must_use]
pub fn client_topic(client_id: &str, what: &str) -> String {
    const CLIENTS: &str = "$SYS/clients/";
    let room = CLIENTS.len() + client_id.len().min(CLIENT_TOPIC_BYTES_MAX) + 1 + what.len();
    let mut topic = String::with_capacity(room);
    topic.push_str(CLIENTS);
    for character in client_id.chars() {
        if topic.len() > CLIENT_TOPIC_BYTES_MAX {
            break;
        }
        match character {
            '/' => topic.push_str("%2F"),
            '+' => topic.push_str("%2B"),
            '#' => topic.push_str("%23"),
            '%' => topic.push_str("%25"),
            other => topic.push(other),
        }
    }
    topic.push('/');
    topic.push_str(what);
    topic
}

/// Of `$SYS/clients/ID`; leaves room for what follows.
const CLIENT_TOPIC_BYTES_MAX: usize = 65_000;

/// Appends the entry that tells subscribers of a value.
pub fn encode_value(value: &Value, out: &mut Vec<u8>) {
    encode(ChangeKind::Put, &value.topic, value.payload.as_bytes(), out);
}

/// Appends the entry that tells subscribers of an event.
pub fn encode_event(topic: &str, payload: &[u8], out: &mut Vec<u8>) {
    encode(ChangeKind::Message, topic, payload, out);
}

fn encode(kind: ChangeKind, topic: &str, payload: &[u8], out: &mut Vec<u8>) {
    Change {
        kind,
        qos: QoS::AtMostOnce,
        table: TableId::SYS,
        key: &key_of(topic),
        publisher: SessionId::NONE,
        expires_ms: None,
        properties: &[],
        payload,
    }
    .encode(out);
}

/// Records of a range of [`TableId::SYS`], in the order of their keys, and whether there are no more.
#[must_use]
pub fn page(values: &[Value], range: &Range, after: Option<&[u8]>, records: usize) -> (Vec<ScannedRecord>, bool) {
    let mut keyed: Vec<(Vec<u8>, &Value)> = values.iter().map(|value| (key_of(&value.topic), value)).collect();
    keyed.retain(|(key, _)| {
        let begins = after.map_or(*key >= range.from, |after| &**key > after);
        begins && range.to.as_ref().is_none_or(|to| key < to)
    });
    keyed.sort_unstable();
    let complete = keyed.len() <= records;
    keyed.truncate(records);
    (keyed.into_iter().map(|(key, value)| record(key, value)).collect(), complete)
}

/// A value as a record that no put made: its version is zero.
fn record(key: Vec<u8>, value: &Value) -> ScannedRecord {
    let mut record = Vec::new();
    Record {
        version: Sequence::ZERO,
        stamp: Stamp { hlc: Hlc::default(), node: NodeId(0) },
        qos: QoS::AtMostOnce,
        publisher: SessionId::NONE,
        expires_ms: None,
        properties: &[],
        payload: value.payload.as_bytes(),
    }
    .encode(&mut record);
    ScannedRecord { key: key.into(), record: record.into() }
}

fn key_of(topic: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(topic.len());
    encode_open(topic, &mut key);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use rowcast_codec::Topic;

    #[test]
    fn a_client_identifier_is_one_level_whatever_is_in_it() {
        for (client_id, topic) in [
            ("kennel-7", "$SYS/clients/kennel-7/connected"),
            ("a/b", "$SYS/clients/a%2Fb/connected"),
            ("a%2Fb", "$SYS/clients/a%252Fb/connected"),
            ("+/#", "$SYS/clients/%2B%2F%23/connected"),
            ("$SYS", "$SYS/clients/$SYS/connected"),
            ("Hündin", "$SYS/clients/Hündin/connected"),
        ] {
            assert_eq!(client_topic(client_id, "connected"), topic);
        }
        let long = "#".repeat(65_535);
        let topic = client_topic(&long, "disconnected");
        assert_eq!(Topic::new(&topic).expect("a topic").levels().count(), 4);
        assert!(topic.ends_with("%23/disconnected"));
    }

    #[test]
    fn bridges_are_below_broker_connection() {
        for (filter, may) in [
            ("$SYS/#", true),
            ("$SYS/broker/#", true),
            ("$SYS/+/+/+/state", true),
            ("$SYS/broker/connection/#", true),
            ("$SYS/broker/connection/east/state", true),
            ("$SYS/broker/+", false),
            ("$SYS/broker/uptime", false),
            ("$SYS", false),
        ] {
            assert_eq!(may_select_bridges(filter), may, "{filter}");
        }
        assert!(is_bridge_state("$SYS/broker/connection/kennel.east/state"));
    }

    #[test]
    fn only_the_whole_first_level_is_the_servers() {
        for (filter, below) in [
            ("$SYS", true),
            ("$SYS/", true),
            ("$SYS/#", true),
            ("$SYS/broker/uptime", true),
            ("$SYSTEM/x", false),
            ("$sys/x", false),
            ("+/broker/uptime", false),
            ("#", false),
            ("x/$SYS", false),
        ] {
            assert_eq!(is_below(filter), below, "{filter}");
        }
    }

    #[test]
    fn values_come_in_pages() {
        let value = |topic: &str| Value { topic: topic.to_owned(), payload: topic.len().to_string() };
        let values = [value("$SYS/b"), value("$SYS/a/x"), value("$SYS/a"), value("$SYS/a/y"), value("$SYS/ab")];
        let range = |from: &str, to: Option<&str>| Range {
            table: TableId::SYS,
            from: key_of(from),
            to: to.map(|to| to.as_bytes().to_vec()),
        };
        let read = |range: &Range, after: Option<&str>, records| {
            let after = after.map(key_of);
            let (found, complete) = page(&values, range, after.as_deref(), records);
            let keys: Vec<String> =
                found.iter().map(|found| String::from_utf8_lossy(&found.key).replace('\0', "/")).collect();
            (keys.join(" "), complete)
        };
        let all = range("$SYS", None);
        assert_eq!(read(&all, None, 9), ("$SYS/a $SYS/a/x $SYS/a/y $SYS/ab $SYS/b".to_owned(), true));
        assert_eq!(read(&all, None, 2), ("$SYS/a $SYS/a/x".to_owned(), false));
        assert_eq!(read(&all, Some("$SYS/a/x"), 3), ("$SYS/a/y $SYS/ab $SYS/b".to_owned(), true));
        assert_eq!(read(&range("$SYS/a", Some("$SYS\0a\x01")), None, 9), ("$SYS/a $SYS/a/x $SYS/a/y".to_owned(), true));
        let (found, _) = page(&values, &all, None, 1);
        assert_eq!(Record::decode(&found[0].record).expect("a record").payload, b"6");
    }
}
