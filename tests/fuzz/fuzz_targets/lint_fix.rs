//! Runs `kiln_frontend::fuzz::lint_fix`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kiln_frontend::fuzz::lint_fix(bytes));
