//! Any text: a filter, a line break, a topic.

#![no_main]

#[expect(dead_code, reason = "the other target uses the rest")]
#[path = "../../crates/codec/tests/it/check.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (filter, topic) = text.split_once('\n').unwrap_or((text, ""));
    check::filter(filter, topic);
});
