//! From where the past is replayed: what a SUBSCRIBE asks for, and how its place in the log is found.
//!
//! A time is looked up by the log's own marks. The last changes of a filter are counted from the end of the log
//! backwards, no further than they must, and not beyond [`SEARCH_BYTES_MAX`].

use crate::change::Entry;
use crate::interest::{Interest, Subscriber, Subscription};
use crate::limits::{Limits, SEARCH_BYTES_MAX};
use crate::policy::{Operation, Rights};
use crate::position::{Sequence, SessionId};
use crate::proposal::Batch;
use crate::tables::Tables;
use crate::value::date;
use rowcast_codec::{ReasonCode, TopicFilter, UserProperties};
use std::sync::Arc;

/// Where a replay is to begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// With what was committed at this time or later (milliseconds since 1970).
    Time(u64),
    /// Behind this place of the log: a record's version.
    After(Sequence),
    /// With the last so many changes of each filter.
    Last(u32),
}

/// Why what a SUBSCRIBE asks for beyond the standard says nothing; words for the client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AskError(pub ReasonCode, pub String);

impl Start {
    /// What the user properties of a SUBSCRIBE ask for: `rowcast-since` is a time (RFC 3339), how long ago (`-24h`) or a
    /// version, `rowcast-last` a number.
    pub fn read(properties: &UserProperties<'_>, limits: &Limits, now_ms: u64) -> Result<Option<Start>, AskError> {
        let malformed = |words: String| AskError(ReasonCode::ImplementationSpecificError, words);
        match (properties.get(SINCE), properties.get(LAST)) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(malformed(format!("{SINCE} and {LAST} exclude each other"))),
            (Some(since), None) => {
                let words = || {
                    malformed(format!(
                        "{SINCE} takes a time (2026-01-31T12:00:00Z), how long ago (-90s, -15m, -24h, -7d) or a version"
                    ))
                };
                parse_since(since.trim(), now_ms).map(Some).ok_or_else(words)
            }
            (None, Some(last)) => {
                let max = limits.replay_last;
                match last.trim().parse::<u64>() {
                    Ok(last) if last <= u64::from(max) => Ok(Some(Start::Last(last as u32))),
                    Ok(_) => Err(AskError(ReasonCode::QuotaExceeded, format!("{LAST} is at most {max}"))),
                    Err(_) => Err(malformed(format!("{LAST} takes a number of changes, at most {max}"))),
                }
            }
        }
    }
}

/// User properties of a SUBSCRIBE.
const SINCE: &str = "rowcast-since";
const LAST: &str = "rowcast-last";

fn parse_since(text: &str, now_ms: u64) -> Option<Start> {
    if let Some(ago) = text.strip_prefix('-') {
        return Some(Start::Time(now_ms.saturating_sub(parse_span_ms(ago)?)));
    }
    let version = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    if !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit()) {
        return version.parse().ok().map(|version| Start::After(Sequence(version)));
    }
    let time = date::parse(text).filter(|_| text.len() > DATE_BYTES)?; // A day alone is no time.
    Some(Start::Time(u64::try_from(time).unwrap_or(0))) // Before 1970 there was no log.
}

/// Bytes of `2026-01-31`.
const DATE_BYTES: usize = 10;

/// `90s`, `1h30m`: numbers with units.
fn parse_span_ms(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum = 0u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let behind = &rest[digits..];
        let unit = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let unit_ms = match &behind[..unit] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            _ => return None,
        };
        sum = sum.checked_add(number.checked_mul(unit_ms)?)?;
        rest = &behind[unit..];
    }
    (!text.is_empty()).then_some(sum)
}

/// A place in the log that is to be found, for somebody who subscribes.
#[derive(Clone, Debug)]
pub struct Sought {
    /// Where to begin.
    pub start: Start,
    /// The filters of the SUBSCRIBE as canonical topics are matched with them; `None`: nothing is looked for.
    pub filters: Vec<Option<Box<str>>>,
    /// Which of them leave out what the session published itself.
    pub no_local: Vec<bool>,
    /// Whose they are.
    pub session: SessionId,
    /// With which rights.
    pub rights: Rights,
    /// What topics are.
    pub tables: Arc<Tables>,
    /// Milliseconds since 1970: what has expired by then is not counted.
    pub now_ms: u64,
}

