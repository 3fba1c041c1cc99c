//! Names that come again in one object. The last wins, so the members before it are to be removed.

use std::ops::Range;

use super::{Names, Text, unescape};

/// Who wants to know of the members of the objects that are stepped over; `()` does not.
pub(crate) trait Observer {
    /// An object begins.
    fn open(&mut self) -> OpenObject;
    /// A member whose name was at `start` has ended.
    fn member(&mut self, start: usize, name: Text<'_>);
    /// All members of `object` have ended.
    fn close(&mut self, object: OpenObject, text: &str);
}

/// Finds members whose name comes again later in the same object. Objects nest, and so do their names here: one
/// list serves a whole text, and the next.
#[derive(Debug, Default)]
pub(crate) struct Members {
    open: Vec<Member>,
    superseded: Vec<Superseded>,
    names: Names,
    unescaped: String,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    start: u32,
    /// Its name in the text, or what that says, in `unescaped`.
    name: u32,
    name_end: u32,
    escaped: bool,
}

/// The bytes from members whose names come again to the member after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Superseded {
    start: u32,
    end: u32,
}

/// An object whose members are being collected: how many names of others come before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenObject(usize);

impl Observer for () {
    fn open(&mut self) -> OpenObject {
        OpenObject(0)
    }

    fn member(&mut self, _: usize, _: Text<'_>) {}

    fn close(&mut self, _: OpenObject, _: &str) {}
}

impl Observer for Members {
    fn open(&mut self) -> OpenObject {
        OpenObject(self.open.len())
    }

    #[inline]
    fn member(&mut self, start: usize, name: Text<'_>) {
        let (mut from, mut to) = (start + 1, start + 1 + name.raw.len());
        if name.escaped {
            from = self.unescaped.len();
            unescape(name.raw, &mut self.unescaped);
            to = self.unescaped.len();
        }
        self.open.push(Member { start: start as u32, name: from as u32, name_end: to as u32, escaped: name.escaped });
    }

    fn close(&mut self, object: OpenObject, text: &str) {
        let members = &self.open[object.0..];
        let name = |place: usize| {
            let Member { name, name_end, escaped, .. } = members[place];
            (if escaped { &*self.unescaped } else { text }, name..name_end)
        };
        let mut gone = Vec::new();
        self.names
            .same(members.len(), name, |same| gone.extend(same[..same.len() - 1].iter().map(|name| name.place())));
        gone.sort_unstable();
        for place in gone {
            let (start, end) = (members[place].start, members[place + 1].start);
            match self.superseded.last_mut() {
                Some(before) if before.end == start => before.end = end,
                _ => self.superseded.push(Superseded { start, end }),
            }
        }
        self.forget(object);
    }
}

impl Members {
    /// The names in `object` are known to differ.
    pub(crate) fn forget(&mut self, object: OpenObject) {
        self.open.truncate(object.0);
    }

    /// What has come again later, in the order of the text; not what lies within another of these.
    pub(crate) fn superseded(&mut self) -> &[Superseded] {
        self.superseded.sort_by_key(|gone| gone.start); // Of stretches that are in order, which this makes use of.
        let mut end = 0;
        self.superseded.retain(|gone| {
            let is_outermost = gone.start >= end;
            end = end.max(gone.end);
            is_outermost
        });
        &self.superseded
    }

    /// To begin with the next text. Space that only large ones need is freed.
    pub(crate) fn clear(&mut self) {
        self.open.clear();
        self.open.shrink_to(SPARE_MEMBERS_MAX);
        self.superseded.clear();
        self.superseded.shrink_to(SPARE_MEMBERS_MAX);
        self.names.shrink_to(SPARE_MEMBERS_MAX);
        self.unescaped.clear();
        self.unescaped.shrink_to(SPARE_MEMBERS_MAX);
    }
}

/// Members, names and bytes of names that space is kept for.
const SPARE_MEMBERS_MAX: usize = 1024;

impl Superseded {
    pub(crate) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}
