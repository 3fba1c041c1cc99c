//! Any text, as a schema.

#![no_main]

#[expect(dead_code, reason = "other targets use the rest")]
#[path = "../../crates/core/tests/hostile/check.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|text: &str| check::schema(text));
