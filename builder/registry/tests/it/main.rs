//! The client against a real registry and against one that misbehaves.

// Clippy takes helpers for parts of tests only where they are marked as such.
#[cfg(test)]
mod buckets;
#[cfg(test)]
mod credentials;
#[cfg(test)]
mod cutting_proxy;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod real;
#[cfg(test)]
mod real_registry;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod untagging;
#[cfg(test)]
mod uploads;
#[cfg(test)]
mod web;
