//! Where the records of topics are that clients published to lately: resolved once, not with each message.
//!
//! Each topic has one slot that it may be in, by its hash. What is there already makes room, and leaves its buffers: the
//! number of slots is the bound, and a topic that is not found costs little more than without any of this.

use crate::limits::{PLACE_TOPIC_BYTES_MAX, PLACES_MAX};
use crate::position::TableId;
use crate::reach::Prefixes;
use crate::tables::{Place, PlaceError, Tables};
use rustc_hash::FxHasher;
use std::cell::OnceCell;
use std::hash::Hasher;
use std::rc::Rc;

/// A topic that can be published to.
#[derive(Debug)]
pub(crate) struct Spot {
    /// As its client spells it.
    spelled: String,
    /// How many levels it has so.
    pub levels: usize,
    pub place: Place,
    /// Which table; [`TableId::TOPICS`] for an open topic.
    pub table: TableId,
    /// The record's, encoded; empty for a table's channel.
    pub key: Vec<u8>,
    /// The canonical topic.
    pub topic: String,
    prefixes: OnceCell<Prefixes>,
}

/// The topics published to lately on one shard.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// None at all, or [`PLACES_MAX`].
    slots: Vec<Option<Rc<Spot>>>,
}

impl Places {
    /// Where the record of `topic`, valid as such, is kept.
    #[inline]
    pub(crate) fn find(&mut self, tables: &Tables, topic: &str) -> Result<Rc<Spot>, PlaceError> {
        if topic.len() > PLACE_TOPIC_BYTES_MAX {
            let mut spot = Spot::default();
            return spot.become_of(tables, topic).map(|()| Rc::new(spot));
        }
        if self.slots.is_empty() {
            self.slots.resize(PLACES_MAX, None);
        }
        let slot = &mut self.slots[hash(topic) as usize % PLACES_MAX];
        match slot {
            Some(spot) if spot.spelled == topic => Ok(Rc::clone(spot)),
            _ => replace(slot, tables, topic),
        }
    }

    /// Forgets all: the tables changed.
    pub(crate) fn clear(&mut self) {
        self.slots = Vec::new();
    }
}

fn replace(slot: &mut Option<Rc<Spot>>, tables: &Tables, topic: &str) -> Result<Rc<Spot>, PlaceError> {
    let mut rc = slot.take().unwrap_or_default();
    if Rc::get_mut(&mut rc).is_none() {
        rc = Rc::default();
    }
    let spot = Rc::get_mut(&mut rc).expect("nobody else has it");
    spot.become_of(tables, topic)?;
    *slot = Some(Rc::clone(&rc));
    Ok(rc)
}

fn hash(topic: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(topic.as_bytes());
    hasher.finish()
}

impl Default for Spot {
    fn default() -> Spot {
        Spot {
            spelled: String::new(),
            levels: 0,
            place: Place::Open,
            table: TableId::TOPICS,
            key: Vec::new(),
            topic: String::new(),
            prefixes: OnceCell::new(),
        }
    }
}

impl Spot {
    /// Those of the topic, found when they are asked for: what goes to the log has no need of them.
    pub(crate) fn prefixes(&self) -> &Prefixes {
        self.prefixes.get_or_init(|| Prefixes::of(&self.topic))
    }

    fn become_of(&mut self, tables: &Tables, topic: &str) -> Result<(), PlaceError> {
        self.place = tables.place(topic, &mut self.key, &mut self.topic)?;
        self.table = tables.table_at(self.place);
        self.prefixes.take();
        self.levels = levels(topic);
        self.spelled.clear();
        self.spelled.push_str(topic);
        Ok(())
    }
}

/// How many levels a topic or filter has.
pub(crate) fn levels(topic: &str) -> usize {
    topic.bytes().filter(|&byte| byte == b'/').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::proposal::Durability;
    use crate::schema::TableIndex;
    use crate::schema::{Schema, Source};

    fn tables(schema: &str) -> Tables {
        let schema = Schema::parse(&[Source::new("schema.graphql", schema)]).expect("a schema");
        Tables::new(Catalog::new(schema), Durability::Sync, |table| TableId(64 + table.index.0))
    }

    fn dogs() -> Tables {
        tables("type Dog @table @export { id: ID @id } type Counter @table @export { id: Int @id }")
    }

    #[test]
    fn a_topic_is_found_as_its_table_has_it_however_often() {
        let (mut places, tables) = (Places::default(), dogs());
        for _ in 0..3 {
            for (spelled, topic, table, place) in [
                ("Dog/7", "Dog/7", 64, Place::Record(TableIndex(0))),
                ("dog/7", "Dog/7", 64, Place::Record(TableIndex(0))),
                ("dog", "Dog", 64, Place::Channel(TableIndex(0))),
                ("counter/007", "Counter/7", 65, Place::Record(TableIndex(1))),
                ("home/7", "home/7", 0, Place::Open),
            ] {
                let Ok(spot) = places.find(&tables, spelled) else { panic!("{spelled} has a place") };
                assert_eq!((&*spot.topic, spot.table, spot.place), (topic, TableId(table), place), "{spelled}");
                let mut again = String::new();
                assert!(tables.topic(spot.table, &spot.key, &mut again) && again == topic, "{spelled}: its key");
            }
            assert!(places.find(&tables, "counter/x").is_err());
        }
        assert_eq!(places.slots.iter().flatten().count(), 5);
    }

    #[test]
    fn topics_that_share_a_slot_are_told_apart() {
        let (mut places, tables) = (Places::default(), dogs());
        let held = places.find(&tables, "dog/0").expect("a place");
        for number in (0..3 * PLACES_MAX).chain(0..3 * PLACES_MAX) {
            let spot = places.find(&tables, &format!("dog/{number}")).expect("a place");
            assert_eq!(spot.topic, format!("Dog/{number}"));
        }
        assert_eq!(places.slots.len(), PLACES_MAX);
        assert_eq!(held.topic, "Dog/0", "what is in use is left as it is");
    }

    #[test]
    fn long_topics_are_not_kept() {
        let (mut places, tables) = (Places::default(), dogs());
        let longest = format!("dog/{}", "x".repeat(PLACE_TOPIC_BYTES_MAX - 4));
        for (topic, kept) in [(format!("{longest}x"), 0), (longest, 1)] {
            assert_eq!(places.find(&tables, &topic).map(|spot| spot.topic.len()), Ok(topic.len()));
            assert_eq!(places.slots.iter().flatten().count(), kept);
        }
    }

    #[test]
    fn no_place_is_kept_from_tables_that_were() {
        let mut places = Places::default();
        assert_eq!(places.find(&dogs(), "dog/1").map(|spot| spot.table), Ok(TableId(64)));
        places.clear();
        let cats = tables("type Cat @table @export { id: ID @id }");
        assert_eq!(places.find(&cats, "dog/1").map(|spot| spot.table), Ok(TableId::TOPICS));
    }
}
