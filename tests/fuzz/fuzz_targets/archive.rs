//! Runs `kiln_layer::fuzz::archive`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kiln_layer::fuzz::archive(bytes));
