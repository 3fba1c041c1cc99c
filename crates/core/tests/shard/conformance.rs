//! Which statements of the standard have a test: those that a server must keep stand in `docs/conformance.txt`, and a
//! test names them in brackets, `[MQTT-3.12.4-1]` for MQTT 5 and `[3.1.1 MQTT-3.12.4-1]` for MQTT 3.1.1.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

#[test]
fn every_tag_names_a_statement() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let list = std::fs::read_to_string(root.join("docs/conformance.txt")).expect("the list of statements");
    let statements: BTreeSet<&str> =
        list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let mut tags: BTreeMap<String, String> = BTreeMap::new();
    let mut sources = Vec::new();
    collect(&root.join("crates"), &mut sources);
    for path in &sources {
        let text = std::fs::read_to_string(path).expect("a source");
        for tag in tags_of(tested_part(path, &text)) {
            tags.entry(tag).or_insert_with(|| path.display().to_string());
        }
    }
    let unknown: Vec<_> = tags.iter().filter(|(tag, _)| !statements.contains(tag.as_str())).collect();
    let mut report = String::new();
    for version in ["MQTT", "3.1.1 MQTT"] {
        let of_version = |tag: &&str| tag.starts_with(version);
        let all: Vec<&str> = statements.iter().copied().filter(of_version).collect();
        let left: Vec<&str> = all.iter().copied().filter(|tag| !tags.contains_key(*tag)).collect();
        let _ = writeln!(report, "{version}: {} of {} statements have a named test", all.len() - left.len(), all.len());
        let _ = writeln!(report, "  without: {}", left.join(", "));
    }
    println!("{report}");
    assert!(unknown.is_empty(), "tags that name no statement of docs/conformance.txt: {unknown:?}");
}

/// All scripts and sources below `folder`.
fn collect(folder: &Path, sources: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "txt") {
            sources.push(path);
        }
    }
}

/// A tag beside the code says where a rule is kept; only in a test it says that it is.
fn tested_part<'t>(path: &Path, text: &'t str) -> &'t str {
    let in_tests = path.components().any(|part| part.as_os_str() == "tests");
    let is_tests = path.file_stem().is_some_and(|name| name == "tests");
    if in_tests || is_tests {
        return text;
    }
    text.find("#[cfg(test)]").map_or("", |at| &text[at..])
}

fn tags_of(text: &str) -> impl Iterator<Item = String> {
    text.split('[').skip(1).filter_map(|rest| {
        let tag = rest.split_once(']')?.0;
        let id = tag.strip_prefix("3.1.1 ").unwrap_or(tag).strip_prefix("MQTT-")?;
        let is_id = id.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '-') && !id.is_empty();
        is_id.then(|| tag.to_owned())
    })
}
