//! What must hold of a record before it is touched.

use rowcast_core::{Record, Rejection, Sequence};

/// Preconditions in the sense of RFC 9110 §13. All that are given must hold; the default asks for nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Condition {
    /// The record is there, at one of these versions (`If-Match`).
    pub matches: Option<Versions>,
    /// The record is not there, or at none of these versions (`If-None-Match`).
    pub differs: Option<Versions>,
    /// The record is there and was last put no later than in this second since 1970 (`If-Unmodified-Since`).
    pub unmodified_since_secs: Option<u64>,
}

/// Some versions of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Versions {
    /// Whatever there is (`*`).
    Any,
    /// These.
    These(Vec<Sequence>),
}

/// The first precondition that does not hold, in the order they are asked (RFC 9110 §13.2.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unmet {
    /// `matches`, or `unmodified_since_secs`.
    Matches,
    /// `differs`: whoever only reads has that version already.
    Differs,
}

impl Condition {
    /// Holds while the record does not exist.
    #[must_use]
    pub fn absent() -> Condition {
        Condition { differs: Some(Versions::Any), ..Condition::default() }
    }

    /// Asks all that is given of the record as it is, `None` if there is none.
    pub fn check(&self, current: Option<&Record<'_>>) -> Result<(), Unmet> {
        let is_among = |versions: &Versions| match (current, versions) {
            (None, _) => false,
            (Some(_), Versions::Any) => true,
            (Some(record), Versions::These(versions)) => versions.contains(&record.version),
        };
        let is_unmodified = |secs: u64| current.is_some_and(|record| record.stamp.hlc.millis() / 1000 <= secs);
        if !self.matches.as_ref().is_none_or(is_among) || !self.unmodified_since_secs.is_none_or(is_unmodified) {
            return Err(Unmet::Matches);
        }
        match &self.differs {
            Some(versions) if is_among(versions) => Err(Unmet::Differs),
            _ => Ok(()),
        }
    }

    /// The same, in the words of a decision.
    pub(super) fn decide(&self, current: Option<&Record<'_>>) -> Result<(), Rejection> {
        self.check(current).map_err(|_| Rejection::Condition(current.map(|record| record.version)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rowcast_core::{Hlc, NodeId, SessionId, Stamp};

    #[test]
    fn each_precondition_is_asked_of_the_record_as_it_is() {
        let these = |list: &[u64]| Some(Versions::These(list.iter().copied().map(Sequence).collect()));
        let any = || Some(Versions::Any);
        let matches = |matches| Condition { matches, ..Condition::default() };
        let differs = |differs| Condition { differs, ..Condition::default() };
        let since = |secs| Condition { unmodified_since_secs: Some(secs), ..Condition::default() };

        check(Condition::default(), Ok(()), Ok(()));
        check(Condition::absent(), Ok(()), Err(Unmet::Differs));
        check(matches(any()), Err(Unmet::Matches), Ok(()));
        check(matches(these(&[6, 7])), Err(Unmet::Matches), Ok(()));
        check(matches(these(&[6, 8])), Err(Unmet::Matches), Err(Unmet::Matches));
        check(matches(these(&[])), Err(Unmet::Matches), Err(Unmet::Matches));
        check(differs(these(&[6, 7])), Ok(()), Err(Unmet::Differs));
        check(differs(these(&[6])), Ok(()), Ok(()));
        check(since(99), Err(Unmet::Matches), Err(Unmet::Matches));
        check(since(100), Err(Unmet::Matches), Ok(()));
        let both = Condition { matches: these(&[8]), differs: any(), ..Condition::default() };
        check(both, Err(Unmet::Matches), Err(Unmet::Matches));
    }

    /// Of no record, and of version 7, put 100.5 seconds after 1970 began.
    #[track_caller]
    fn check(condition: Condition, absent: Result<(), Unmet>, present: Result<(), Unmet>) {
        let record = Record {
            version: Sequence(7),
            stamp: Stamp { hlc: Hlc(100_500 << 16), node: NodeId(1) },
            qos: rowcast_codec::QoS::AtLeastOnce,
            publisher: SessionId::NONE,
            expires_ms: None,
            properties: b"",
            payload: b"{}",
        };
        assert_eq!(condition.check(None), absent, "{condition:?} of nothing");
        assert_eq!(condition.check(Some(&record)), present, "{condition:?} of version 7");
    }
}