/// Where the replay of each filter begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Located {
    /// Behind this place, by filter.
    pub after: Vec<Sequence>,
    /// Something that was asked for is missing.
    pub cut: Option<Cut>,
}

/// Why a replay does not begin where it was asked to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// The log no longer reaches back so far.
    Log,
    /// The search ended before it had found as many changes as were asked for.
    Search,
}

/// The log as it is read backwards.
pub trait Past {
    /// Why it cannot be read.
    type Error;

    /// The last entry there is.
    fn committed(&self) -> Sequence;

    /// From this position on, everything that follows is still there.
    fn oldest(&self) -> Sequence;

    /// The last position before everything that was committed at `time_ms` (since 1970) or later.
    fn position_at(&self, time_ms: u64) -> Result<Sequence, Self::Error>;

    /// A piece of the log that ends with the last batch up to `until`, in order; empty if there is nothing.
    fn read_back(&self, until: Sequence) -> Result<Vec<Arc<Batch>>, Self::Error>;
}

impl Sought {
    /// Finds it.
    pub fn locate<P: Past>(&self, log: &P) -> Result<Located, P::Error> {
        let oldest = log.oldest();
        let everywhere = |after| vec![after; self.filters.len()];
        match self.start {
            Start::After(after) => {
                let cut = (after < oldest).then_some(Cut::Log);
                Ok(Located { after: everywhere(after.max(oldest)), cut })
            }
            Start::Time(time_ms) => {
                let after = log.position_at(time_ms)?;
                // Where nothing was ever dropped, what is asked for is all there.
                let cut = (after <= oldest && oldest > Sequence::ZERO).then_some(Cut::Log);
                Ok(Located { after: everywhere(after.max(oldest)), cut })
            }
            Start::Last(count) => self.locate_last(log, count),
        }
    }

    fn locate_last<P: Past>(&self, log: &P, count: u32) -> Result<Located, P::Error> {
        let mut until = log.committed();
        let mut search = Search::new(self, count, until);
        let mut bytes = 0;
        let mut cut = None;
        while search.open > 0 {
            if bytes >= SEARCH_BYTES_MAX {
                cut = Some(Cut::Search);
                break;
            }
            let batches = if until > log.oldest() { log.read_back(until)? } else { Vec::new() };
            let Some(first) = batches.first() else {
                cut = (log.oldest() > Sequence::ZERO).then_some(Cut::Log);
                break;
            };
            until = Sequence(first.first().0.saturating_sub(1));
            for batch in batches.iter().rev() {
                bytes += batch.bytes().len();
                search.look(batch);
            }
        }
        Ok(Located { after: search.after, cut })
    }
}

/// Counts changes from the end of the log backwards.
struct Search<'s> {
    sought: &'s Sought,
    interest: Interest,
    /// By filter: how many are still to be found, ...
    left: Vec<u32>,
    /// ... and behind which place those begin that were.
    after: Vec<Sequence>,
    /// How many filters are not done.
    open: usize,
    topic: String,
}

