//! Every right with every way to use it: each cell of the matrix says whether it is allowed, and both are tried.
//!
//! Roles are all combinations of the five rights on one table, with all attributes or one only. What must come of a
//! role is worked out from its letters (`r`, `i`, `u`, `d`, `p`), not written down cell by cell.

use crate::Node;
use crate::node::{Setup, SocketId};
use crate::script::read_role;
use crate::store::Store;
use crate::text;
use rowcast_codec::{Packet, Version, frame_length};
use rowcast_core::limits::Limits;
use rowcast_core::policy::Role;
use std::collections::BTreeMap;

/// A role by its letters, and whether it is confined to the attribute `name`.
#[derive(Clone, Copy, Debug)]
struct Letters {
    rights: u8,
    confined: bool,
}

impl Letters {
    fn all() -> impl Iterator<Item = Letters> {
        (0..32).flat_map(|rights| [false, true].map(|confined| Letters { rights, confined }))
    }

    /// Those that differ in what they may read: alone or with all else, or all else without.
    fn of_readers() -> impl Iterator<Item = Letters> {
        let read = 1 << RIGHTS.find('r').expect("a right");
        Letters::all().filter(move |letters| matches!(letters.rights & !read, 0 | 0b11110))
    }

    fn has(self, right: char) -> bool {
        let place = RIGHTS.find(right).expect("a right");
        self.rights & 1 << place != 0
    }

    fn role(self) -> Role {
        let rights: String = RIGHTS.chars().filter(|&right| self.has(right)).collect();
        let confined = if self.confined { " Dog.name=riu" } else { "" };
        read_role(&format!("Dog={rights}{confined}")).expect("a role").expect("a role")
    }
}

const RIGHTS: &str = "riudp";
/// What a role of everything on the table is written as.
const FULL: &str = "Dog=riudp";

/// A node with `bob`, who has the role `r`, and `root`, who may do everything.
struct Lab {
    node: Node,
    clients: BTreeMap<&'static str, (SocketId, Version, Vec<u8>)>,
}

impl Lab {
    fn new(role: Role) -> Lab {
        let setup =
            Setup { shards: 2, limits: Limits::default(), open_topics: true, close_on_rejected: false, seed: 1 };
        let mut lab = Lab { node: Node::new(setup, Store::default()), clients: BTreeMap::new() };
        lab.set_role(role);
        lab.node.set_account("bob", Some("r"));
        lab.node.settle();
        assert_eq!(lab.say(ROOT, "CONNECT v5 clean"), ["CONNACK"]);
        lab
    }

    fn set_role(&mut self, role: Role) {
        self.node.set_role("r", Some(role));
        self.node.settle();
    }

    /// What a client hears upon what it says.
    fn say(&mut self, who: &'static str, packet: &str) -> Vec<String> {
        if packet.starts_with("CONNECT") {
            let socket = self.node.connect(usize::from(who == BOB), who == ROOT, false);
            self.clients.insert(who, (socket, Version::V5, Vec::new()));
        }
        let (socket, version, _) = self.clients.get_mut(who).expect("a client");
        let bytes = text::encode(packet, who, version).unwrap_or_else(|mistake| panic!("{packet}: {mistake}"));
        self.node.send(*socket, &bytes);
        self.hear(who)
    }

    fn drop(&mut self, who: &'static str) {
        self.node.lose(self.clients[who].0);
        self.node.settle();
    }

    /// What a client has heard by now and not been asked for.
    fn hear(&mut self, who: &'static str) -> Vec<String> {
        self.node.settle();
        let (socket, version, partial) = self.clients.get_mut(who).expect("a client");
        partial.append(self.node.received(*socket));
        let mut heard = Vec::new();
        while let Ok(Some(length)) = frame_length(partial, u32::MAX) {
            if partial.len() < length {
                break;
            }
            let frame: Vec<u8> = partial.drain(..length).collect();
            let packet = Packet::decode(*version, &frame).expect("a packet");
            heard.push(text::describe(&packet, *version, &Limits::default()));
        }
        heard
    }
}

const BOB: &str = "bob";
const ROOT: &str = "root";
const OLD: &str = r#"PUBLISH 1 Dog/old qos=1 retain '{"name":"Rex","age":3}'"#;

// Reading --------------------------------------------------------------------------------------------------------------

/// How a message reaches a subscriber.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// As the state there is when it subscribes.
    State,
    /// As it is put, sent or deleted.
    Live,
    Event,
    Delete,
    /// When it comes back.
    Away,
    /// Once more, because it did not acknowledge it before.
    Again,
    /// As the past.
    Past,
    /// By a group.
    Group,
}

const WAYS: [Way; 8] = [Way::State, Way::Live, Way::Event, Way::Delete, Way::Away, Way::Again, Way::Past, Way::Group];
const FILTERS: [&str; 5] = ["Dog/old", "Dog/#", "Dog/+", "+/old", "#"];
const CONNECTS: [&str; 2] =
    ["CONNECT v5 expiry=60 user=bob password=x id=bob", "CONNECT v3.1.1 user=bob password=x id=bob"];

