//! What clients were refused. They can be refused as much as they like to send, so what is the same again is counted.

use rowcast_codec::ReasonCode;
use rowcast_core::shard::Report;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Refusals of the last while.
///
/// Invariant: no more than [`REFUSALS_MAX`] are remembered; those beyond are only counted.
#[derive(Default)]
pub(super) struct Refused {
    told: HashMap<Cause, Told>,
    beyond: u64,
}

/// To whom, what and why: refusals that differ in anything else are the same.
#[derive(PartialEq, Eq, Hash)]
struct Cause {
    /// Its client identifier; of a connection that was not let in, from where, as whom if that is known, and the words:
    /// nobody knows yet whether it is the same client.
    who: Box<str>,
    what: What,
    why: ReasonCode,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    Connect,
    Publish,
    Subscribe,
}

struct Told {
    first: Report,
    since_ms: u64,
    again: u64,
}

/// What becomes of a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tell {
    /// It is told.
    Now,
    /// How often it came is told later.
    Counted,
}

/// What is to be told some time after it was first.
pub(super) enum Again {
    /// This, so many times more.
    Same(Report, u64),
    /// So many that are not remembered one by one.
    Others(u64),
}

impl Refused {
    /// Whether a report is to be told now. What is no refusal is.
    pub(super) fn take(&mut self, report: &Report, now_ms: u64) -> Tell {
        let Some(cause) = Cause::of(report) else { return Tell::Now };
        let is_full = self.told.len() >= REFUSALS_MAX;
        match self.told.entry(cause) {
            Entry::Occupied(mut told) => told.get_mut().again += 1,
            Entry::Vacant(_) if is_full => self.beyond += 1,
            Entry::Vacant(new) => {
                new.insert(Told { first: shortened(report), since_ms: now_ms, again: 0 });
                return Tell::Now;
            }
        }
        Tell::Counted
    }

    /// What came again since it was told, long enough ago.
    pub(super) fn due(&mut self, now_ms: u64) -> Vec<Again> {
        self.take_out(|told| now_ms.saturating_sub(told.since_ms) >= COLLECT_MS)
    }

    /// What came again since it was told, however short a while ago: there will be no other time to tell it.
    pub(super) fn rest(&mut self) -> Vec<Again> {
        self.take_out(|_| true)
    }

    fn take_out(&mut self, is_due: impl Fn(&Told) -> bool) -> Vec<Again> {
        let due = self.told.extract_if(|_, told| is_due(told));
        let due = due.filter(|(_, told)| told.again > 0).map(|(_, told)| Again::Same(told.first, told.again));
        let mut due: Vec<Again> = due.collect();
        if self.told.len() < REFUSALS_MAX && self.beyond > 0 {
            due.push(Again::Others(std::mem::take(&mut self.beyond)));
        }
        due
    }
}

impl Cause {
    fn of(report: &Report) -> Option<Cause> {
        let (who, what, why) = match report {
            Report::Refused { user, address, reason, words, .. } => {
                let host = address.rsplit_once(':').map_or(&**address, |(host, _)| host);
                let who = format!("{host} {} {words}", user.as_deref().unwrap_or_default());
                (who, What::Connect, *reason)
            }
            Report::RejectedPublish { client_id, code, .. } => (client_id.to_string(), What::Publish, *code),
            Report::DeniedSubscribe { client_id, .. } => {
                (client_id.to_string(), What::Subscribe, ReasonCode::NotAuthorized)
            }
            _ => return None,
        };
        Some(Cause { who: brief(&who).into(), what, why })
    }
}

/// A report without the rest of what was long in it.
fn shortened(report: &Report) -> Report {
    let mut report = report.clone();
    let texts: [&mut Box<str>; 2] = match &mut report {
        Report::Refused { client_id, words, .. } => [client_id, words],
        Report::RejectedPublish { client_id, topic, .. } => [client_id, topic],
        Report::DeniedSubscribe { client_id, filter, .. } => [client_id, filter],
        _ => return report,
    };
    for text in texts.into_iter().filter(|text| text.len() > TEXT_BYTES_MAX) {
        *text = brief(text).into();
    }
    report
}

