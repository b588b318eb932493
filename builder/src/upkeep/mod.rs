//! Looking after the store: what it takes, what may go, whether all is well. Functions return plain values, and print nothing.
//!
//! What goes, and in which order, is decided in `kiln_store::gc`. Here is what needs to know images and layers: which blobs an
//! image needs, and whether an unpacked layer is what its listing says.

mod bound;
pub use bound::{Bound, keep_within, may_exceed};

mod check;
pub use check::{Checked, Doubt, check, mend};

mod unpacked;

mod disk_usage;
pub use disk_usage::{DiskUsage, ImageUsage, Row, Use, disk_usage};

pub use kiln_store::fsck::Problem;
pub use kiln_store::gc::{Fate, Item, Kind, Policy, Report, Verdict};
pub use kiln_store::{Bytes, StoreError};

use kiln_store::{Store, gc};

use crate::catalog::{CatalogError, needs};

/// Removes what a policy says and nobody needs, or says what would go.
///
/// # Errors
/// What the store says; when a manifest of an image cannot be read, nothing is removed.
pub fn prune(store: &Store, policy: &Policy) -> Result<Report, CatalogError> {
    Ok(gc::gc(store, policy, &needs)?)
}
