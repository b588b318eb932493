//! What the store takes, by what it is for. The rows add up to what `du` says.

use std::collections::{BTreeMap, BTreeSet};

use kiln_oci::{Digest, Reference};
use kiln_store::gc::{Fate, Item, Kind, Verdict, survey};
use kiln_store::{Bytes, Store};

use crate::catalog::{CatalogError, needs};

/// What something in the store is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// Blobs of images.
    Images,
    /// Records, and blobs that no image needs.
    Cache,
    /// Unpacked layers.
    Unpacked,
    /// Cache mounts.
    CacheMounts,
    /// What was fetched of git repositories.
    Repositories,
    /// Working containers: what was changed in them.
    Containers,
    /// Logs.
    Logs,
    /// Blobs half fetched.
    Partial,
    /// What is being made.
    Scratch,
    /// What fsck moved away.
    Damaged,
    /// The store's own files and directories.
    Own,
}

impl Use {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 11] = [
        Self::Images,
        Self::Cache,
        Self::Unpacked,
        Self::CacheMounts,
        Self::Repositories,
        Self::Containers,
        Self::Logs,
        Self::Partial,
        Self::Scratch,
        Self::Damaged,
        Self::Own,
    ];
}

/// What all that is for one use takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Row {
    /// How many things there are: images, records, unpacked layers, …
    pub count: usize,
    /// How many of them cannot go: images with a name, what running kilns use.
    pub active: usize,
    /// What they take.
    pub bytes: Bytes,
    /// What could go.
    pub reclaimable: Bytes,
}

/// What one image takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUsage {
    /// Its names.
    pub names: Vec<Reference>,
    /// Its manifest or index.
    pub digest: Digest,
    /// Blobs that other images need, too.
    pub shared: Bytes,
    /// Blobs that only it needs.
    pub unique: Bytes,
}

/// What a store takes.
#[derive(Debug, Clone)]
pub struct DiskUsage {
    /// By use.
    pub rows: BTreeMap<Use, Row>,
    /// The images.
    pub images: Vec<ImageUsage>,
    /// Each thing, with what it is for.
    pub things: Vec<(Use, Verdict)>,
    /// All together.
    pub total: Bytes,
    /// Number of directories that this user may not look into; what is in them is not counted.
    pub unreadable: usize,
}

/// Adds up what a store takes.
///
/// # Errors
/// When the store cannot be read, or what a manifest of an image needs.
pub fn disk_usage(store: &Store) -> Result<DiskUsage, CatalogError> {
    let survey = survey(store, &needs)?;
    let images = images(store)?;
    let of_images: BTreeSet<Digest> = images.values().flat_map(|image| image.blobs.iter().copied()).collect();
    let mut rows: BTreeMap<Use, Row> = Use::ALL.into_iter().map(|of| (of, Row::default())).collect();
    rows.entry(Use::Own).and_modify(|row| row.bytes = survey.rest());
    let mut things = Vec::with_capacity(survey.verdicts.len());
    let mut sizes = BTreeMap::new();
    for verdict in survey.verdicts {
        let of = use_of(&verdict.item, &of_images);
        let row = rows.entry(of).or_default();
        row.bytes += verdict.bytes;
        if verdict.fate.goes() {
            row.reclaimable += verdict.bytes;
        }
        match verdict.item {
            Item::Blob(digest) => drop(sizes.insert(digest, verdict.bytes)),
            // Images with a name are no things of their own.
            Item::Image(_) => {}
            _ => {
                row.count += 1;
                row.active += usize::from(verdict.fate == Fate::InUse);
            }
        }
        things.push((of, verdict));
    }
    let row = rows.entry(Use::Images).or_default();
    row.count = images.len();
    row.active = images.values().filter(|image| image.is_named).count();
    let images = weigh(images, &sizes);
    Ok(DiskUsage { rows, images, things, total: survey.total, unreadable: survey.unreadable })
}

fn use_of(item: &Item, of_images: &BTreeSet<Digest>) -> Use {
    match (item.kind(), item) {
        (Kind::Blob, Item::Blob(digest)) if of_images.contains(digest) => Use::Images,
        (Kind::Image, _) => Use::Images,
        (Kind::Blob | Kind::Record, _) => Use::Cache,
        (Kind::Snapshot, _) => Use::Unpacked,
        (Kind::Repository, _) => Use::Repositories,
        (Kind::CacheMount, _) => Use::CacheMounts,
        (Kind::Container, _) => Use::Containers,
        (Kind::Log, _) => Use::Logs,
        (Kind::Partial, _) => Use::Partial,
        (Kind::Scratch, _) => Use::Scratch,
        (Kind::Damaged, _) => Use::Damaged,
    }
}

#[derive(Default)]
struct Image {
    names: Vec<Reference>,
    is_named: bool,
    blobs: BTreeSet<Digest>,
}

fn images(store: &Store) -> Result<BTreeMap<Digest, Image>, CatalogError> {
    let mut images: BTreeMap<Digest, Image> = BTreeMap::new();
    for named in store.names().list()? {
        let digest = named.descriptor.digest;
        let image = images.entry(digest).or_default();
        image.is_named |= named.reference.is_some() || named.foreign_name.is_some();
        image.names.extend(named.reference);
        image.blobs.insert(digest);
        image.blobs.extend(needs(store.blobs(), &named.descriptor).unwrap_or_default());
    }
    Ok(images)
}

fn weigh(images: BTreeMap<Digest, Image>, sizes: &BTreeMap<Digest, Bytes>) -> Vec<ImageUsage> {
    let mut users: BTreeMap<Digest, usize> = BTreeMap::new();
    for blob in images.values().flat_map(|image| &image.blobs) {
        *users.entry(*blob).or_default() += 1;
    }
    let weighed = images.into_iter().map(|(digest, image)| {
        let (mut shared, mut unique) = (Bytes::default(), Bytes::default());
        for blob in &image.blobs {
            let bytes = sizes.get(blob).copied().unwrap_or_default();
            let of = if users.get(blob) == Some(&1) { &mut unique } else { &mut shared };
            *of += bytes;
        }
        ImageUsage { names: image.names, digest, shared, unique }
    });
    weighed.collect()
}
