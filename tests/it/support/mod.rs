//! What the tests stand on: fresh places, the program, servers on loopback, peers, and readers of images.
//!
//! Nothing here uses kiln's own crates to read what kiln wrote: a second opinion must not share the first one's mistakes.

pub(crate) mod busybox;
pub(crate) mod confined;
pub(crate) mod debian;
pub(crate) mod engine;
pub(crate) mod files;
pub(crate) mod flatten;
pub(crate) mod git;
pub(crate) mod http;
pub(crate) mod image;
pub(crate) mod layer;
pub(crate) mod mounts;
pub(crate) mod object_store;
pub(crate) mod peers;
pub(crate) mod ports;
pub(crate) mod program;
pub(crate) mod registry;
pub(crate) mod requires;
pub(crate) mod search;
pub(crate) mod served;
pub(crate) mod sha256;
pub(crate) mod sketch;
pub(crate) mod space;
pub(crate) mod terminal;
pub(crate) mod tokens;
pub(crate) mod users;
pub(crate) mod validator;
pub(crate) mod waiting;

pub(crate) use program::{Invocation, Outcome};
pub(crate) use requires::requires;
pub(crate) use space::TestSpace;
