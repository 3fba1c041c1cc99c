//! Text and bytes nobody meant to send: the corpora of the fuzz targets, and damaged copies of them.

mod check;
#[path = "../../../../fuzz/corpus.rs"]
mod corpus;

use corpus::with_damaged_copies;

#[test]
fn any_schema_is_read_or_refused_with_reasons() {
    for text in with_damaged_copies("schema", 3_000) {
        check::schema(&String::from_utf8_lossy(&text));
    }
}

#[test]
fn any_payload_is_stored_as_json_or_refused() {
    for bytes in with_damaged_copies("value", 100_000) {
        check::value(&bytes);
    }
}

#[test]
fn any_key_is_the_same_everywhere() {
    for bytes in with_damaged_copies("key", 100_000) {
        check::key(&bytes);
    }
}
