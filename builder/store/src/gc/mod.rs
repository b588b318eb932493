//! Garbage collection: what nobody needs goes.
//!
//! | Kept | Because of |
//! |---|---|
//! | a blob | an image or the image of a container needs it; a kept record names it; a living process holds it |
//! | a record | its key is a blob that an image needs or a living process holds: it may say where the blob can be had |
//! | an image without a name, a record, a snapshot, a repository, a cache mount, a log, a partial blob, a container | nobody asked for this kind; it was used lately; what may go fits without it; a living process uses it |
//! | scratch | its process is alive |
//!
//! Only the caller can tell what a manifest needs, so the store parses nothing. Everything is looked at and weighed first, while
//! others work on. Only to move blobs and snapshots away does gc shut out those who want to hold something, and then it reads
//! again what may have changed: leases, names, and the records that are new. The deleting itself comes after that.

mod carry_out;

mod condemn;

mod census;

mod item;
pub use item::{Fate, Item, Kind, Verdict};

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use kiln_oci::{Descriptor, Digest};

use crate::blobs::Blobs;
use crate::error::{Result, StoreError};
use crate::lock::remove_unheld;
use crate::noted::Left;
use crate::store::Store;
use crate::usage::{Bytes, Scale};
use census::Census;

/// Says which blobs a manifest or index needs besides itself.
///
/// It may read blobs, and must not write or hold any. A blob that is needed and absent (a lazy base layer) is named too.
pub type Expand<'a> = dyn Fn(&Blobs, &Descriptor) -> std::result::Result<Vec<Digest>, Box<dyn std::error::Error + Send + Sync>>
    + 'a;

/// How much to remove. The default removes only what nothing refers to.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// What may go though it is good: those unused longest first.
    pub kinds: BTreeSet<Kind>,
    /// What was used within this time stays.
    pub unused_for_min: Duration,
    /// What was used at this time or later stays, to within a minute.
    pub used_since: Option<SystemTime>,
    /// Images without a name that are younger stay, whatever else holds.
    pub image_age_min: Duration,
    /// What may go stays while all of it takes no more bytes of the disk than this.
    pub keep_bytes: Option<u64>,
    /// Says what would go, and removes nothing.
    pub is_dry_run: bool,
}

/// What went, or would have gone, and what stays.
#[derive(Debug, Default)]
pub struct Report {
    /// One for each thing in the store.
    pub verdicts: Vec<Verdict>,
    /// What should have gone and could not be removed.
    pub kept: Vec<StoreError>,
    /// What is left of what may go.
    pub left: Left,
}

impl Report {
    /// Returns what went.
    pub fn gone(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|verdict| verdict.fate.goes())
    }

    /// Returns the blobs that went.
    pub fn gone_blobs(&self) -> Vec<Digest> {
        let blob = |verdict: &Verdict| match verdict.item {
            Item::Blob(digest) => Some(digest),
            _ => None,
        };
        self.gone().filter_map(blob).collect()
    }

    /// Returns how many things of a kind went.
    pub fn count(&self, kind: Kind) -> usize {
        self.gone().filter(|verdict| verdict.item.kind() == kind).count()
    }

    /// Returns what all that went took.
    pub fn bytes(&self) -> Bytes {
        self.gone().map(|verdict| verdict.bytes).sum()
    }
}

/// Removes what nobody needs.
///
/// # Errors
/// [`StoreError::Expand`] when the caller cannot say what a named manifest needs: then nothing is removed. Or what the disk
/// says.
pub fn gc(store: &Store, policy: &Policy, expand: &Expand<'_>) -> Result<Report> {
    let census = census::take(store, &|kind| policy.kinds.contains(&kind), expand, &mut Scale::default())?;
    let mut report = condemn::condemn(&census, policy, store.session().disk().now());
    if !policy.is_dry_run {
        carry_out::carry_out(store, &census, expand, &mut report)?;
        remove_unheld(store.session().disk(), store.path())?;
    }
    Ok(report)
}

/// What the store takes.
#[derive(Debug, Clone)]
pub struct Survey {
    /// One for each thing in the store; those that go are what could be had back.
    pub verdicts: Vec<Verdict>,
    /// Everything, the store's own files and directories included: what `du` says.
    pub total: Bytes,
    /// Number of directories that this user may not look into; what is in them is not counted.
    pub unreadable: usize,
}

impl Survey {
    /// Returns what the store's own files and directories take.
    pub fn rest(&self) -> Bytes {
        self.total.without(self.verdicts.iter().map(|verdict| verdict.bytes).sum())
    }
}

/// Adds up what the store takes, and what of it could go.
///
/// # Errors
/// As for [`gc`].
pub fn survey(store: &Store, expand: &Expand<'_>) -> Result<Survey> {
    let mut scale = Scale::default();
    let census = census::take(store, &|_| true, expand, &mut scale)?;
    let all = Policy { kinds: Kind::ALL.into_iter().collect(), is_dry_run: true, ..Policy::default() };
    let verdicts = condemn::condemn(&census, &all, store.session().disk().now()).verdicts;
    let paths = weighed_paths(store, &census);
    let rest = scale.weigh_without(store.path(), &|path| paths.contains(path))?;
    let total = rest + verdicts.iter().map(|verdict| verdict.bytes).sum();
    Ok(Survey { verdicts, total, unreadable: scale.unreadable })
}

/// Returns the paths below the store of all that was weighed.
fn weighed_paths(store: &Store, census: &Census) -> BTreeSet<std::path::PathBuf> {
    let blobs = census.blobs.keys().map(|digest| store.blobs().path(digest));
    let others = census.found.iter().flat_map(|found| found.item.paths(store));
    let below = |path: std::path::PathBuf| path.strip_prefix(store.path()).map(ToOwned::to_owned).ok();
    blobs.chain(others).filter_map(below).collect()
}
