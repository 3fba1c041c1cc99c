//! What groups that share a subscription owe their members: each message to one of them, and none lost.

use crate::book::{Book, Kind, Message, is_hidden};
use crate::client::{Client, GROUPS, Nature};
use rowcast_codec::{Publish, QoS, Topic, TopicFilter};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(crate) struct Groups([Group; GROUPS.len()]);

#[derive(Default)]
struct Group {
    /// Who was handed a message.
    holders: BTreeMap<usize, Vec<Holder>>,
    /// Messages that some member must get in the end.
    expected: BTreeSet<usize>,
    got: BTreeSet<usize>,
    /// Whether a lasting session keeps it.
    kept: bool,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    client: usize,
    qos: QoS,
    hold: Hold,
    /// Another may get it after a crash, if that was not written down: its session has ended, or may not read it any more.
    is_loose: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hold {
    /// It has it: nobody else is to get it.
    Has,
    /// It has acknowledged it, or got it with QoS 0, or has ended and got it with QoS 2: nobody is to get it any more.
    Over,
    /// Another may get it.
    Returned,
}

/// What happened to a client, as far as groups are concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Note {
    /// Its connection ended.
    Left,
    /// Its session ended.
    Ended,
    /// The server has heard that a message was acknowledged: of which group, which.
    Acknowledged(usize, usize),
}

impl Groups {
    /// A message was published.
    pub(crate) fn expect(&mut self, message: &Message, number: usize) {
        let kept = message.qos > QoS::AtMostOnce && message.kind != Kind::Delete;
        if !kept || message.expires() || message.condition.is_some() {
            return;
        }
        for (group, filter) in self.0.iter_mut().zip(GROUPS) {
            let filter = TopicFilter::new(filter).expect("a filter");
            if group.kept && filter.matches(&Topic::new(message.topic).expect("a topic")) {
                group.expected.insert(number);
            }
        }
    }

    /// Who keeps which group, at `now`.
    pub(crate) fn look(&mut self, clients: &[Client], now: u64) {
        for (index, group) in self.0.iter_mut().enumerate() {
            // A session whose time may have run out may have given back what it had.
            let may_have_ended = |holder: &&mut Holder| {
                let client = &clients[holder.client];
                let has_one = holder.hold == Hold::Has && holder.qos == QoS::AtLeastOnce;
                has_one && client.is_durable() && !client.surely_has_session(now)
            };
            let holders = group.holders.values_mut().flatten().filter(may_have_ended);
            holders.for_each(|holder| holder.hold = Hold::Returned);
            let keeps = |client: &&Client| {
                let lasts = client.is_durable() && client.nature.share_qos > QoS::AtMostOnce;
                lasts && client.is_in(index) && client.surely_has_session(now)
            };
            group.kept = clients.iter().any(|client| keeps(&client));
            if !group.kept {
                group.forget();
            }
        }
    }

    /// A session is gone, which its client need not have seen: what it had is others'.
    pub(crate) fn end_session(&mut self, client: usize) {
        let holders = self.0.iter_mut().flat_map(|group| group.holders.values_mut()).flatten();
        let had = holders.filter(|holder| holder.client == client && holder.qos == QoS::AtLeastOnce);
        had.filter(|holder| holder.hold == Hold::Has).for_each(|holder| holder.hold = Hold::Returned);
    }

    /// The log was cut before a group had read it.
    pub(crate) fn lose_events(&mut self, key: &str) {
        for (group, _) in self.0.iter_mut().zip(GROUPS).filter(|(_, filter)| filter.eq_ignore_ascii_case(key)) {
            group.forget();
        }
    }

    /// A message is heard. `hold`: whether it is the member's.
    pub(crate) fn on_delivery(
        &mut self,
        group: usize,
        (client, hold): (usize, Hold),
        number: usize,
        publish: &Publish<'_>,
        book: &Book,
    ) -> Result<(), String> {
        let group = &mut self.0[group];
        group.got.insert(number);
        let holders = group.holders.entry(number).or_default();
        let message = &book.messages[number];
        // Who gets one again must be who has it; else nobody may have it yet, or any more.
        let is_its_own = |holder: &Holder| holder.client == client && holder.hold == Hold::Has && publish.dup;
        let mut others = holders.iter().filter(|other| other.hold != Hold::Returned && !is_its_own(other));
        // What is heard of a connection that has ended went back to the group before another got it.
        let is_late = hold == Hold::Returned && publish.qos == QoS::AtLeastOnce;
        // Who may not read any more what it had gives it back, which need not be written down yet when the node crashes.
        let may_be_given_back = book.guards && is_hidden(message.topic) && publish.qos == QoS::AtLeastOnce;
        let is_free = message.may_repeat() || is_late || may_be_given_back;
        if let Some(other) = others.next().filter(|_| !is_free) {
            return Err(format!("{number} is given to client-{client} as well: {other:?}"));
        }
        holders.retain(|holder| holder.client != client);
        let is_loose = hold == Hold::Returned;
        let hold = match (publish.qos, hold) {
            (QoS::AtMostOnce, _) | (QoS::ExactlyOnce, Hold::Returned) => Hold::Over,
            (_, hold) => hold,
        };
        holders.push(Holder { client, qos: publish.qos, hold, is_loose });
        Ok(())
    }

