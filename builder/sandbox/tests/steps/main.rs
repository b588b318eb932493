//! Real steps in real namespaces, as root, as a user with subordinate ids and as a user with a single id.
//!
//! The program is its own harness (it speaks the part of libtest's protocol that cargo and nextest use), because the
//! child hook must run first in `main` and a user namespace is entered before any thread exists.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests, whose harness prints their results")]

mod attended;
mod cases;
mod ended;
mod escapes;
mod harness;
mod hostile;
mod space;
mod spare;

fn main() {
    kiln_sandbox::run_if_child();
    harness::main(&[cases::ALL, ended::ALL, attended::ALL, hostile::ALL, escapes::ALL, spare::ALL].concat());
}
