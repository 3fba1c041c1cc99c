//! Who is let in, and that no limit is without a test and a line of documentation.

use crate::server::{Application, Server, until};
use crate::tools::repository;
use crate::wire::{Client, Connect, Packet, Version};
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

#[test]
fn one_connection_more_than_in_all_is_refused_until_another_goes() {
    let server = Application::dogs().configured("mqtt: { limits: { connections: 2 } }").start();
    let mut first = server.connect("first");
    let second = server.connect("second");
    assert_refused(&server, Version::V5, 0x97);
    assert_refused(&server, Version::V311, 3);
    // But not one that takes the place of another of its client, whose connection may be half open.
    let (mut first_again, answer) = Connect::new(Version::V5, "first").open_with_answer(server.mqtt());
    assert_eq!((answer.code(), first.next().code()), (Some(0), Some(0x8E)));
    first_again.ping();
    assert_refused(&server, Version::V5, 0x97);
    second.disconnect();
    let mut third =
        until("there is room", || match Connect::new(Version::V5, "third").open_with_answer(server.mqtt()) {
            (client, Packet::Connack { code: 0, .. }) => Ok(client),
            (_, other) => Err(format!("{other:?}")),
        });
    third.ping();
    first_again.ping();
}

#[test]
fn one_connection_more_from_an_address_is_refused_and_other_addresses_are_not() {
    let server = Application::dogs().configured("mqtt: { limits: { connectionsPerAddress: 1 } }").start();
    let mut first = server.connect("first");
    assert_refused(&server, Version::V5, 0x97);
    let mut elsewhere = from_address(Ipv4Addr::new(127, 0, 0, 2), server.mqtt());
    elsewhere.send(&Connect::new(Version::V5, "elsewhere").bytes());
    assert_eq!(elsewhere.next().code(), Some(0));
    first.ping();
    elsewhere.ping();
}

#[track_caller]
fn assert_refused(server: &Server, version: Version, code: u8) {
    let (mut client, answer) = Connect::new(version, "one-too-many").open_with_answer(server.mqtt());
    assert_eq!((answer.code(), client.rest()), (Some(code), vec![]));
}

/// A connection from another address of this machine.
fn from_address(address: Ipv4Addr, port: u16) -> Client {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    let stream: std::io::Result<TcpStream> = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((address, 0)))?;
        socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await?.into_std()
    });
    let stream = stream.expect("all of 127.0.0.0/8 is this machine");
    stream.set_nonblocking(false).expect("a socket");
    Client::over(stream, Version::V5)
}

#[test]
fn every_limit_has_a_key_a_line_of_documentation_and_a_test() {
    let read = |path: &str| std::fs::read_to_string(repository().join(path)).expect(path);
    let (limits, keys, page) =
        (read("crates/core/src/limits.rs"), read("crates/server/src/config/table.rs"), read("docs/limits.md"));
    let tests = all_text("crates/core/tests/scripts") + &all_text("crates/server/tests/it");
    let (_, fields) = limits.split_once("pub struct Limits {").expect("the type");
    let (fields, _) = fields.split_once("\n}").expect("its end");
    let fields: Vec<&str> = fields
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':'))
        .map(|field| field.0)
        .collect();
    assert!(fields.len() > 20, "{fields:?}");
    let mut mistakes = String::new();
    for field in fields {
        let Some(key) = key_of(field, &keys) else {
            let _ = writeln!(mistakes, "{field} has no key");
            continue;
        };
        if !page.contains(&format!("\n| `{key}` | ")) {
            let _ = writeln!(mistakes, "docs/limits.md has no line for `{key}`");
        }
        if !tests.contains(&format!("{field}=")) && !tests.contains(&format!("limits: {{ {key}: ")) {
            let _ = writeln!(mistakes, "no test sets {field}");
        }
    }
    assert!(mistakes.is_empty(), "{mistakes}");
}

/// The last part of the key that is read into a field: in the table of keys the path of the key stands before
/// `field!(Config, mqtt.limits.FIELD)`.
fn key_of<'k>(field: &str, keys: &'k str) -> Option<&'k str> {
    let (before, _) = keys.split_once(&format!("field!(Config, mqtt.limits.{field})"))?;
    let (_, path) = before.rsplit_once("\"mqtt.")?;
    path.split('"').next()?.rsplit('.').next()
}

/// All files of a folder.
fn all_text(folder: &str) -> String {
    let entries = std::fs::read_dir(repository().join(folder)).expect("a folder");
    entries.map(|entry| std::fs::read_to_string(entry.expect("an entry").path()).expect("text")).collect()
}
