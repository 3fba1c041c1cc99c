//! Records as a scan returns them.

use crate::damage::Damage;
use rowcast_core::Sequence;

/// Some records of a table in the order of their keys, in one piece of memory.
#[derive(Clone, Debug, Default)]
pub struct Page {
    bytes: Vec<u8>,  // Key, record, key, record, ...
    ends: Vec<Ends>, // Of each record, within `bytes`.
    /// Where to go on, as `Excluded`; `None`: there is nothing more. A page can be empty and still have a next.
    pub next: Option<Vec<u8>>,
    /// Why it ends where it does, if that is because what follows cannot be read: the next page fails.
    pub cut: Option<Box<Damage>>,
    /// Everything up to here is in the page; some of what came later may be, too.
    pub applied: Sequence,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    key: u32,
    record: u32,
}

impl Page {
    pub(super) fn new(applied: Sequence) -> Page {
        Page { applied, ..Page::default() }
    }

    pub(super) fn push(&mut self, key: &[u8], record: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key = self.bytes.len() as u32;
        self.bytes.extend_from_slice(record);
        self.ends.push(Ends { key, record: self.bytes.len() as u32 });
    }

    /// The key of the last record.
    pub(super) fn last_key(&self) -> Option<&[u8]> {
        let ends = self.ends.last()?;
        let start = self.ends.iter().rev().nth(1).map_or(0, |before| before.record);
        Some(&self.bytes[start as usize..ends.key as usize])
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none. There may still be a next page.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of all keys and records.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Keys and records, [`rowcast_core::Record::encode`]d.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |ends| {
            let (key, end) = (ends.key as usize, ends.record as usize);
            let item = (&self.bytes[start..key], &self.bytes[key..end]);
            start = end;
            item
        })
    }
}
