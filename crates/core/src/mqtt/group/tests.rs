use super::*;
use crate::mqtt::window::Shared;
use crate::policy::Rights;
use crate::shard::ConnectionId;
use rustc_hash::FxHashSet;

fn member(client_id: &str, credit: u16) -> Member {
    let slot = u32::from(client_id.as_bytes()[0]);
    let connection = ConnectionId { slot, generation: 1 };
    let id = MemberId { shard: 0, connection, filter: "$share/g/#".into(), entrance: 1 };
    let rights = Rights::Everything;
    Member { id, client_id: client_id.into(), qos: QoS::AtLeastOnce, durable: false, session: 1, credit, rights }
}

fn group(members: &[Member]) -> Group {
    let mut group = Group::new("g/#", Flow::Live, Sequence::ZERO);
    for member in members {
        group.join(member.clone(), &[], Sequence::ZERO);
    }
    group
}

fn offer(number: u64) -> Offer<'static> {
    Offer { number, qos: QoS::AtLeastOnce, table: TableId::TOPICS, topic: "x" }
}

/// Hands out a message; who got it.
fn hand(group: &mut Group, number: u64) -> Option<char> {
    let hand = group.hand(offer(number), || Bytes::from_static(b"x"), Sequence::ZERO)?;
    char::from_u32(hand.to.member.connection.slot)
}

#[test]
fn members_with_room_take_turns() {
    let mut group = group(&[member("a", 2), member("b", 3)]);
    let turns: Vec<_> = (1..=6).map(|number| hand(&mut group, number)).collect();
    assert_eq!(turns, [Some('a'), Some('b'), Some('a'), Some('b'), Some('b'), None]);
    group.done(3);
    assert_eq!((hand(&mut group, 7), hand(&mut group, 8)), (Some('a'), None));
}

#[test]
fn what_a_member_had_not_begun_waits_for_another_when_it_leaves() {
    let (a, b) = (member("a", 5), member("b", 5));
    let mut group = group(std::slice::from_ref(&a));
    for number in 1..=3 {
        hand(&mut group, number);
    }
    group.leave(&a.id, &[2]);
    assert_eq!(group.next(), Next::Nothing);
    group.join(b, &[], Sequence::ZERO);
    assert_eq!(group.next(), Next::Hand(1));
    assert!(group.take_waiting(1).is_some());
    assert_eq!(group.next(), Next::Hand(3));
    assert!(group.take_waiting(3).is_some());
    assert_eq!(group.next(), Next::Nothing);
    assert!(group.session_ended("a"));
    assert_eq!(group.next(), Next::Hand(2));
}

#[test]
fn what_a_member_that_comes_back_does_not_know_of_waits_again() {
    let (a, again) = (member("a", 5), MemberId { shard: 1, ..member("a", 5).id });
    let mut group = group(std::slice::from_ref(&a));
    for number in 1..=3 {
        hand(&mut group, number);
    }
    group.leave(&a.id, &[1, 2, 3]);
    group.join(Member { id: again, ..a }, &[1, 3], Sequence::ZERO);
    assert_eq!(group.next(), Next::Hand(2));
    assert!(group.take_waiting(2).is_some());
    assert_eq!(group.next(), Next::Nothing);
}

#[test]
fn what_was_handed_out_before_a_refusal_comes_back_and_does_not_refuse_again() {
    let a = member("a", 5);
    let mut group = group(std::slice::from_ref(&a));
    hand(&mut group, 1);
    hand(&mut group, 2);
    group.refused(&a.id, 1, 1, None, usize::MAX);
    assert_eq!(hand(&mut group, 3), None);
    group.room(&a.id, 1);
    group.refused(&a.id, 2, 1, None, usize::MAX);
    assert_eq!(group.next(), Next::Hand(1));
    assert_eq!(group.hand(offer(1), Bytes::new, Sequence::ZERO).map(|hand| hand.turn), Some(1));
}

#[test]
fn what_is_not_acknowledged_is_nobodys_to_have_in_hand() {
    let a = member("a", 1);
    let mut group = group(std::slice::from_ref(&a));
    let event = Bytes::from_static(b"event");
    let offer = |number| Offer { qos: QoS::AtMostOnce, ..offer(UNLOGGED | number) };
    let mut hand_out = |number| group.hand(offer(number), || event.clone(), Sequence::ZERO);
    assert!((1..10).all(|number| hand_out(number).is_some_and(|hand| !hand.is_awaited)));
    // It comes back with its bytes if there is no room, and waits as far as there is some in the group.
    let back = |qos| Some((qos, event.clone()));
    assert!(group.refused(&a.id, UNLOGGED | 8, 1, back(QoS::AtMostOnce), event.len()));
    assert!(!group.refused(&a.id, UNLOGGED | 9, 1, back(QoS::AtMostOnce), event.len()));
    assert_eq!(group.next(), Next::Nothing);
    group.room(&a.id, 1);
    assert_eq!(group.next(), Next::Hand(UNLOGGED | 8));
}

