//! Any bytes, as a conversation of clients with a node.

#![no_main]

#[path = "../../crates/core/tests/shard/conversation.rs"]
mod conversation;
#[expect(dead_code, reason = "packet scripts use the rest")]
#[path = "../../crates/core/tests/shard/node.rs"]
mod node;
#[path = "../../crates/core/tests/shard/store.rs"]
mod store;
#[path = "../../crates/core/tests/shard/text.rs"]
mod text;

type Node = node::Node<store::Store>;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| conversation::play(bytes));
