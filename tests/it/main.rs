//! Everything that is proved through the command line, in one binary so that it links once.
//!
//! `support` holds what the tests stand on: fresh places, servers on loopback, peers, a second opinion on images.
//! The other modules are the proofs, one subject a file.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where its surroundings fail, and the message says where"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests start servers on threads and read CI and PATH themselves"
)]
#![expect(clippy::print_stderr, reason = "what was skipped, and scores, are printed")]

mod agent_keys;
mod agents;
mod aside;
mod buildlog;
mod check_repro;
mod chrooted;
mod comparing;
mod conformance;
mod containers;
mod copying;
mod debian;
mod docker_formats;
mod doctor;
mod documents;
mod entering;
mod exchange;
mod explaining;
mod faults;
mod foreign;
mod foreign_platforms;
mod git;
mod golden;
mod hostile;
mod hostile_steps;
mod kills;
mod linting;
mod live_times;
mod messages;
mod overhead;
mod pragmas;
mod random_edits;
mod readers;
mod registries;
mod remote;
mod reproducible;
mod roots;
mod rungs;
mod running;
mod scanning;
mod second_builder;
mod sharing;
mod shells;
mod step_environment;
mod support;
mod terminal_text;
mod transfer_bars;
mod transfers;
mod tutorials;
mod upkeep;
mod web;
mod web_contexts;
mod working_containers;