    /// A message came by this group, or by another way.
    pub(crate) fn may_have_come(&mut self, group: usize, number: usize) {
        self.0[group].got.insert(number);
    }

    /// Nothing can be written down, not even that a member has acknowledged what it had.
    pub(crate) fn excuse(&mut self, client: usize) {
        let holders = self.0.iter_mut().flat_map(|group| group.holders.values_mut()).flatten();
        for holder in holders.filter(|holder| holder.client == client && holder.qos > QoS::AtMostOnce) {
            if holder.hold == Hold::Over {
                holder.hold = Hold::Has;
            }
        }
    }

    pub(crate) fn note(&mut self, client: usize, nature: &Nature, note: Note) {
        let is_durable = nature.expiry_secs > 0;
        for (index, group) in self.0.iter_mut().enumerate() {
            for (&number, holders) in &mut group.holders {
                for holder in holders.iter_mut().filter(|holder| holder.client == client) {
                    holder.is_loose |= matches!(note, Note::Ended);
                    let returned = if holder.qos == QoS::ExactlyOnce { Hold::Over } else { Hold::Returned };
                    match note {
                        Note::Acknowledged(of, which) if of == index && which == number => holder.hold = Hold::Over,
                        Note::Left if !is_durable && holder.hold == Hold::Has => holder.hold = returned,
                        Note::Ended if holder.hold == Hold::Has => holder.hold = returned,
                        _ => {}
                    }
                }
            }
            // With QoS 2 nobody else gets what a session had begun [MQTT-4.8.2-5], and it may have begun any; with QoS 0
            // what was on the way is gone.
            let loses = match (note, nature.share_qos) {
                (Note::Acknowledged(..), _) | (_, QoS::AtLeastOnce) => false,
                (Note::Left, QoS::AtMostOnce) | (Note::Ended, _) => true,
                (Note::Left, QoS::ExactlyOnce) => !is_durable,
            };
            if loses {
                group.forget();
            }
        }
    }

    /// The node starts again: what members without a lasting session had may go to others, and what they got with QoS 0.
    pub(crate) fn restarted(&mut self, clients: &[Client]) {
        for holders in self.0.iter_mut().flat_map(|group| group.holders.values_mut()) {
            for holder in holders {
                holder.hold = match holder.hold {
                    _ if !clients[holder.client].is_durable() || holder.qos == QoS::AtMostOnce => Hold::Returned,
                    // That need not be written down yet; then it is still its own, or the group's.
                    Hold::Over if holder.is_loose && holder.qos == QoS::AtLeastOnce => Hold::Returned,
                    Hold::Over => Hold::Has,
                    hold => hold,
                };
            }
        }
    }

    /// Whether a member was given a message, whatever it has done with it.
    pub(crate) fn holds(&self, group: usize, client: usize, number: usize) -> bool {
        let holders = self.0[group].holders.get(&number);
        holders.is_some_and(|holders| holders.iter().any(|holder| holder.client == client))
    }

    /// Everything has settled: some member got what some member must get.
    pub(crate) fn check_complete(&self, book: &Book) -> Result<(), String> {
        for (group, filter) in self.0.iter().zip(GROUPS) {
            let lost = |number: &&usize| book.messages[**number].must_have_come() && !group.got.contains(*number);
            if let Some(number) = group.expected.iter().find(lost) {
                let topic = book.messages[*number].topic;
                return Err(format!("no member of {filter} got {number} on {topic}: {:?}", group.holders.get(number)));
            }
        }
        Ok(())
    }
}

impl Group {
    /// What nobody has yet need not come any more.
    fn forget(&mut self) {
        self.expected.retain(|number| self.got.contains(number));
    }
}
