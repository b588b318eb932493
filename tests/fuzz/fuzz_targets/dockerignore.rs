//! Runs `kiln_frontend::fuzz::dockerignore`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kiln_frontend::fuzz::dockerignore(bytes));
