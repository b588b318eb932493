//! Runs `kiln_frontend::fuzz::dockerfile_parse`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kiln_frontend::fuzz::dockerfile_parse(bytes));
