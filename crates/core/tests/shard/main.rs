//! Whole conversations with the state machine: shards, a writer and a store in memory, virtual time, no socket.

mod conformance;
mod conversation;
#[expect(dead_code, reason = "the simulator in crates/store/tests/simulate uses more of it")]
mod node;
mod rights;
mod script;
mod share;
mod store;
mod text;

type Node = node::Node<store::Store>;
