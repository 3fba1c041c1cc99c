//! What a misspelt word was probably meant to be.

/// The candidate closest to `word`, if one is close: upper and lower case aside, a third of its letters may differ.
pub(super) fn suggest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word = word.to_lowercase();
    let scored = candidates.into_iter().map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate));
    let (distance, candidate) = scored.min_by_key(|(distance, _)| *distance)?;
    let allowed = (word.len().max(candidate.len()) / 3).max(1);
    (distance <= allowed).then_some(candidate)
}

/// Letters to insert, remove, replace or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(WORD_CHARS_MAX).collect();
    let b: Vec<char> = b.chars().take(WORD_CHARS_MAX).collect();
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before_last[j - 2] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// Longer words are compared by their beginnings.
const WORD_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_word_is_suggested_and_a_distant_one_is_not() {
        let words = ["table", "export", "sealed", "createdTime", "id"];
        for (word, expected) in [
            ("tabel", Some("table")),
            ("Table", Some("table")),
            ("exports", Some("export")),
            ("createTime", Some("createdTime")),
            ("created_time", Some("createdTime")),
            ("ID", Some("id")),
            ("index", None),
            ("", None),
            ("zzzzz", None),
        ] {
            assert_eq!(suggest(word, words), expected, "{word}");
        }
    }
}