/// When bob gets the role that is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum When {
    Before,
    /// After it has subscribed with all rights.
    Subscribed,
}

#[test]
fn every_way_to_read_takes_the_right_to_read() {
    let mut cells = 0;
    for letters in Letters::of_readers() {
        for way in WAYS {
            for filter in FILTERS {
                for (connect, when) in CONNECTS.into_iter().flat_map(|c| [(c, When::Before), (c, When::Subscribed)]) {
                    let is_v5 = connect.contains("v5");
                    let is_over = when == When::Subscribed && matches!(way, Way::State | Way::Past);
                    if is_over || (way == Way::Past && !is_v5) {
                        continue; // What came on subscribing came with the rights of then.
                    }
                    read(letters, way, filter, connect, when);
                    cells += 1;
                }
            }
        }
    }
    assert_eq!(cells, 1080);
}

fn read(letters: Letters, way: Way, filter: &str, connect: &str, when: When) {
    let cell = format!("{letters:?} {way:?} {filter} {connect} {when:?}");
    let full = || read_role(FULL).expect("a role").expect("a role");
    let mut lab = Lab::new(if when == When::Before { letters.role() } else { full() });
    let may_read = letters.has('r');
    if !matches!(way, Way::Live | Way::Away | Way::Again | Way::Group) {
        lab.say(ROOT, OLD);
    }
    let connacks = lab.say(BOB, connect);
    assert!(connacks[0].starts_with("CONNACK"), "{cell}: {connacks:?}");
    let subscribe = match way {
        Way::Past => format!("SUBSCRIBE 1 {filter} qos=1 prop=rowcast-since:0"),
        Way::Group => format!("SUBSCRIBE 1 $share/g/{filter} qos=1"),
        _ => format!("SUBSCRIBE 1 {filter} qos=1"),
    };
    let mut heard = lab.say(BOB, &subscribe);
    assert!(!heard.is_empty(), "{cell}");
    let suback = heard.remove(0);
    let is_granted = when == When::Subscribed || may_read;
    let code = if connect.contains("v5") { "0x87" } else { "0x80" };
    let expected = if is_granted { "granted=1" } else { code };
    assert!(suback.starts_with("SUBACK 1") && suback.contains(expected), "{cell}: {suback}");
    if !matches!(way, Way::State | Way::Past) {
        heard.clear(); // The state, with the rights of then.
    }
    let change = match way {
        Way::Live | Way::Again | Way::Group => OLD,
        Way::Away => OLD,
        Way::Event => r#"PUBLISH 2 Dog/old qos=1 '{"age":5}'"#,
        Way::Delete => r#"PUBLISH 2 Dog/old qos=1 retain """#,
        Way::State | Way::Past => "PINGREQ",
    };
    match way {
        Way::Away => {
            lab.drop(BOB);
            lab.set_role(letters.role());
            lab.say(ROOT, change);
            heard = lab.say(BOB, connect);
            heard.remove(0);
        }
        Way::Again => {
            lab.say(ROOT, change);
            lab.drop(BOB);
            lab.set_role(letters.role());
            heard = lab.say(BOB, connect);
            heard.remove(0);
        }
        _ => {
            lab.set_role(letters.role());
            lab.say(ROOT, change);
            heard.extend(lab.hear(BOB));
        }
    }
    let shown = match way {
        Way::Delete => r#" """#,
        Way::Event => r#"'{"age":5}'"#,
        _ if letters.confined => r#"'{"id":"old","name":"Rex"}'"#,
        _ => r#"'{"id":"old","name":"Rex","age":3}'"#,
    };
    match may_read {
        true => {
            assert!(heard.iter().any(|line| line.starts_with("PUBLISH") && line.ends_with(shown)), "{cell}: {heard:?}");
        }
        false => assert!(heard.is_empty(), "{cell}: {heard:?}"),
    }
    let hidden = ["age", "3"].iter().any(|secret| heard.iter().any(|line| line.contains(secret)));
    let is_event = way == Way::Event;
    assert!(!(hidden && letters.confined && !is_event), "{cell}: {heard:?}");
}

