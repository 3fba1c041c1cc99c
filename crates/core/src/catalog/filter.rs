//! Which tables a topic filter is about, and how its client spells them.

use std::borrow::Cow;

use super::{Catalog, is_open_to_mqtt};
use crate::schema::Table;
use crate::value::{Key, KeyError, KeyType};
use rowcast_codec::{levels, split_level};

/// What a topic filter is about, after the rules for spellings.
#[derive(Debug, Clone)]
pub enum ResolvedFilter<'c, 'f> {
    /// Its first level(s) name a table open to MQTT. Tables whose names lie below that one's may be meant too:
    /// [`Catalog::selected_tables`] knows.
    Table {
        /// The table named.
        table: &'c Table,
        /// The filter with the exact name and a canonical key: what to match canonical topics with.
        filter: Cow<'f, str>,
        /// How the client spells the table, and so how its topics are spelled to the client.
        spelling: &'c str,
        /// What follows the `?` of a view (`dog/?breed=Lab`); the filter then is that of the records it is over.
        query: Option<&'f str>,
    },
    /// Wildcards where a table's name would be, or no table's name: match canonical topics, spell exactly.
    Other,
    /// It names a table exported with `mqtt: false`.
    Closed {
        /// The table named.
        table: &'c Table,
    },
    /// It names one record, by a text that is not a key of its table: nothing will ever match.
    BadKey {
        /// The table named.
        table: &'c Table,
        /// What is wrong with the key.
        error: KeyError,
    },
}

/// A table a filter may select records of.
#[derive(Debug, Clone, Copy)]
pub struct SelectedTable<'c, 'f> {
    /// The table.
    pub table: &'c Table,
    /// What of the filter is left for its keys: `#`, `+/x`, `123`.
    pub keys: &'f str,
}

impl Catalog {
    /// What the filter of a SUBSCRIBE, valid as such and without its `$share/..`, is about.
    ///
    /// | filter on `Dog`, `Counter` (Int key) | becomes         | spelled   |
    /// |--------------------------------------|-----------------|-----------|
    /// | `dog/#`                              | `Dog/#`         | `dog`     |
    /// | `dog`, `dog/`                        | `Dog`           | `dog`     |
    /// | `Counter/01`                         | `Counter/1`     | `Counter` |
    /// | `counter/01/#`                       | `Counter/1/#`   | `counter` |
    /// | `counter/x`                          | `BadKey`        |           |
    /// | `dog/a/?breed=Lab`                   | `Dog/a/#`       | `dog`     |
    /// | `+/123`, `#`                         | `Other`         |           |
    pub fn resolve_filter<'f>(&self, filter: &'f str) -> ResolvedFilter<'_, 'f> {
        let Some((name, keys)) = self.split_name(filter) else { return ResolvedFilter::Other };
        let table = &self[name.table];
        if !is_open_to_mqtt(table) {
            return ResolvedFilter::Closed { table };
        }
        let (keys, query) = split_query(keys);
        let keys = match canonical_keys(keys, table.key.key_type) {
            Ok(keys) => keys,
            Err(error) => return ResolvedFilter::BadKey { table, error },
        };
        let spellings = self.spellings(table);
        let (exact, spelling) = (&*spellings[0], &*spellings[name.spelling]);
        let canonical = match &*keys {
            "" => exact.to_owned(),
            keys => format!("{exact}/{keys}"),
        };
        let filter = if canonical == filter { Cow::Borrowed(filter) } else { Cow::Owned(canonical) };
        ResolvedFilter::Table { table, filter, spelling, query }
    }

    /// The tables open to MQTT that a canonical filter may select records of, and what it says about their keys.
    pub fn selected_tables<'f>(&self, filter: &'f str) -> impl Iterator<Item = SelectedTable<'_, 'f>> {
        self.tables.iter().filter(|table| is_open_to_mqtt(table)).filter_map(move |table| {
            let name = &*table.export.as_ref()?.name;
            Some(SelectedTable { table, keys: keys_below(filter, name)? })
        })
    }
}

/// `?` where a key or a level below one would begin makes a view: over `a/#` in `a/?query`.
fn split_query(keys: &str) -> (Cow<'_, str>, Option<&str>) {
    match keys.split_once('?') {
        Some((prefix, query)) if prefix.is_empty() || prefix.ends_with('/') => {
            (Cow::Owned(format!("{prefix}#")), Some(query))
        }
        _ => (Cow::Borrowed(keys), None),
    }
}

/// The part of a filter that is about keys, with a key it names exactly in its canonical form. Text is always
/// canonical, and numbers are where `Any` is the type; `01` is a number's other form only for `Int` and `Long`.
fn canonical_keys(keys: Cow<'_, str>, key_type: KeyType) -> Result<Cow<'_, str>, KeyError> {
    let (key, below) = match keys.strip_suffix("/#") {
        Some(key) => (key, "/#"),
        None => (&*keys, ""),
    };
    if key.is_empty() || key.contains(['+', '#']) {
        return Ok(keys);
    }
    match (Key::parse(key, key_type), below) {
        (Ok(key @ Key::Number(_)), _) => Ok(Cow::Owned(format!("{key}{below}"))),
        (Err(error), "") => Err(error),
        _ => Ok(keys),
    }
}

/// What of a filter is left for the keys of a table with that name, if it can select any.
fn keys_below<'f>(filter: &'f str, name: &str) -> Option<&'f str> {
    let mut rest = filter;
    for level in levels(name) {
        let (first, below) = match split_level(rest) {
            (first, Some(below)) => (first, below),
            ("#", None) => return Some("#"),
            (_, None) => return None, // Ends with the name or above it.
        };
        if first != "+" && first != level {
            return None;
        }
        rest = below;
    }
    Some(rest)
}
