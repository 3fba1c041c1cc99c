//! Which test shows what: the statements of the standard in `docs/conformance.md`, the inputs that broke others in
//! `docs/hostile-inputs.md`.
//!
//! In these tables the first two columns are written by hand, the others by this test. A test says in brackets what it
//! shows: `[MQTT-3.12.4-1]` of MQTT 5, `[3.1.1 MQTT-3.12.4-1]` of MQTT 3.1.1, `[hostile 23]`; a scenario of a script in a
//! comment, a test in Rust above or inside its function. A statement is shown by clients of its version only.
//!
//! `ROWCAST_REWRITE=1` writes the tables anew. `ROWCAST_RESULTS` is a file with what `cargo test --workspace` said:
//! then the tests in Rust must be in there, and well. Scenarios are played here.

use crate::script;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

#[test]
fn every_statement_of_the_standard_is_shown() {
    check("docs/conformance.md", STATEMENT);
}

#[test]
fn every_hostile_input_is_tried() {
    check("docs/hostile-inputs.md", HOSTILE);
}

const STATEMENT: &str = "MQTT-";
const HOSTILE: &str = "hostile ";

/// The table in `page` has no open row, and says what is true. `kind`: how its tags begin.
fn check(page: &str, kind: &str) {
    let path = root().join(page);
    let before = std::fs::read_to_string(&path).expect("a page");
    let mut proofs = proofs(kind);
    let (after, open) = rewritten(&before, kind, &mut proofs);
    let rewrites = std::env::var("ROWCAST_REWRITE").is_ok();
    if rewrites && after != before {
        std::fs::write(&path, &after).expect("written");
    }
    let open: Vec<_> = open.into_iter().filter(|tag| !NOT_YET.contains(&&**tag)).collect();
    assert!(open.is_empty(), "{page}: no test shows {}", open.join(", "));
    let unknown: Vec<_> = proofs.iter().map(|(tag, proofs)| (tag, &proofs[0].title)).collect();
    assert!(unknown.is_empty(), "tags that {page} does not have: {unknown:?}");
    let different = before.lines().zip(after.lines()).find(|(before, after)| before != after);
    assert!(
        rewrites || before == after,
        "{page} is out of date, at {different:#?}; run this test with ROWCAST_REWRITE=1"
    );
}

/// TODO: what does not exist yet: views.
const NOT_YET: &[&str] = &["hostile 41"];

/// A test that shows something.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Proof {
    title: String,
    /// From the root of the repository.
    path: PathBuf,
    passes: bool,
}

/// Fills in the last columns of all rows. Takes the proofs it uses; the second is the rows that have none.
fn rewritten(page: &str, kind: &str, proofs: &mut BTreeMap<String, Vec<Proof>>) -> (String, Vec<String>) {
    let (mut text, mut open, mut files) = (String::new(), Vec::new(), BTreeSet::new());
    let mut prefix = if kind == HOSTILE { HOSTILE } else { "" };
    for line in page.lines().filter(|line| !is_link(line)) {
        if let Some(title) = line.strip_prefix("## ") {
            prefix = if title == "MQTT 3.1.1" { "3.1.1 " } else { prefix };
        }
        let cells: Vec<&str> = line.split(" | ").collect();
        let Some(name) = cells[0].strip_prefix("| ").filter(|name| name.contains(char::is_numeric)) else {
            let _ = writeln!(text, "{line}");
            continue;
        };
        let tag = format!("{prefix}{name}");
        let found = proofs.remove(&tag).unwrap_or_default();
        let shown: Vec<String> =
            found.iter().map(|proof| format!("[{}][{}]", proof.title, short(&proof.path))).collect();
        let result = match () {
            () if found.is_empty() => "open",
            () if found.iter().all(|proof| proof.passes) => "passes",
            () => "fails",
        };
        if found.is_empty() {
            open.push(tag);
        }
        files.extend(found.into_iter().map(|proof| proof.path));
        let _ = writeln!(text, "{} | {} | {} | {result} |", cells[0], cells[1], shown.join(" · "));
    }
    for path in files {
        let _ = writeln!(text, "[{}]: ../{}", short(&path), path.display());
    }
    (text, open)
}

/// A line of the list of files at the end.
fn is_link(line: &str) -> bool {
    line.starts_with('[') && line.contains("]: ../")
}

