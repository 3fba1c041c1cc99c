//! Bytes nobody meant to send: the corpus of the fuzz targets, and damaged copies of it.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use crate::check;

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
    let corpus = corpus("decode");
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    for _ in 0..COPIES {
        let mut bytes = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(3) {
            damage(&mut bytes, &corpus, &mut random);
        }
        if random.below(4) > 0 {
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

/// One thing goes wrong.
fn damage(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    if bytes.is_empty() {
        return bytes.push(random.byte());
    }
    let at = random.below(bytes.len());
    match random.below(7) {
        0 => bytes[at] = random.byte(),
        1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes[at] = [0x00, 0x01, 0x7F, 0x80, 0xFF][random.below(5)],
        3 => bytes.truncate(at),
        4 => bytes.insert(at, random.byte()),
        5 => drop(bytes.remove(at)),
        _ => {
            let other = &corpus[random.below(corpus.len())];
            bytes.truncate(at);
            bytes.extend_from_slice(&other[random.below(other.len() + 1)..]);
        }
    }
}

/// Makes the second byte the length of what follows, so that the damage is looked at and not only its length.
fn repair_length(bytes: &mut [u8]) {
    if let Some(length @ ..=0x7F) = bytes.len().checked_sub(2) {
        bytes[1] = length as u8;
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder that can be listed").path())
        .collect();
    paths.sort(); // So that a seed means the same everywhere.
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths.iter().map(|path| fs::read(path).expect("a file that can be read")).collect()
}

/// A small generator of numbers that look random (xorshift64*), always the same from one seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32
    }

    fn below(&mut self, bound: usize) -> usize {
        self.next() as usize % bound
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }
}
