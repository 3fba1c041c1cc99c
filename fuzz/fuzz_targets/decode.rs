//! Any bytes, as a packet of every version.

#![no_main]

#[expect(dead_code, reason = "the other target uses the rest")]
#[path = "../../crates/codec/tests/it/check.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::decode(bytes));