impl Search<'_> {
    fn new(sought: &Sought, count: u32, end: Sequence) -> Search<'_> {
        let mut interest = Interest::default();
        let mut left = vec![0; sought.filters.len()];
        for (index, filter) in sought.filters.iter().enumerate() {
            if let Some(Ok(filter)) = filter.as_deref().map(TopicFilter::new) {
                // Each is another subscriber, so that equal ones do not replace each other.
                let subscription = Subscription::of(Subscriber(index as u32));
                interest.subscribe(&filter, subscription);
                left[index] = count;
            }
        }
        let open = left.iter().filter(|&&left| left > 0).count();
        Search { sought, interest, left, after: vec![end; sought.filters.len()], open, topic: String::new() }
    }

    /// Looks at the batch before those that were looked at.
    fn look(&mut self, batch: &Batch) {
        let entries: Vec<Entry<'_>> = batch.entries().collect();
        for entry in entries.iter().rev() {
            if self.open == 0 {
                return;
            }
            let change = &entry.change;
            let shown = !change.table.is_internal() && !entry.superseded;
            let expired = change.expires_ms.is_some_and(|expires| expires <= self.sought.now_ms);
            if !shown || expired || !self.sought.tables.topic(change.table, change.key, &mut self.topic) {
                continue;
            }
            let matches = self.interest.matches(&self.topic);
            if matches.is_empty() || !self.sought.rights.may(Operation::Read, change.table, &self.topic) {
                continue;
            }
            for index in matches.iter().map(|found| found.subscriber.0 as usize) {
                let own = self.sought.no_local[index] && change.publisher == self.sought.session;
                if self.left[index] == 0 || own {
                    continue;
                }
                self.after[index] = Sequence(entry.sequence.0 - 1);
                self.left[index] -= 1;
                self.open -= usize::from(self.left[index] == 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rowcast_codec::UserPropertiesBuf;

    const NOW_MS: u64 = 1_700_000_000_000;

    fn read(pairs: &[(&str, &str)]) -> Result<Option<Start>, ReasonCode> {
        let mut properties = UserPropertiesBuf::new();
        for (name, value) in pairs {
            properties.push(name, value).expect("short");
        }
        Start::read(&properties.as_ref(), &Limits::default(), NOW_MS).map_err(|AskError(reason, _)| reason)
    }

    #[test]
    fn a_subscribe_says_where_the_past_begins() {
        assert_eq!(read(&[("rowcast-meta", "1")]), Ok(None));
        for (since, start) in [
            ("2023-11-14T22:13:20Z", Start::Time(NOW_MS)),
            ("2023-11-14T23:13:20.5+01:00", Start::Time(NOW_MS + 500)),
            ("1969-12-31T23:59:59Z", Start::Time(0)),
            ("-90s", Start::Time(NOW_MS - 90_000)),
            ("-90m", Start::Time(NOW_MS - 90 * 60_000)),
            ("-1h30m", Start::Time(NOW_MS - 90 * 60_000)),
            ("-24h", Start::Time(NOW_MS - 86_400_000)),
            ("-7d", Start::Time(NOW_MS - 7 * 86_400_000)),
            ("-1w", Start::Time(NOW_MS - 7 * 86_400_000)),
            ("-250ms", Start::Time(NOW_MS - 250)),
            ("-0s", Start::Time(NOW_MS)),
            ("-100000w", Start::Time(0)),
            ("0", Start::After(Sequence(0))),
            (" 17 ", Start::After(Sequence(17))),
            ("\"17\"", Start::After(Sequence(17))),
        ] {
            assert_eq!(read(&[("rowcast-since", since)]), Ok(Some(start)), "{since}");
        }
        for (last, start) in [("0", Start::Last(0)), ("10", Start::Last(10)), ("10000", Start::Last(10_000))] {
            assert_eq!(read(&[("rowcast-last", last)]), Ok(Some(start)), "{last}");
        }
    }

    #[test]
    fn what_says_nothing_is_refused() {
        for since in [
            "",
            "-",
            "24h",
            "+24h",
            "-24",
            "-h",
            "-24 h",
            "-24y",
            "-1h-30m",
            "--1h",
            "yesterday",
            "2023-11-14",
            "1.5",
            "2023-13-14T22:13:20Z",
            "2023-11-14T22:13:20Zz",
            "0x10",
            "99999999999999999999",
            "\"17",
            "\"\"",
            "-99999999999999999999s",
            "-18446744073709551615w",
        ] {
            assert_eq!(read(&[("rowcast-since", since)]), Err(ReasonCode::ImplementationSpecificError), "{since}");
        }
        for last in ["", "-1", "ten", "1.0", "1e3", "99999999999999999999"] {
            assert_eq!(read(&[("rowcast-last", last)]), Err(ReasonCode::ImplementationSpecificError), "{last}");
        }
        assert_eq!(read(&[("rowcast-last", "10001")]), Err(ReasonCode::QuotaExceeded));
        let both = [("rowcast-since", "1"), ("rowcast-last", "1")];
        assert_eq!(read(&both), Err(ReasonCode::ImplementationSpecificError));
    }
}
