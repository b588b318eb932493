//! Runs `kiln_layer::fuzz::tar_read`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kiln_layer::fuzz::tar_read(bytes));
