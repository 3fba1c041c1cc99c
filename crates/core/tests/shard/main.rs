//! Whole conversations with the state machine: shards, a writer and a store in memory, virtual time, no socket.

mod conformance;
mod conversation;
#[path = "../../../../fuzz/corpus.rs"]
mod corpus;
mod exactly_once;
mod few;
mod in_doubt;
#[expect(dead_code, reason = "the simulator in crates/store/tests/simulate uses more of it")]
mod node;
mod remains;
mod resume;
mod rights;
mod script;
mod share;
mod store;
mod text;

type Node = node::Node<store::Store>;

#[test]
fn the_corpus_of_conversations_and_damaged_copies_of_it_hold() {
    for bytes in corpus::with_damaged_copies("converse", 30) {
        conversation::play(&bytes);
    }
}
