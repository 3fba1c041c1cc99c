//! Holds the import rule of `ARCHITECTURE.md`: a new arrow between rooms is a decision, not an accident.

use std::path::{Path, PathBuf};

/// What the files of a room must not mention, outside of comments and tests.
struct Rule {
    room: &'static str,
    except: &'static [&'static str],
    never: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        room: "codec/src",
        except: &[],
        never: &["rowcast_core", "rowcast_store", "tokio", "std::fs", "std::net", "std::thread", "std::time"],
    },
    Rule {
        room: "core/src",
        except: &[],
        never: &[
            "rowcast_store",
            "tokio",
            "std::fs",
            "std::net",
            "std::thread",
            "Instant::now",
            "SystemTime",
            "getrandom",
        ],
    },
    Rule { room: "store/src", except: &[], never: &["tokio", "std::net", "hyper"] },
    Rule { room: "store/src", except: &["disk.rs", "disk/direct.rs", "tables/lsm.rs"], never: &["std::fs", "fs::"] },
    // The node dials nobody, so that it need not conform as a client; only commands do.
    Rule {
        room: "server/src",
        except: &["client.rs", "cli/bench/link.rs", "cli/connection.rs", "cli/http.rs", "cli/node.rs", "tidy.rs"],
        never: &["TcpStream::connect", "UnixStream::connect", "Client::connect"],
    },
    // A load on a broker that shares code with it would not see what both get wrong.
    Rule {
        room: "server/src/cli/bench",
        except: &[],
        never: &["rowcast_codec", "rowcast_core", "rowcast_store", "crate::client", "crate::mqtt"],
    },
    Rule {
        room: "server/src/http",
        except: &[],
        never: &["rowcast_store", "crate::mqtt", "crate::runtime", "crate::net"],
    },
    Rule {
        room: "server/src/http.rs",
        except: &[],
        never: &["rowcast_store", "crate::mqtt", "crate::runtime", "crate::net"],
    },
    Rule { room: "server/src/mqtt.rs", except: &[], never: &["rowcast_store", "crate::http", "crate::db"] },
    Rule { room: "server/src/db", except: &[], never: &["crate::http", "crate::mqtt", "crate::runtime"] },
    Rule { room: "server/src/runtime", except: &[], never: &["crate::http", "crate::app"] },
    Rule { room: "server/src/auth", except: &[], never: &["rowcast_store", "crate::http", "crate::mqtt"] },
    Rule { room: "server/src/tls", except: &[], never: &["rowcast_store", "crate::app", "crate::http", "crate::mqtt"] },
    Rule { room: "server/src/config", except: &[], never: &["rowcast_store", "tokio", "crate::app", "crate::db"] },
];

/// Crates, and the only crates of ours that each may depend on.
const CRATES: &[(&str, &[&str])] = &[
    ("codec", &[]),
    ("core", &["rowcast-codec"]),
    ("store", &["rowcast-codec", "rowcast-core"]),
    ("server", &["rowcast-codec", "rowcast-core", "rowcast-store"]),
];

// [3.1.1 MQTT-7.0.0-1]
#[test]
fn no_room_knows_more_than_it_may() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut broken = Vec::new();
    for rule in RULES {
        let room = crates.join(rule.room);
        let files = sources(&room);
        assert!(!files.is_empty(), "{} has no files: the rule is out of date", rule.room);
        for file in files {
            let excepted = rule.except.iter().any(|end| file.ends_with(end));
            let is_test = file.ends_with("tests.rs") || file.components().any(|part| part.as_os_str() == "tests");
            if excepted || is_test {
                continue;
            }
            let text = std::fs::read_to_string(&file).expect("a source file");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for line in code.lines().map(str::trim_start).filter(|line| !line.starts_with("//")) {
                broken.extend(
                    rule.never
                        .iter()
                        .filter(|name| mentions(line, name))
                        .map(|name| format!("{} mentions {name}: {line}", file.display())),
                );
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn crates_depend_on_those_below_them_only() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (name, allowed) in CRATES {
        let manifest = std::fs::read_to_string(crates.join(name).join("Cargo.toml")).expect("a manifest");
        let ours = manifest.lines().filter_map(|line| line.split('.').next().filter(|key| key.starts_with("rowcast-")));
        let extra: Vec<&str> = ours.filter(|ours| !allowed.contains(ours)).collect();
        assert!(extra.is_empty(), "{name} depends on {extra:?}");
    }
}

/// Whether `name` stands in `line` as a word, or a path, of its own.
fn mentions(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
            && (name.ends_with(':')
                || !line[at + name.len()..].starts_with(|after: char| after.is_alphanumeric() || after == '_'))
    })
}

fn sources(room: &Path) -> Vec<PathBuf> {
    if room.is_file() {
        return vec![room.to_owned()];
    }
    let mut files: Vec<PathBuf> = Vec::new();
    let twin = room.with_extension("rs");
    files.extend(Some(twin).filter(|twin| twin.is_file()));
    for entry in std::fs::read_dir(room).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(sources(&path).into_iter().filter(|file| *file != path.with_extension("rs")));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