#[test]
fn a_request_takes_the_right_to_read() {
    for letters in Letters::all() {
        for (key, status) in [("old", "found"), ("new", "none")] {
            let mut role = letters.role();
            role.topics = read_role("answers/bob=rp").expect("a role").expect("a role").topics;
            let mut lab = Lab::new(role);
            lab.say(ROOT, OLD);
            lab.say(BOB, CONNECTS[0]);
            lab.say(BOB, "SUBSCRIBE 1 answers/bob");
            let heard = lab.say(BOB, &format!("PUBLISH 1 $get/Dog/{key} qos=1 response=answers/bob \"\""));
            let cell = format!("{letters:?} {key}: {heard:?}");
            let text = heard.join("\n");
            match letters.has('r') {
                true => assert!(text.contains(&format!("rowcast-status:{status}")), "{cell}"),
                false => assert_eq!(heard, [r#"PUBACK 1 0x87 reason="not allowed""#], "{cell}"),
            }
            assert!(!(letters.confined && text.contains("age")), "{cell}");
        }
    }
}

// Writing --------------------------------------------------------------------------------------------------------------

/// What bob publishes, the right it takes, and whether it names an attribute beyond `name`.
const WRITES: [(&str, char, bool); 10] = [
    (r#"Dog/new qos=1 retain '{"name":"New"}'"#, 'i', false),
    (r#"Dog/new qos=1 retain '{"name":"New","age":1}'"#, 'i', true),
    (r#"Dog/old qos=1 retain '{"name":"New"}'"#, 'u', false),
    (r#"Dog/old qos=1 retain '{"age":1}'"#, 'u', true),
    (r#"Dog/new qos=1 retain content_type=application/merge-patch+json '{"name":"New"}'"#, 'i', false),
    (r#"Dog/old qos=1 retain content_type=application/merge-patch+json '{"name":"New"}'"#, 'u', false),
    (r#"Dog/old qos=1 retain content_type=application/merge-patch+json '{"age":null}'"#, 'u', true),
    (r#"Dog/old qos=1 retain """#, 'd', false),
    (r#"Dog/old qos=1 '{"age":1}'"#, 'p', false),
    (r#"Dog qos=1 "to all""#, 'p', false),
];

fn is_allowed(letters: Letters, right: char, is_beyond: bool) -> bool {
    letters.has(right) && !(letters.confined && is_beyond)
}

#[test]
fn every_way_to_write_takes_its_right() {
    for letters in Letters::all() {
        for (write, right, is_beyond) in WRITES {
            for (connect, is_v5) in [(CONNECTS[0], true), (CONNECTS[1], false)] {
                if !is_v5 && write.contains("content_type") {
                    continue;
                }
                let cell = format!("{letters:?} {write} {connect}");
                let allowed = is_allowed(letters, right, is_beyond);
                let mut lab = Lab::new(letters.role());
                lab.say(ROOT, OLD);
                lab.say(ROOT, "SUBSCRIBE 2 #");
                lab.say(BOB, connect);
                let heard = lab.say(BOB, &format!("PUBLISH 1 {write}"));
                let puback = heard.first().map(String::as_str).unwrap_or_default();
                assert!(puback.starts_with("PUBACK 1"), "{cell}: {heard:?}");
                assert_eq!(puback.contains("0x87"), is_v5 && !allowed, "{cell}: {puback}");
                assert_eq!(lab.hear(ROOT).len(), usize::from(allowed), "{cell}");
            }
        }
    }
}

#[test]
fn a_put_erases_nothing_its_author_may_not_change() {
    for letters in Letters::all().filter(|letters| letters.has('u')) {
        let mut lab = Lab::new(letters.role());
        lab.say(ROOT, OLD);
        lab.say(ROOT, "SUBSCRIBE 2 Dog/old");
        lab.say(BOB, CONNECTS[0]);
        lab.say(BOB, r#"PUBLISH 1 Dog/old qos=1 retain '{"name":"New"}'"#);
        let heard = lab.hear(ROOT);
        assert_eq!(heard[0].contains(r#""age":3"#), letters.confined, "{letters:?}: {heard:?}");
    }
}

/// Wills by the right they take when they are published; any that could be allowed may be set.
const WILLS: [(&str, &str, bool); 4] = [
    (r#"will=Dog/new will_retain will_payload='{"name":"New"}'"#, "i", false),
    (r#"will=Dog/old will_retain will_payload='{"name":"New"}'"#, "u", false),
    (r#"will=Dog/old will_retain will_payload='{"age":1}'"#, "u", true),
    (r#"will=Dog/old will_payload='{"age":1}'"#, "p", false),
];

#[test]
fn a_will_takes_its_right_when_it_is_set_and_when_it_is_published() {
    for letters in Letters::all() {
        for (will, rights, is_beyond) in WILLS {
            for when in [When::Before, When::Subscribed] {
                let cell = format!("{letters:?} {will} {when:?}");
                let full = || read_role(FULL).expect("a role").expect("a role");
                let mut lab = Lab::new(if when == When::Before { letters.role() } else { full() });
                lab.say(ROOT, OLD);
                lab.say(ROOT, "SUBSCRIBE 2 #");
                let heard = lab.say(BOB, &format!("CONNECT v5 clean user=bob password=x {will}"));
                let right = rights.chars().next().expect("a right");
                let could = if right == 'p' { letters.has('p') } else { letters.has('i') || letters.has('u') };
                let is_set = when == When::Subscribed || (could && !(letters.confined && is_beyond));
                assert_eq!(heard[0].contains("0x87"), !is_set, "{cell}: {heard:?}");
                lab.set_role(letters.role());
                lab.drop(BOB);
                let is_published = is_set && is_allowed(letters, right, is_beyond);
                assert_eq!(lab.hear(ROOT).len(), usize::from(is_published), "{cell}");
            }
        }
    }
}
