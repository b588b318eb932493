//! Working containers: an image, and what a command or a copy has changed over it.
//!
//! A container is a directory of the store with a record (`container_record`), and outlives the kiln that runs something in it.
//! There is no daemon, so a container runs as long as the kiln that started it; that one holds it, and a lock tells. Everything here
//! stands on what steps stand on: the same roots, owners, sandbox, and layers of the same bytes.
//!
//! What it does not know: how its lists are shown, and what flags there are.

mod commit;
pub use commit::{CommitRequest, commit};

mod export;
pub use export::export;

mod copy_in;
pub use copy_in::{CopyInSource, copy_in};

mod copy_out;
pub use copy_out::{CopyOutDestination, CopyOutOptions, copy_out};

mod placing;

mod show;
pub use show::{ContainerChange, ContainerRow, changes, inspect, list};

mod remove;
pub use remove::remove;

mod run;
pub use run::{Attendance, open};

mod create;
pub use create::{ContainerRequest, ImageNews, OpenContainer, PullPolicy, create};

mod root;

mod left;

mod find;
pub use find::Purpose;

mod name;

mod error;
pub use error::ContainerError;

pub use kiln_store::ContainerId;
