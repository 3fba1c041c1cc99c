//! Any text, as a configuration.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| rowcast::fuzz::config(text));
