//! Any bytes, as a payload in each format, or a patch.

#![no_main]

#[expect(dead_code, reason = "other targets use the rest")]
#[path = "../../crates/core/tests/hostile/check.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::value(bytes));