/// The last two parts of a path.
fn short(path: &Path) -> String {
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    Path::new(folder).join(path.file_name().unwrap_or_default()).display().to_string()
}

/// What all tests show, by tag.
fn proofs(kind: &str) -> BTreeMap<String, Vec<Proof>> {
    let mut proofs: BTreeMap<String, Vec<Proof>> = BTreeMap::new();
    let mut add = |tag: String, proof: Proof| {
        let shown = proofs.entry(tag).or_default();
        if !shown.contains(&proof) {
            shown.push(proof);
        }
    };
    for path in script::script_files() {
        let text = std::fs::read_to_string(&path).expect("a script");
        for scenario in script::scenarios(&text) {
            let text = scenario.text();
            let tags: Vec<String> = tags_of(&text, kind).collect();
            if tags.is_empty() {
                continue;
            }
            let proof = Proof {
                title: scenario.title().to_owned(),
                path: from_root(&path),
                passes: script::Player::play(&scenario).mistakes.is_empty(),
            };
            for tag in tags {
                let tag = if speaks_version(&text, &tag) { tag } else { format!("{tag} by a client of that version") };
                add(tag, proof.clone());
            }
        }
    }
    let results = std::env::var("ROWCAST_RESULTS").ok();
    let results = results.map(|path| std::fs::read_to_string(path).expect("what cargo test said"));
    for path in rust_files() {
        let text = std::fs::read_to_string(&path).expect("a source");
        for (tag, name) in tagged_tests(&text, kind) {
            let is_well = |line: &str| line.starts_with("test ") && line.ends_with(&format!("{name} ... ok"));
            let passes = results.as_ref().is_none_or(|results| results.lines().any(is_well));
            add(tag, Proof { title: format!("`{name}`"), path: from_root(&path), passes });
        }
    }
    proofs
}

/// Tags of tests written in Rust, with the names of their functions.
fn tagged_tests(text: &str, kind: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    // Tags in comments that nothing stands behind yet; `#[test]` was read; the test we are in and how its last line begins.
    let (mut above, mut announced, mut test) = (Vec::new(), false, None::<(String, String)>);
    for line in text.lines() {
        let code = line.trim_start();
        if code == "#[test]" {
            announced = true;
        } else if let Some((_, rest)) = code.split_once("fn ").filter(|_| announced) {
            let name = rest.split('(').next().unwrap_or_default().to_owned();
            found.extend(above.drain(..).map(|tag| (tag, name.clone())));
            test = Some((name, line[..line.len() - code.len()].to_owned() + "}"));
            announced = false;
        }
        match &test {
            Some((_, end)) if line == end => test = None,
            Some((name, _)) => found.extend(tags_of(line, kind).map(|tag| (tag, name.clone()))),
            None if code.starts_with("//") => above.extend(tags_of(line, kind)),
            None if code.starts_with("#[") => {}
            None => above.clear(),
        }
    }
    found
}

fn tags_of(text: &str, kind: &str) -> impl Iterator<Item = String> {
    text.split('[').skip(1).filter_map(move |rest| {
        let (tag, _) = rest.split_once(']')?;
        let number = tag.strip_prefix("3.1.1 ").unwrap_or(tag).strip_prefix(kind)?;
        let is_number = number.starts_with(|c: char| c.is_ascii_digit())
            && number.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '-');
        is_number.then(|| tag.to_owned())
    })
}

/// Whether somebody in a scenario speaks the version that a statement is of, or nobody gets to say which.
fn speaks_version(scenario: &str, tag: &str) -> bool {
    let v311 = scenario.contains("CONNECT v3.1.1") || scenario.contains("4d 51 54 54 04");
    let v5 = scenario.contains("CONNECT v5") || scenario.contains("4d 51 54 54 05");
    match tag {
        tag if tag.starts_with("3.1.1") => v311 || !v5,
        tag if tag.starts_with("MQTT") => v5 || !v311,
        _ => true,
    }
}

/// Sources below `crates` with tests in them.
fn rust_files() -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![root().join("crates")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

fn from_root(path: &Path) -> PathBuf {
    let path = path.canonicalize().expect("a file");
    path.strip_prefix(root()).expect("a file of the repository").to_owned()
}