/// The beginning of a text that is whoever's to choose, and to make long.
pub(super) fn brief(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

/// Bytes of a client identifier, a topic or a filter that are remembered, and told.
const TEXT_BYTES_MAX: usize = 512;

/// For how long the same is counted, not told.
const COLLECT_MS: u64 = 10_000;

/// Refusals of one shard that are remembered meanwhile, two kilobytes each at most.
const REFUSALS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(client: &str, topic: &str, code: ReasonCode) -> Report {
        let (client_id, address, reason) = (client.into(), "192.0.2.1:1".into(), "not allowed".into());
        Report::RejectedPublish { client_id, user: None, address, topic: topic.into(), code, reason }
    }

    fn connect(address: &str, user: Option<&str>, client: &str) -> Report {
        let (client_id, user, address) = (client.into(), user.map(Into::into), address.into());
        Report::Refused { client_id, user, address, reason: ReasonCode::QuotaExceeded, words: "".into() }
    }

    #[test]
    fn the_first_is_told_and_the_same_again_is_counted() {
        let mut refused = Refused::default();
        let denied = ReasonCode::NotAuthorized;
        assert_eq!(refused.take(&publish("a", "dog/1", denied), 0), Tell::Now);
        for topic in 0..1000 {
            assert_eq!(refused.take(&publish("a", &format!("dog/{topic}"), denied), 5000), Tell::Counted);
        }
        for other in [publish("b", "dog/1", denied), publish("a", "dog/1", ReasonCode::PayloadFormatInvalid)] {
            assert_eq!(refused.take(&other, 5000), Tell::Now);
        }
        assert!(refused.due(9999).is_empty());
        let due = refused.due(10_000);
        assert!(matches!(&due[..], [Again::Same(report, 1000)] if *report == publish("a", "dog/1", denied)));
        assert_eq!(refused.take(&publish("a", "dog/2", denied), 10_000), Tell::Now, "new again");
        assert!(refused.due(1_000_000).is_empty(), "none came again");
        assert!(refused.told.is_empty());
    }

    #[test]
    fn what_is_counted_is_told_at_the_end_however_soon_that_comes() {
        let mut refused = Refused::default();
        let denied = ReasonCode::NotAuthorized;
        assert_eq!(refused.take(&publish("once", "dog/1", denied), 0), Tell::Now);
        for _ in 0..4 {
            refused.take(&publish("a", "dog/1", denied), 0);
        }
        let rest = refused.rest();
        assert!(matches!(&rest[..], [Again::Same(report, 3)] if *report == publish("a", "dog/1", denied)));
        assert!(refused.rest().is_empty());
    }

    #[test]
    fn what_is_long_is_cut() {
        let mut refused = Refused::default();
        let denied = ReasonCode::NotAuthorized;
        let long = publish("a", &"ü".repeat(30_000), denied);
        assert_eq!((refused.take(&long, 0), refused.take(&long, 0)), (Tell::Now, Tell::Counted));
        let due = refused.due(10_000);
        let [Again::Same(Report::RejectedPublish { topic, .. }, 1)] = &due[..] else { panic!("one") };
        assert_eq!(&**topic, "ü".repeat(256));
        assert_eq!(brief(&"aü".repeat(200)).len(), 511);
    }

    #[test]
    fn who_is_not_let_in_is_known_by_address_and_user() {
        let mut refused = Refused::default();
        for (address, user, client, tell) in [
            ("192.0.2.1:1", None, "a", Tell::Now),
            ("192.0.2.1:2", None, "b", Tell::Counted),
            ("192.0.2.1:2", Some("rex"), "b", Tell::Now),
            ("[2001:db8::1]:2", None, "b", Tell::Now),
            ("[2001:db8::2]:2", None, "b", Tell::Now),
        ] {
            assert_eq!(refused.take(&connect(address, user, client), 0), tell, "{address} {user:?}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut refused = Refused::default();
        let denied = ReasonCode::NotAuthorized;
        let mut tell = |client: usize| refused.take(&publish(&client.to_string(), "t", denied), 0);
        assert_eq!((0..5000).filter(|&client| tell(client) == Tell::Now).count(), REFUSALS_MAX);
        assert_eq!(refused.told.len(), REFUSALS_MAX);
        let due = refused.due(10_000);
        assert!(matches!(due[..], [Again::Others(count)] if count == 5000 - REFUSALS_MAX as u64));
        assert!(refused.due(10_000).is_empty());
    }
}
