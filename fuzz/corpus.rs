//! The corpora of the fuzz targets, and damaged copies of them, for tests that run each time.

use std::path::Path;

/// All inputs of a target, in an order that is the same everywhere.
pub(crate) fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder that can be listed").path())
        .collect();
    paths.sort(); // So that a seed means the same everywhere.
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths.iter().map(|path| std::fs::read(path).expect("a file that can be read")).collect()
}

/// The corpus of a target as it is, and so many copies with up to three things wrong.
pub(crate) fn with_damaged_copies(target: &str, copies: usize) -> impl Iterator<Item = Vec<u8>> {
    let corpus = corpus(target);
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let whole = corpus.clone();
    let damaged = (0..copies).map(move |_| {
        let mut bytes = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(3) {
            damage(&mut bytes, &corpus, &mut random);
        }
        bytes
    });
    whole.into_iter().chain(damaged)
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
