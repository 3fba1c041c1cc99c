//! Any bytes, as a commit log.

#![no_main]

#[path = "../../crates/store/tests/it/damage.rs"]
mod damage;

libfuzzer_sys::fuzz_target!(|input: &[u8]| damage::recover(input));
