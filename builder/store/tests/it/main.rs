//! The store as its users see it: one binary, one file a theme.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod collecting;
mod containers;
mod crash;
mod disks;
mod faults;
mod model;
mod parts;
mod peers;
mod places;
mod processes;
mod repositories;
mod scenario;
mod snapshots;
