//! Any bytes, as the header of a proxy.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rowcast::fuzz::proxy(bytes));
