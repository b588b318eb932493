//! The counter: flags, progress, errors. Everything else is done by the libraries below.
#![expect(dead_code, reason = "the commands that use these come next")]

mod cli;
mod failure;
mod request;
mod settings;
mod suggest;
mod ui;

fn main() {
    kiln_sandbox::run_if_child();
}