#[test]
fn what_a_member_has_no_room_for_with_qos_0_goes_to_another_with_the_qos_it_was_published_with() {
    let a = Member { qos: QoS::AtMostOnce, ..member("a", 5) };
    let mut group = group(std::slice::from_ref(&a));
    let event = Bytes::from_static(b"event");
    for number in [1, 2, UNLOGGED | 1] {
        assert!(group.hand(offer(number), || event.clone(), Sequence::ZERO).is_some_and(|hand| !hand.is_awaited));
    }
    let back = Some((QoS::AtLeastOnce, event.clone()));
    assert!(group.refused(&a.id, 1, 1, back.clone(), event.len()));
    assert!(group.refused(&a.id, 2, 1, back.clone(), event.len()), "the log has it");
    assert!(!group.refused(&a.id, UNLOGGED | 1, 1, back, event.len()), "the log has it not");
    assert_eq!(group.store(Sequence(2)), br#"{"position":2,"open":[1,2]}"#);
    group.join(member("b", 5), &[], Sequence::ZERO);
    assert_eq!(group.next(), Next::Hand(1));
    assert!(group.take_waiting(1).is_some_and(|(qos, ..)| qos == QoS::AtLeastOnce));
    assert_eq!(group.next(), Next::Fetch(vec![2]));
}

#[test]
fn a_refusal_that_comes_late_takes_nothing_from_another() {
    let (a, b) = (member("a", 5), member("b", 5));
    let mut group = group(std::slice::from_ref(&a));
    hand(&mut group, 1);
    group.leave(&a.id, &[]);
    group.join(b, &[], Sequence::ZERO);
    assert!(group.take_waiting(1).is_some());
    assert_eq!(hand(&mut group, 1), Some('b'));
    group.refused(&a.id, 1, 0, None, usize::MAX);
    assert_eq!(group.next(), Next::Nothing);
}

#[test]
fn what_a_member_refuses_of_an_earlier_time_it_was_in_is_another_s_by_now() {
    let a = member("a", 5);
    let again = Member { id: MemberId { entrance: 2, ..a.id.clone() }, ..a.clone() };
    let mut group = group(std::slice::from_ref(&a));
    hand(&mut group, 1);
    group.leave(&a.id, &[]);
    group.join(again, &[], Sequence::ZERO);
    assert!(group.take_waiting(1).is_some());
    assert_eq!(hand(&mut group, 1), Some('a'));
    group.refused(&a.id, 1, 0, None, usize::MAX);
    assert_eq!(group.next(), Next::Nothing);
}

#[test]
fn what_a_stored_group_has_open_behind_its_position_does_not_come_from_the_log_as_well() {
    let mut group = Group::new("g/#", Flow::Live, Sequence::ZERO);
    group.restore(br#"{"position":5,"open":[4,9]}"#, &FxHashSet::default());
    assert!(group.was_claimed(Sequence(9)) && !group.was_claimed(Sequence(4)));
}

#[test]
fn what_is_over_behind_the_position_of_a_stored_group_is_over_after_another_restart_too() {
    let mut group = Group::new("g/#", Flow::Live, Sequence::ZERO);
    group.restore(br#"{"position":5,"open":[9],"held":{"7":[11]}}"#, &FxHashSet::from_iter([7]));
    group.restore_claim(&[4, 7, 12], b"row");
    group.join(Member { qos: QoS::ExactlyOnce, ..member("a", 5) }, &[], Sequence(5));
    group.fetched(9, Some((QoS::ExactlyOnce, Bytes::from_static(b"x"))));
    let (qos, entry, after) = group.take_waiting(9).expect("it was read");
    assert!(group.hand(Offer { qos, ..offer(9) }, || entry.clone(), after).is_some());
    assert_eq!(String::from_utf8_lossy(&group.store(Sequence(5))), r#"{"position":5,"open":[9],"ahead":[7,11,12]}"#);
    group.done(9);
    let row = group.store(Sequence(5));
    assert_eq!(String::from_utf8_lossy(&row), r#"{"position":5,"ahead":[7,9,11,12]}"#);
    let mut again = Group::new("g/#", Flow::Live, Sequence::ZERO);
    again.restore(&row, &FxHashSet::default());
    let claimed: Vec<u64> = (6..=9).filter(|&number| again.was_claimed(Sequence(number))).collect();
    assert_eq!(claimed, [7, 9]);
    again.flow = Flow::Behind { after: Sequence(11) };
    assert_eq!(again.store(Sequence(20)), br#"{"position":11,"ahead":[12]}"#, "what it has passed needs no telling");
}

#[test]
fn what_a_session_gave_back_is_not_its_own_again_after_a_restart() {
    let mut group = Group::new("g/#", Flow::Live, Sequence::ZERO);
    let sessions = FxHashSet::from_iter([7]);
    group.restore(br#"{"position":5}"#, &sessions);
    let shared = Shared { group: "g/#".into(), filter: "$share/g/#".into(), number: 9 };
    group.restore_begun(("a", 7), &shared, QoS::AtLeastOnce);
    group.restore_claim(&[8, 9], b"row");
    group.put_back(9); // It may not read it any more.
    let row = group.store(Sequence(5));
    assert_eq!(String::from_utf8_lossy(&row), r#"{"position":5,"open":[9],"ahead":[8]}"#);
    let needless = group.take_claims();
    let mut again = Group::new("g/#", Flow::Live, Sequence::ZERO);
    again.restore(&row, &sessions);
    if !needless.contains(&b"row"[..].into()) {
        again.restore_claim(&[8, 9], b"row");
    }
    again.join(member("b", 5), &[], Sequence(5));
    assert_eq!(again.next(), Next::Fetch(vec![9]));
}

#[test]
fn a_group_is_stored_before_it_has_handed_out_more_than_it_is_to_remember() {
    let mut group = group(&[member("a", u16::MAX)]);
    group.kept_by.insert((*b"row").into());
    let entry = Bytes::from_static(b"x");
    for number in 1..HANDED_MAX as u64 {
        group.hand(offer(number), || entry.clone(), Sequence::ZERO);
        group.hand(Offer { qos: QoS::AtMostOnce, ..offer(number) }, || entry.clone(), Sequence::ZERO);
        assert!(!group.is_store_due());
    }
    group.hand(offer(HANDED_MAX as u64), || entry.clone(), Sequence::ZERO);
    assert!(group.is_store_due());
    let row = group.store(Sequence::ZERO);
    assert!(!group.is_store_due());
    // What was handed out before a restart counts like what is handed out.
    let mut again = Group::new("g/#", Flow::Live, Sequence::ZERO);
    again.restore(&row, &FxHashSet::default());
    again.kept_by.insert((*b"row").into());
    let passes = |&number: &u64| again.was_claimed(Sequence(number)) && again.is_store_due();
    assert_eq!((1..=HANDED_MAX as u64).find(passes), Some(HANDED_MAX as u64));
}

#[test]
fn what_one_member_refuses_another_gets_with_the_qos_it_was_published_with() {
    let (a, b) = (member("a", 5), Member { qos: QoS::ExactlyOnce, ..member("b", 5) });
    let mut group = group(&[a.clone(), b.clone()]);
    let entry = Bytes::from_static(b"x");
    let offer = |qos| Offer { qos, ..offer(1) };
    assert!(
        group
            .hand(offer(QoS::ExactlyOnce), || entry.clone(), Sequence::ZERO)
            .is_some_and(|hand| hand.to.member == a.id)
    );
    group.refused(&a.id, 1, 1, None, usize::MAX);
    let (qos, entry, after) = group.take_waiting(1).expect("it came back");
    assert!(group.hand(offer(qos), || entry.clone(), after).is_some_and(|hand| hand.to.member == b.id));
    group.leave(&b.id, &[1]);
    assert!(group.session_ended("b"));
    group.room(&a.id, 1);
    assert_eq!(group.next(), Next::Nothing, "nobody else gets it [MQTT-4.8.2-5]");
}

#[test]
fn what_a_session_comes_back_with_is_held_by_it() {
    let a = Member { durable: true, session: 7, ..member("a", 5) };
    let again = Member { id: MemberId { shard: 1, ..a.id.clone() }, ..a.clone() };
    let mut group = group(std::slice::from_ref(&a));
    hand(&mut group, 1);
    assert_eq!(group.store(Sequence(1)), br#"{"position":1,"open":[1]}"#);
    group.leave(&a.id, &[1]);
    group.dirty = false; // It was written down when nobody was there.
    group.join(again, &[1], Sequence(1));
    assert!(group.dirty, "else it would be handed out again, were the node to end once it is acknowledged");
    assert_eq!(group.store(Sequence(1)), br#"{"position":1,"held":{"7":[1]}}"#);
}

#[test]
fn a_new_session_is_not_handed_with_qos_2_what_an_earlier_one_of_its_client_had_taken_over() {
    // [MQTT-4.8.2-5]
    let (earlier, new) = (7, 8);
    let filter: Box<str> = (&*member("a", 5).id.filter).into();
    for (qos, waits) in [
        (QoS::ExactlyOnce, Next::Log(Sequence(5))),
        (QoS::AtLeastOnce, Next::Fetch(vec![4])), // Another is to get that.
    ] {
        let mut group = Group::new("g/#", Flow::Live, Sequence::ZERO);
        group.restore(br#"{"position":5}"#, &FxHashSet::from_iter([earlier]));
        let shared = Shared { group: "g/#".into(), filter: filter.clone(), number: 4 };
        group.restore_begun(("a", earlier), &shared, qos);
        group.join(Member { qos, durable: true, session: new, ..member("a", 5) }, &[], Sequence(5));
        assert_eq!(group.next(), waits, "{qos:?}");
    }
}

#[test]
fn what_a_session_had_taken_over_that_is_gone_goes_to_another_after_a_restart() {
    let two = Member { qos: QoS::ExactlyOnce, ..member("b", 5) };
    let mut group = group(&[member("a", 5), two]);
    let offer = |number| Offer { qos: QoS::ExactlyOnce, ..offer(number) };
    for number in 1..=4 {
        group.hand(offer(number), || Bytes::from_static(b"x"), Sequence::ZERO);
    }
    group.claimed(7, &[1, 3], b"row");
    group.claimed(8, &[2, 4], b"row");
    group.done(1);
    let row = group.store(Sequence(4));
    assert_eq!(String::from_utf8_lossy(&row), r#"{"position":4,"held":{"7":[3]}}"#);
    for (sessions, waits) in [(vec![7, 8], Next::Log(Sequence(4))), (vec![8], Next::Fetch(vec![3]))] {
        let mut again = Group::new("g/#", Flow::Live, Sequence::ZERO);
        again.restore(&row, &FxHashSet::from_iter(sessions));
        again.join(member("c", 5), &[], Sequence::ZERO);
        assert_eq!(again.next(), waits);
    }
}

#[test]
fn what_a_stored_group_hands_out_again_with_qos_2_is_nobody_else_s() {
    // [MQTT-4.8.2-5]
    let mut group = Group::new("g/#", Flow::Live, Sequence::ZERO);
    group.restore(br#"{"position":5,"open":[4]}"#, &FxHashSet::default());
    let a = Member { qos: QoS::ExactlyOnce, durable: true, ..member("a", 5) };
    group.join(a.clone(), &[], Sequence(5));
    group.fetched(4, Some((QoS::ExactlyOnce, Bytes::from_static(b"x"))));
    let (qos, entry, after) = group.take_waiting(4).expect("it was read");
    assert!(group.hand(Offer { qos, ..offer(4) }, || entry.clone(), after).is_some());
    group.leave(&a.id, &[4]);
    assert!(group.session_ended("a"));
    group.join(member("b", 5), &[], Sequence(5));
    assert_eq!(group.next(), Next::Log(Sequence(5)));
}

#[test]
fn a_stored_group_hands_out_again_what_no_session_has() {
    let mut group = group(&[member("a", 5)]);
    for number in 5..=8 {
        hand(&mut group, number);
    }
    group.claimed(1, &[6], b"row");
    group.done(7);
    let row = group.store(Sequence(8));
    let mut again = Group::new("g/#", Flow::Live, Sequence::ZERO);
    again.restore(&row, &FxHashSet::from_iter([1]));
    again.restore_claim(&[8, 9], b"row");
    assert_eq!(again.flow, Flow::Behind { after: Sequence(8) });
    assert!(again.was_claimed(Sequence(9)) && !again.was_claimed(Sequence(10)));
    again.join(member("b", 5), &[], Sequence::ZERO);
    assert_eq!(again.next(), Next::Fetch(vec![5]));
}
