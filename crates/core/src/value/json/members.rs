//! Names that come again in one object. The last wins, so the members before it are to be removed.

use std::borrow::Cow;

use super::Text;

/// Finds members whose name comes again later in the same object. Objects nest, and so do their names here: one
/// list serves a whole text, and the next.
#[derive(Debug, Default)]
pub(crate) struct Members {
    open: Vec<Member>,
    superseded: Vec<Superseded>,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    start: usize,
    name_end: usize,
    escaped: bool,
}

/// The bytes from a member whose name comes again to the member after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Superseded {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// An object whose members are being collected: how many names of others come before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenObject(usize);

impl Members {
    pub(crate) fn clear(&mut self) {
        self.open.clear();
        self.superseded.clear();
    }

    pub(crate) fn open(&self) -> OpenObject {
        OpenObject(self.open.len())
    }

    /// Notes a member whose name was at `start`.
    #[inline]
    pub(crate) fn push(&mut self, start: usize, name: Text<'_>) {
        self.open.push(Member { start, name_end: start + 1 + name.raw.len(), escaped: name.escaped });
    }

    /// All members of `object` are noted.
    pub(crate) fn close(&mut self, object: OpenObject, text: &str) {
        let members = &mut self.open[object.0..];
        if members.len() <= SORTED_FROM {
            for (place, member) in members.iter().enumerate() {
                if members[place + 1..].iter().any(|later| later.same_name(member, text)) {
                    self.superseded.push(Superseded { start: member.start, end: members[place + 1].start });
                }
            }
        } else {
            close_large(members, text, &mut self.superseded);
        }
        self.open.truncate(object.0);
    }

    /// What has come again later, in the order of the text; not what lies within another of these.
    pub(crate) fn superseded(&mut self) -> &[Superseded] {
        self.superseded.sort_unstable_by_key(|gone| gone.start);
        let mut end = 0;
        self.superseded.retain(|gone| {
            let is_outermost = gone.start >= end;
            end = end.max(gone.end);
            is_outermost
        });
        &self.superseded
    }
}

/// Objects with more members are sorted instead of compared pair by pair, which a client could make expensive.
const SORTED_FROM: usize = 16;

fn close_large(members: &[Member], text: &str, superseded: &mut Vec<Superseded>) {
    let mut by_name: Vec<(Cow<'_, str>, usize)> =
        members.iter().enumerate().map(|(place, member)| (member.name(text).unescaped(), place)).collect();
    by_name.sort_unstable();
    for pair in by_name.windows(2) {
        if pair[0].0 == pair[1].0 {
            let place = pair[0].1;
            superseded.push(Superseded { start: members[place].start, end: members[place + 1].start });
        }
    }
}

impl Member {
    fn name<'t>(&self, text: &'t str) -> Text<'t> {
        Text { raw: &text[self.start + 1..self.name_end], escaped: self.escaped }
    }

    #[inline]
    fn same_name(&self, other: &Self, text: &str) -> bool {
        if self.escaped || other.escaped {
            return self.name(text).unescaped() == other.name(text).unescaped();
        }
        self.name_end - self.start == other.name_end - other.start && self.name(text).raw == other.name(text).raw
    }
}
