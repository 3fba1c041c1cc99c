//! Who holds a filter: mostly one client, sometimes all there are.

use super::{Subscriber, Subscription};
use rustc_hash::FxHashMap;

/// The subscriptions of one filter, one for each subscriber and spelling.
///
/// Invariant: none, one, or more than one, as it says.
#[derive(Default, Debug)]
pub(super) enum Holders {
    #[default]
    None,
    One(Box<Subscription>),
    Many(Box<FxHashMap<Key, Subscription>>),
}

/// Subscriber and spelling.
type Key = (Subscriber, u32);

const fn key_of(subscription: &Subscription) -> Key {
    (subscription.subscriber, subscription.spelling)
}

impl Holders {
    pub(super) const fn is_empty(&self) -> bool {
        matches!(self, Holders::None)
    }

    /// Adds one, or puts it in the place of one with the same subscriber and spelling, which is returned.
    pub(super) fn insert(&mut self, subscription: Subscription) -> Option<Subscription> {
        match self {
            Holders::None => {
                *self = Holders::One(Box::new(subscription));
                None
            }
            Holders::One(one) if key_of(one) == key_of(&subscription) => {
                Some(std::mem::replace(&mut **one, subscription))
            }
            Holders::One(one) => {
                let both = [**one, subscription].map(|holder| (key_of(&holder), holder));
                *self = Holders::Many(Box::new(both.into_iter().collect()));
                None
            }
            Holders::Many(many) => many.insert(key_of(&subscription), subscription),
        }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Subscription> {
        match self {
            Holders::One(one) if key_of(one) == key => {
                let removed = **one;
                *self = Holders::None;
                Some(removed)
            }
            Holders::None | Holders::One(_) => None,
            Holders::Many(many) => {
                let removed = many.remove(&key);
                if let (1, Some(last)) = (many.len(), many.values().next().copied()) {
                    *self = Holders::One(Box::new(last));
                }
                removed
            }
        }
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Subscription> {
        match self {
            Holders::One(one) => Some(&mut **one).filter(|one| key_of(one) == key),
            Holders::None => None,
            Holders::Many(many) => many.get_mut(&key),
        }
    }

    /// Appends all of them.
    pub(super) fn collect(&self, found: &mut Vec<Subscription>) {
        match self {
            Holders::None => {}
            Holders::One(one) => found.push(**one),
            Holders::Many(many) => found.extend(many.values()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_come_and_go() {
        let subscription = |subscriber: u32, spelling: u32, guarded: bool| Subscription {
            spelling,
            guarded,
            ..Subscription::of(Subscriber(subscriber))
        };
        let [one, other, third] = [subscription(1, 0, false), subscription(1, 7, false), subscription(2, 0, false)];
        let count = |holders: &Holders| {
            let mut found = Vec::new();
            holders.collect(&mut found);
            found.len()
        };
        let mut holders = Holders::default();
        assert_eq!((holders.insert(one), holders.remove((Subscriber(1), 7)), count(&holders)), (None, None, 1));
        assert_eq!(holders.insert(subscription(1, 0, true)), Some(one));
        assert_eq!((holders.insert(one).map(|replaced| replaced.guarded), count(&holders)), (Some(true), 1));
        assert_eq!((holders.insert(other), holders.insert(third), count(&holders)), (None, None, 3));
        assert_eq!((holders.insert(third), holders.remove((Subscriber(3), 0))), (Some(third), None));
        assert_eq!(holders.get_mut((Subscriber(1), 7)).copied(), Some(other));
        assert_eq!(
            (holders.remove((Subscriber(1), 7)), holders.remove((Subscriber(2), 0))),
            (Some(other), Some(third))
        );
        assert!(matches!(holders, Holders::One(_)), "as small as it was");
        assert_eq!(holders.get_mut((Subscriber(2), 0)), None);
        assert_eq!(holders.get_mut((Subscriber(1), 0)).copied(), Some(one));
        assert_eq!((holders.remove((Subscriber(1), 0)), holders.is_empty(), count(&holders)), (Some(one), true, 0));
    }
}
