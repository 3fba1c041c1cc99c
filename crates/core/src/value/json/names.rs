//! Which of many names are the same.

use std::ops::Range;

/// Finds names that are the same. Its space is used again.
///
/// Names are sorted by their first bytes, those alike by the next, and so on: names are compared as numbers, no byte is
/// read twice, and no choice of names makes it slow, as it would a table of hashes.
#[derive(Debug, Default)]
pub(crate) struct Names {
    sorted: Vec<Name>,
    /// Stretches of these that are the same up to a byte, and go on behind it.
    alike: Vec<(Range<usize>, usize)>,
}

/// Some bytes of a name, how many are left of it from the first of these on (or that there are more), and its place.
///
/// `| 88: bytes | 8: left | 32: place |`
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(u128);

/// Bytes that are compared at once.
const PART: usize = 11;

impl Names {
    /// Calls `each` with the names that are the same, in the order of their places, if there are at least two.
    /// `name`: a text and where in it the name is, for each of `count` places.
    pub(crate) fn same<'n>(
        &mut self,
        count: usize,
        name: impl Fn(usize) -> (&'n str, Range<u32>),
        mut each: impl FnMut(&[Name]),
    ) {
        if count < 2 {
            return;
        }
        self.sorted.clear();
        self.sorted.extend((0..count).map(|place| Name(place as u128)));
        self.alike.push((0..count, 0));
        while let Some((range, from)) = self.alike.pop() {
            let names = &mut self.sorted[range.clone()];
            for at in &mut *names {
                let (text, name) = name(at.place());
                let (start, end) = (name.start as usize + from, name.end as usize);
                *at = Name::new(&text.as_bytes()[start..], end - start, at.place());
            }
            names.sort(); // Not unstable, as it makes use of stretches that are sorted already.
            let mut end = range.start;
            for same in names.chunk_by(|one, other| one.0 >> 32 == other.0 >> 32) {
                end += same.len();
                match same {
                    [_] => {}
                    [first, ..] if first.goes_on() => self.alike.push((end - same.len()..end, from + PART)),
                    _ => each(same),
                }
            }
        }
    }

    /// Frees what only large documents need.
    pub(crate) fn shrink_to(&mut self, count: usize) {
        self.sorted.clear();
        self.sorted.shrink_to(count);
        self.alike.shrink_to(count);
    }
}

impl Name {
    /// Of the name that is the first `left` bytes of a text.
    #[inline]
    fn new(text: &[u8], left: usize, place: usize) -> Name {
        let bytes = match text.first_chunk() {
            Some(chunk) => *chunk,
            None => {
                let mut bytes = [0; 16];
                bytes[..text.len()].copy_from_slice(text);
                bytes
            }
        };
        let beyond = 8 * (16 - left.min(PART));
        let part = u128::from_be_bytes(bytes).checked_shr(beyond as u32).map_or(0, |part| part << beyond);
        Name(part | (left.min(PART + 1) as u128) << 32 | place as u128)
    }

    pub(crate) fn place(self) -> usize {
        self.0 as u32 as usize
    }

    fn goes_on(self) -> bool {
        usize::from((self.0 >> 32) as u8) > PART
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_end_where_others_go_on_are_others() {
        check(&[
            "",
            "a",
            "a\0",
            "a\0\0",
            "a",
            "",
            "eleven like",
            "eleven like it",
            "eleven like",
            "eleven like\0",
            "twelve like ",
        ]);
        let long = "long ".repeat(1000);
        check(&[&*long, "long ", &long[..4999], &long, &long[5..], &long[..4990], &long[..4990]]);
        check(&[]);
    }

    proptest! {
        #[test]
        fn names_are_found_wherever_they_are(names in prop::collection::vec("(\0|a|bcdefg|abcdefghijk){0,5}", 0..100)) {
            check(&names.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }

    #[track_caller]
    fn check(names: &[&str]) {
        let places = |wanted: &str| (0..names.len()).filter(|&place| names[place] == wanted).collect::<Vec<_>>();
        let mut expected: Vec<_> = names.iter().map(|name| places(name)).filter(|places| places.len() > 1).collect();
        expected.sort_unstable();
        expected.dedup();
        let mut found = Vec::new();
        let each = |same: &[Name]| found.push(same.iter().map(|name| name.place()).collect::<Vec<_>>());
        Names::default().same(names.len(), |place| (names[place], 0..names[place].len() as u32), each);
        found.sort_unstable();
        assert_eq!(found, expected, "{names:?}");
    }
}
