//! Any text, as roles.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| rowcast::fuzz::roles(text));
