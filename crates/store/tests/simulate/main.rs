//! Whole nodes without a socket: shards, the real store over a disk in memory, clients, virtual time.

mod client;
mod kept;
#[path = "../../../core/tests/shard/node.rs"]
#[expect(dead_code, reason = "packet scripts use more of it")]
mod node;
mod random;
mod run;
#[path = "../../../core/tests/shard/text.rs"]
#[expect(dead_code, reason = "packet scripts read packets as well")]
mod text;

type Node = node::Node<kept::Kept>;
