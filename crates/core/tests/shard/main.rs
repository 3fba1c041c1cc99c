//! Whole conversations with the state machine: shards, a writer and a store in memory, virtual time, no socket.

mod conformance;
mod node;
mod script;
mod store;
mod text;
