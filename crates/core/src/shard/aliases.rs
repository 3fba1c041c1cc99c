//! Topic aliases we give to a client (MQTT 5 §3.3.2.3.4). Those it gives us are in `publish`.

use crate::names::NameMap;
use rowcast_codec::Message;
use rustc_hash::FxHasher;
use std::hash::Hasher;

/// Aliases of one connection. Half of them are for the topics that come first, the others for those that come a second
/// time, so that many topics sent once leave some. Whoever has one keeps it until the connection ends, so a message may
/// be held back without changing what those that overtake it mean.
#[derive(Debug)]
pub(super) struct Aliases {
    maximum: u16,
    given: NameMap<Box<str>, u16>,
    /// Hashes of topics that were sent, each in the place it says: another one's takes it over.
    sent: Vec<u64>,
}

/// How a topic is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Written {
    /// In full, and this alias stands for it from now on.
    Introduced(u16),
    /// This alias stands for it.
    Aliased(u16),
}

impl Written {
    /// A message with its topic in full, written so.
    pub(super) fn spell(self, message: Message<'_>) -> Message<'_> {
        match self {
            Written::Introduced(alias) => Message { topic_alias: Some(alias), ..message },
            Written::Aliased(alias) => Message { topic: "", topic_alias: Some(alias), ..message },
        }
    }
}

/// Bytes of topics that have an alias: below it nothing is gained, above it a client would make us keep too much.
const TOPIC_BYTES: std::ops::RangeInclusive<usize> = 4..=1024;

impl Aliases {
    /// As many as the client takes and we give; `None`: it takes none.
    pub(super) fn new(maximum: u16) -> Option<Box<Aliases>> {
        (maximum > 0).then(|| Box::new(Aliases { maximum, given: NameMap::default(), sent: Vec::new() }))
    }

    /// How to write a topic; `None`: in full, and that is all. Nothing is remembered before it was
    /// [sent](Self::on_sent).
    pub(super) fn written(&self, topic: &str) -> Option<Written> {
        if let Some(&alias) = self.given.get(topic) {
            return Some(Written::Aliased(alias));
        }
        let next = self.given.len() as u16 + 1;
        let is_due = match next {
            next if next <= self.maximum.div_ceil(2) => TOPIC_BYTES.contains(&topic.len()),
            next if next <= self.maximum => self.sent.get(self.place(topic)) == Some(&hash(topic)),
            _ => false,
        };
        is_due.then_some(Written::Introduced(next))
    }

    /// A topic was sent so.
    pub(super) fn on_sent(&mut self, topic: &str, written: Option<Written>) {
        match written {
            Some(Written::Introduced(alias)) => {
                self.given.insert(topic.into(), alias);
            }
            None if self.given.len() < usize::from(self.maximum) && TOPIC_BYTES.contains(&topic.len()) => {
                let (places, place) = (self.places(), self.place(topic));
                self.sent.resize(places, 0);
                self.sent[place] = hash(topic);
            }
            Some(Written::Aliased(_)) | None => {}
        }
    }

    fn place(&self, topic: &str) -> usize {
        (hash(topic) % self.places() as u64) as usize
    }

    /// Twice as many as there are aliases to give: topics that are sent often find each other there.
    fn places(&self) -> usize {
        usize::from(self.maximum) * 2
    }
}

/// Never 0, which stands for nothing.
fn hash(topic: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(topic.as_bytes());
    hasher.finish() | 1 << 63
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_that_come_first_get_an_alias_at_once() {
        let mut aliases = Aliases::new(3).expect("some");
        assert_eq!(send(&mut aliases, "dog/1"), Some(Written::Introduced(1)));
        assert_eq!(send(&mut aliases, "dog/1"), Some(Written::Aliased(1)));
        assert_eq!(send(&mut aliases, "dog/2"), Some(Written::Introduced(2)));
        assert_eq!(send(&mut aliases, "dog/1"), Some(Written::Aliased(1)));
        assert_eq!(send(&mut aliases, "dog/2"), Some(Written::Aliased(2)));
    }

    #[test]
    fn others_get_theirs_the_second_time() {
        let mut aliases = Aliases::new(2).expect("some");
        send(&mut aliases, "dog/1");
        assert_eq!(send(&mut aliases, "dog/2"), None);
        assert_eq!(send(&mut aliases, "dog/2"), Some(Written::Introduced(2)));
        assert_eq!(send(&mut aliases, "dog/2"), Some(Written::Aliased(2)));
        assert_eq!(send(&mut aliases, "dog/1"), Some(Written::Aliased(1)));
    }

    #[test]
    fn there_are_no_more_than_the_client_takes() {
        assert!(Aliases::new(0).is_none());
        let mut aliases = Aliases::new(1).expect("some");
        send(&mut aliases, "dog/1");
        for _ in 0..3 {
            assert_eq!(send(&mut aliases, "dog/2"), None);
        }
        assert_eq!(send(&mut aliases, "dog/1"), Some(Written::Aliased(1)));
    }

    #[test]
    fn what_was_not_sent_is_not_remembered() {
        let mut aliases = Aliases::new(2).expect("some");
        assert_eq!(aliases.written("dog/1"), Some(Written::Introduced(1)));
        assert_eq!(aliases.written("dog/2"), Some(Written::Introduced(1)));
        send(&mut aliases, "dog/1");
        send(&mut aliases, "dog/2");
        assert_eq!(aliases.written("dog/2"), Some(Written::Introduced(2)));
        assert_eq!(aliases.written("dog/2"), Some(Written::Introduced(2)));
    }

    #[test]
    fn topics_that_are_sent_once_leave_half_of_the_aliases() {
        let mut aliases = Aliases::new(4).expect("some");
        for number in 0..10_000 {
            send(&mut aliases, &format!("dog/{number}"));
        }
        assert_eq!((aliases.given.len(), aliases.sent.len()), (2, 8));
    }

    #[test]
    fn short_topics_and_long_ones_have_none() {
        let mut aliases = Aliases::new(4).expect("some");
        for topic in ["", "abc", &"x".repeat(1025)] {
            for _ in 0..3 {
                assert_eq!(send(&mut aliases, topic), None, "{} bytes", topic.len());
            }
        }
    }

    fn send(aliases: &mut Aliases, topic: &str) -> Option<Written> {
        let written = aliases.written(topic);
        aliases.on_sent(topic, written);
        written
    }
}
