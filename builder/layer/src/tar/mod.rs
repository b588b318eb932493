//! The tar format: one hardened reader, one maker of headers.

pub mod read;

pub mod write;
