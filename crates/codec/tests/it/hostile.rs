//! Bytes nobody meant to send: the corpus of the fuzz targets, and damaged copies of it.

use proptest::prelude::*;

use crate::check;
use crate::corpus::{corpus, with_damaged_copies};

/// How many damaged copies are tried.
const COPIES: usize = 300_000;

#[test]
fn the_corpus_is_decoded_or_refused() {
    for bytes in corpus("decode") {
        check::decode(&bytes);
    }
}

#[test]
fn damaged_copies_of_the_corpus_are_decoded_or_refused() {
    for (count, mut bytes) in with_damaged_copies("decode", COPIES).enumerate() {
        if count % 4 > 0 {
            repair_length(&mut bytes);
        }
        check::decode(&bytes);
    }
}

#[test]
fn the_corpus_of_filters_is_matched_as_by_the_book() {
    for bytes in corpus("filter") {
        let text = String::from_utf8(bytes).expect("the corpus of filters is text");
        let (filter, topic) = text.split_once('\n').unwrap_or((&text, ""));
        check::filter(filter, topic);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(20_000) })]

    #[test]
    fn filters_are_matched_as_by_the_book(
        filter in r"(\$share/)?((a|b|\+|#|\$|a\+|\+#|\x00)?/){0,3}(a|b|\+|#|)",
        topic in r"\$?((a|b|)/){0,3}(a|b|#|)",
    ) {
        check::filter(&filter, &topic);
    }
}

/// Makes the second byte the length of what follows, so that the damage is looked at and not only its length.
fn repair_length(bytes: &mut [u8]) {
    if let Some(length @ ..=0x7F) = bytes.len().checked_sub(2) {
        bytes[1] = length as u8;
    }
}
