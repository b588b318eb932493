//! Many images go at once: those that a rule of the caller means.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use kiln_oci::{Descriptor, Digest, Reference};
use kiln_store::gc::{self, Item, Policy};

use super::find::{choose, names_of};
use super::remove::{config_of, needs};
use super::{CatalogError, Removed};
use crate::container_record::users_of;
use crate::source::image;
use crate::workshop::Workshop;

/// An image that may go, as a rule sees it. Of an image whose documents are damaged or gone, little is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// All its names.
    pub names: Vec<Reference>,
    /// Whether another tool calls it by something that is no full name.
    pub has_foreign_name: bool,
    /// RFC 3339 time of its configuration.
    pub created: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was last pulled, loaded, built or built upon in this store.
    pub last_used: Option<SystemTime>,
}

/// What went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruned {
    /// Names and images, an image after its names, and layers after the images.
    pub removed: Vec<Removed>,
    /// What all that took on the disk, in bytes.
    pub reclaimed_bytes: u64,
}

/// Removes the images that `is_meant` says, with all that only they need; none that a container uses.
///
/// # Errors
/// What the store says.
pub fn prune(workshop: &Workshop, is_meant: &dyn Fn(&Candidate) -> bool) -> Result<Pruned, CatalogError> {
    let store = &workshop.store;
    let used = last_uses(workshop)?;
    let images = store.names().list()?;
    let descriptors: BTreeMap<Digest, &Descriptor> =
        images.iter().map(|image| (image.descriptor.digest, &image.descriptor)).collect();
    let mut pruned = Pruned { removed: Vec::new(), reclaimed_bytes: 0 };
    let mut owned: BTreeSet<Digest> = BTreeSet::new();
    for (digest, descriptor) in descriptors {
        let names = names_of(&images, &digest);
        let mut candidate = candidate(workshop, descriptor, names);
        candidate.last_used = used.get(&digest).copied();
        candidate.has_foreign_name =
            images.iter().any(|image| image.descriptor.digest == digest && image.foreign_name.is_some());
        if !is_meant(&candidate)
            || !users_of(store, &digest)?.is_empty()
            || !untag(workshop, &digest, &candidate.names)?
        {
            continue;
        }
        // What cannot be read goes all the same; only its layers are not told.
        owned.extend(needs(store.blobs(), descriptor).unwrap_or_default());
        let id = config_of(store.blobs(), descriptor);
        pruned.removed.extend(candidate.names.into_iter().map(Removed::Untagged));
        pruned.removed.push(Removed::Deleted(id));
    }
    if pruned.removed.is_empty() {
        return Ok(pruned);
    }
    let report = gc::gc(store, &Policy::default(), &needs)?;
    let is_told = |blob: &Digest| !owned.contains(blob) || pruned.removed.contains(&Removed::Deleted(*blob));
    let layers: Vec<Digest> = report.gone_blobs().into_iter().filter(|blob| !is_told(blob)).collect();
    pruned.removed.extend(layers.into_iter().map(Removed::Deleted));
    pruned.reclaimed_bytes = report.bytes().allocated;
    Ok(pruned)
}

/// Returns what the documents of an image say.
fn candidate(workshop: &Workshop, descriptor: &Descriptor, names: Vec<Reference>) -> Candidate {
    // Whoever removes images wants to remove those that are damaged, too, of which nothing is known.
    let config = choose(&workshop.store, "", descriptor, None).map(|chosen| chosen.config).ok();
    let created = config.as_ref().and_then(|config| config.created.clone());
    let labels = config.map(|config| config.config.labels).unwrap_or_default();
    Candidate { names, created, labels, has_foreign_name: false, last_used: None }
}

/// Takes all names of an image away, and says whether it went: somebody may have given it another name meanwhile.
fn untag(workshop: &Workshop, digest: &Digest, names: &[Reference]) -> Result<bool, CatalogError> {
    let has_gone = workshop.store.names().edit(|edit| {
        if names_of(&edit.list(), digest) != names {
            return Ok(false);
        }
        for name in names {
            edit.remove(name);
        }
        // One without a name may have gone meanwhile.
        Ok(edit.remove_untagged(digest) || !names.is_empty())
    })?;
    if has_gone {
        for name in names {
            image::forget(workshop, name)?;
        }
    }
    Ok(has_gone)
}

fn last_uses(workshop: &Workshop) -> Result<BTreeMap<Digest, SystemTime>, CatalogError> {
    let looked = gc::gc(&workshop.store, &Policy { is_dry_run: true, ..Policy::default() }, &needs)?;
    let blob = |verdict: gc::Verdict| match verdict.item {
        Item::Blob(digest) => Some((digest, verdict.last_used?)),
        _ => None,
    };
    Ok(looked.verdicts.into_iter().filter_map(blob).collect())
}
