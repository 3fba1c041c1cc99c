//! Any bytes, as messages of SCRAM.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rowcast::fuzz::scram(bytes));
