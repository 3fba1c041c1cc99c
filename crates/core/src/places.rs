//! Where the records of topics are that clients published to lately: resolved once, not with each message.
//!
//! Each topic has one slot that it may be in, by its hash, and gets it when it is asked for twice in a row there. So the
//! number of slots is the bound, and of more topics than that, each asked for in turn, some stay and the others cost
//! little more than without any of this. There are so few of them that they stay in a core's cache: what has to be fetched
//! from memory is no faster than resolving the topic again.

use crate::interest::Kept;
use crate::limits::{PLACE_TOPIC_BYTES_MAX, PLACES_MAX};
use crate::position::TableId;
use crate::reach::Prefixes;
use crate::tables::{Place, PlaceError, Tables};
use rustc_hash::FxHasher;
use std::cell::{Cell, OnceCell};
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
    /// Whether somebody may come back for an event, and after how many changes that was so.
    pub durable: Cell<Option<(u64, bool)>>,
    /// Who on this shard wants an event.
    pub wanted: Kept,
}

/// The topics published to lately on one shard.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// None at all, or [`PLACES_MAX`].
    slots: Vec<Slot>,
    /// Where topics are resolved that are not kept.
    passing: Rc<Spot>,
}

/// The topic that has this slot, and the hash of it and of the last one that asked for it in vain: two numbers beside
/// each other say that a topic is not there, without a look at one that has not been used for a while.
#[derive(Clone, Debug, Default)]
struct Slot {
    hash: u32,
    asked: u32,
    spot: Option<Rc<Spot>>,
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
            self.slots.resize(PLACES_MAX, Slot::default());
        }
        let hash = hash(topic);
        let slot = &mut self.slots[hash as usize % PLACES_MAX];
        let hash = (hash >> 32) as u32;
        match &slot.spot {
            Some(spot) if slot.hash == hash && spot.spelled == topic => {
                slot.asked = hash;
                Ok(Rc::clone(spot))
            }
            Some(_) if slot.asked != hash => {
                slot.asked = hash;
                resolve(&mut self.passing, tables, topic)
            }
            _ => {
                let mut spot = slot.spot.take().unwrap_or_default();
                let resolved = resolve(&mut spot, tables, topic)?;
                *slot = Slot { hash, asked: hash, spot: Some(spot) };
                Ok(resolved)
            }
        }
    }

    /// Forgets all: the tables changed.
    pub(crate) fn clear(&mut self) {
        self.slots = Vec::new();
    }
}

/// Resolves `topic` in the buffers of `spot`, unless somebody still has that.
fn resolve(spot: &mut Rc<Spot>, tables: &Tables, topic: &str) -> Result<Rc<Spot>, PlaceError> {
    if Rc::get_mut(spot).is_none() {
        *spot = Rc::default();
    }
    Rc::get_mut(spot).expect("nobody else has it").become_of(tables, topic)?;
    Ok(Rc::clone(spot))
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
            durable: Cell::new(None),
            wanted: Kept::default(),
        }
    }
}

impl Spot {
    /// Those of the topic, found when they are asked for: what depends on a record has no need of them.
    pub(crate) fn prefixes(&self) -> &Prefixes {
        self.prefixes.get_or_init(|| Prefixes::of(&self.topic))
    }

    fn become_of(&mut self, tables: &Tables, topic: &str) -> Result<(), PlaceError> {
        self.place = tables.place(topic, &mut self.key, &mut self.topic)?;
        self.table = tables.table_at(self.place);
        self.prefixes.take();
        self.durable.set(None);
        self.wanted = Kept::default();
        self.levels = level_count(topic);
        self.spelled.clear();
        self.spelled.push_str(topic);
        Ok(())
    }
}

/// How many levels a topic or filter has.
pub(crate) fn level_count(topic: &str) -> usize {
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

    fn kept(places: &Places) -> usize {
        places.slots.iter().filter(|slot| slot.spot.is_some()).count()
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
        assert_eq!(kept(&places), 5);
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
    fn a_slot_goes_to_a_topic_that_asks_twice_in_a_row() {
        let (mut places, tables) = (Places::default(), dogs());
        let slot_of = |topic: &str| hash(topic) as usize % PLACES_MAX;
        let first = "dog/0";
        let others: Vec<String> = (1..)
            .map(|number| format!("dog/{number}"))
            .filter(|topic| slot_of(topic) == slot_of(first))
            .take(2)
            .collect();
        let holder = |places: &Places| places.slots[slot_of(first)].spot.as_ref().map(|spot| spot.spelled.clone());
        for (asked, held) in [
            (first, first),
            (&others[0], first),
            (&others[1], first),
            (&others[0], first),
            (first, first),
            (&others[0], first),
            (&others[0], &others[0]),
            (first, &others[0]),
        ] {
            let spot = places.find(&tables, asked).expect("a place");
            assert!(spot.topic.eq_ignore_ascii_case(asked), "{asked}");
            assert_eq!(holder(&places).as_deref(), Some(held), "after {asked}");
        }
    }

    #[test]
    fn long_topics_are_not_kept() {
        let (mut places, tables) = (Places::default(), dogs());
        let longest = format!("dog/{}", "x".repeat(PLACE_TOPIC_BYTES_MAX - 4));
        for (topic, number) in [(format!("{longest}x"), 0), (longest, 1)] {
            assert_eq!(places.find(&tables, &topic).map(|spot| spot.topic.len()), Ok(topic.len()));
            assert_eq!(kept(&places), number);
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
