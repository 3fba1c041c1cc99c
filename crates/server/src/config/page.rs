//! `docs/configuration.md`, whose tables are written from the [table](super::table) of keys.

use super::{Holds, Listed, Mode, list};
use std::fmt::Write;
use std::path::Path;

/// What stands above it is written by hand.
const BEGINNING: &str = "## Every key\n";

#[test]
fn the_page_on_configuration_has_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let before = std::fs::read_to_string(&path).expect("a page");
    let (by_hand, _) = before.split_once(BEGINNING).expect("a place for the tables");
    let after = format!("{by_hand}{BEGINNING}{}", tables());
    if std::env::var("ROWCAST_REWRITE").is_ok() {
        std::fs::write(&path, &after).expect("written");
        return;
    }
    let different = before.lines().zip(after.lines()).find(|(before, after)| before != after);
    assert!(
        before == after,
        "docs/configuration.md is out of date, at {different:#?}; run \
         `ROWCAST_REWRITE=1 cargo test -p rowcast --lib configuration`"
    );
}

fn tables() -> String {
    let (run, dev) = (list(Mode::Run), list(Mode::Dev));
    let (mut out, mut section) = (String::new(), None);
    for (key, dev) in run.iter().zip(&dev).filter(|(key, _)| key.not_yet.is_none()) {
        let words: Vec<&str> = key.path.split('.').collect();
        let of = match words[..] {
            ["mqtt" | "http", "limits", ..] => format!("`{}.limits`", words[0]),
            [word] if !key.members.is_empty() => format!("`{word}`"),
            [_] => "The rest".to_owned(),
            _ => format!("`{}`", words[0]),
        };
        if section.as_ref() != Some(&of) {
            let _ = write!(out, "\n### {of}\n\n| key | value | default | reload | |\n|---|---|---|---|---|\n");
            section = Some(of);
        }
        row(&mut out, key.path, key, Some(dev));
        for member in &key.members {
            row(&mut out, &format!("{}.{}", key.path, member.path), member, None);
        }
    }
    out.push_str(
        "\n### Of later versions\n\nWhoever sets one of these expects something of it, so they are refused.\n\n",
    );
    for key in run {
        if let Some(what) = key.not_yet {
            let _ = writeln!(out, "- `{}`: {what}", key.path);
        }
    }
    out
}

fn row(out: &mut String, path: &str, key: &Listed, dev: Option<&Listed>) {
    let alias = key.alias.map_or(String::new(), |alias| format!(" (or `{alias}`)"));
    let default = match dev {
        Some(dev) if dev.default != key.default => format!("`{}`; `dev`: `{}`", key.default, dev.default),
        _ => format!("`{}`", key.default),
    };
    let holds = match key.holds {
        Holds::AtOnce => "at once",
        Holds::NextStart => "restart",
    };
    // What is in a section is reloaded with it.
    let holds = if dev.is_some() { holds } else { "" };
    let _ = writeln!(out, "| `{path}`{alias} | {} | {default} | {holds} | {} |", key.words, key.meaning);
}
