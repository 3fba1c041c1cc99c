//! Whole conversations with the state machine: shards, a writer and a store in memory, virtual time, no socket.

mod client;
mod conformance;
mod node;
mod script;
mod share;
mod simulate;
mod store;
mod text;
