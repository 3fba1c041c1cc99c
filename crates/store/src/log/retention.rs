//! Which segments the log can do without.

use super::Segment;
use rowcast_core::Sequence;

/// How much log is kept for readers that are behind. Whatever the bounds, what the tables have not persisted stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retention {
    /// Milliseconds after which a segment goes once all of it is older; `None`: no bound.
    pub age_ms: Option<u64>,
    /// Bytes of all segments above which the oldest go; `None`: no bound.
    pub bytes: Option<u64>,
}

/// What retention found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Expendable {
    /// How many of the oldest segments can go.
    pub(super) segments: usize,
    /// The tables have not persisted a segment that should go as well.
    pub(super) blocked: bool,
}

impl Retention {
    /// Looks at all segments, the oldest first and the one that is written last, which always stays.
    pub(super) fn expendable<'a>(
        &self,
        segments: impl ExactSizeIterator<Item = &'a Segment> + Clone,
        persisted: Sequence,
        now_ms: u64,
    ) -> Expendable {
        let mut left: u64 = segments.clone().map(|segment| segment.bytes).sum();
        let mut found = Expendable::default();
        for (segment, next) in segments.clone().zip(segments.skip(1)) {
            let too_many = self.bytes.is_some_and(|bytes| left > bytes);
            // The next segment was begun when this one had its last entry.
            let too_old = self.age_ms.is_some_and(|age| next.header.created_ms.saturating_add(age) < now_ms);
            if !(too_many || too_old) {
                break;
            }
            if segment.last > persisted {
                found.blocked = true;
                break;
            }
            found.segments += 1;
            left -= segment.bytes;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::segment::SegmentHeader;
    use rowcast_core::{Hlc, NodeId};

    /// Segments of 100 bytes and 10 entries, begun at 0, 1000, 2000 ms and so on.
    fn segments(count: u64) -> Vec<Segment> {
        let segment = |at: u64| {
            let header = SegmentHeader {
                node: NodeId(1),
                epoch: 1,
                first: Sequence(at * 10 + 1),
                previous: Sequence(at * 10),
                previous_bytes: 0,
                clock: Hlc(0),
                created_ms: at * 1000,
            };
            Segment { header, last: Sequence(at * 10 + 10), bytes: 100, index: None }
        };
        (0..count).map(segment).collect()
    }

    #[track_caller]
    fn check(age_ms: Option<u64>, bytes: Option<u64>, persisted: u64, expected: usize, blocked: bool) {
        let found = Retention { age_ms, bytes }.expendable(segments(4).iter(), Sequence(persisted), 3_000);
        assert_eq!(found, Expendable { segments: expected, blocked });
    }

    #[test]
    fn the_oldest_go_when_they_are_too_many_or_too_old() {
        check(None, None, 40, 0, false);
        check(None, Some(400), 40, 0, false);
        check(None, Some(399), 40, 1, false);
        check(None, Some(150), 40, 3, false);
        check(Some(1_500), None, 40, 1, false);
        check(Some(500), Some(250), 40, 2, false);
    }

    #[test]
    fn the_last_one_and_what_is_not_persisted_stay() {
        check(Some(0), Some(0), 40, 3, false);
        check(Some(0), Some(0), 19, 1, true);
        check(Some(0), Some(0), 0, 0, true);
    }
}
