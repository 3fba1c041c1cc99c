//! Many clients at once, and memory that stays bounded.

use crate::recovery::put;
use crate::server::{Application, Server};
use crate::wire::{Client, Connect, Version};

/// A smaller variant of ten thousand clients and a hundred thousand records.
const CLIENTS: usize = 200;
const RECORDS: u32 = 2_000;
const READERS: usize = 20;

#[test]
fn a_crowd_follows_all_records_without_loss_in_bounded_memory() {
    let server = Application::dogs().start();
    let crowd: Vec<_> = (0..CLIENTS).map(|number| server.connect(&format!("client-{number}"))).collect();
    let mut writer = server.connect("writer");
    let numbers: Vec<u32> = (0..RECORDS).collect();
    numbers.chunks(500).for_each(|batch| put(&mut writer, batch, 1));
    let before = server.memory();

    // Each gets all records, and does not read while the others subscribe and records change.
    let mut readers: Vec<_> = (0..READERS)
        .map(|_| {
            let mut reader = server.connect("");
            reader.subscribe("dog/#", 1);
            reader
        })
        .collect();
    numbers.chunks(500).for_each(|batch| put(&mut writer, batch, 2));
    writer.publish("dog/end", "", 1, false);
    for reader in &mut readers {
        let mut ages = vec![0; RECORDS as usize];
        loop {
            let seen = reader.receive();
            let Ok(number) = seen.topic["dog/".len()..].parse::<usize>() else { break };
            let age = seen.json()["age"].as_u64().expect("an age");
            assert!(age >= ages[number], "{seen} after {}", ages[number]);
            ages[number] = age;
        }
        assert!(ages.iter().all(|age| *age == 2), "everything that changed was seen");
        reader.ping();
    }
    let more = server.memory().saturating_sub(before);
    assert!(more < 64 * 1024 * 1024, "{more} bytes more for {READERS} readers of {RECORDS} records");
    for mut client in crowd {
        client.ping();
    }
}

#[test]
fn one_wildcard_brings_all_records_whole_and_in_order_while_others_are_served() {
    const MANY: u32 = 20_000;
    let server = Application::dogs().start();
    let mut writer = server.connect("writer");
    let mut others: Vec<_> = (0..2).map(|number| server.connect(&format!("other-{number}"))).collect();
    for (number, other) in others.iter_mut().enumerate() {
        other.subscribe(&format!("other/{number}"), 0);
    }
    let numbers: Vec<u32> = (0..MANY).collect();
    numbers.chunks(500).for_each(|batch| put(&mut writer, batch, 1));
    let before = server.memory();
    for qos in [0, 1] {
        let mut reader = server.connect("");
        reader.subscribe("dog/+", qos);
        for number in 0..MANY {
            let seen = reader.receive();
            assert_eq!((&*seen.topic, seen.qos, seen.retain), (&*format!("dog/{number:07}"), qos, true));
            if number % 1000 == 0 {
                for (number, other) in others.iter_mut().enumerate() {
                    writer.publish(&format!("other/{number}"), "meanwhile", 0, false);
                    assert_eq!(other.receive().text(), "meanwhile");
                }
            }
        }
        reader.ping();
        reader.disconnect();
    }
    // What selects nothing of a table, or one record of it, reads no more than that.
    let mut reader = server.connect("");
    for (filter, found) in [("dog/0012345", true), ("dog/none", false), ("dog/0012345/#", true), ("dog/+/x", false)] {
        reader.subscribe(filter, 0);
        if found {
            assert_eq!(reader.receive().topic, "dog/0012345");
        }
        reader.ping();
    }
    let more = server.memory().saturating_sub(before);
    assert!(more < 32 * 1024 * 1024, "{more} bytes more for reading {MANY} records");
}

/// Clients of one user, the smaller variant of ten thousand, that come all at once.
const STORM: usize = 400;
/// Seconds of processor time that are far more than it takes to let them in, and far less than to hash each password.
const STORM_CPU_SECS: f64 = 8.0;

#[test]
fn a_storm_of_clients_is_let_in_without_a_storm_of_hashes() {
    const PASSWORD: &str = "correct horse battery";
    let application = Application::dogs().for_real().with_variable("ROWCAST_ADMIN_PASSWORD", PASSWORD);
    let server = application.start();
    let storm = || {
        let mut clients: Vec<Client> = (0..STORM).map(|_| Client::dial(server.mqtt(), Version::V5)).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            let wrong = number % 100 == 99;
            let password = if wrong { "wrong" } else { PASSWORD };
            client.send(&Connect::new(Version::V5, &format!("c{number}")).with_user("admin", password).bytes());
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let expected = if number % 100 == 99 { 0x86 } else { 0 };
            assert_eq!(client.next().code(), Some(expected), "{number}");
        }
        clients
    };
    let before = cpu_secs(&server);
    for _ in 0..2 {
        storm().iter_mut().step_by(100).for_each(Client::ping);
    }
    let spent = cpu_secs(&server) - before;
    assert!(spent < STORM_CPU_SECS, "{spent} s of processor time for twice {STORM} clients");
}

/// Processor time of all its threads.
fn cpu_secs(server: &Server) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.id())).expect("it runs");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().expect("a number")).sum();
    ticks / 100.0
}
