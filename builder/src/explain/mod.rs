//! Why steps run, and are not taken from the cache.

mod reason;

pub use reason::{Change, Reason};
