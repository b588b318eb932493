//! Everything there is, what it takes, when it was used, and who needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use kiln_oci::{Descriptor, Digest};

use super::Expand;
use super::item::{Item, Kind};
use crate::cachemounts;
use crate::containers;
use crate::error::{IoContext, Result, StoreError, optional};
use crate::fsck::DAMAGED;
use crate::leases::{Liveness, Pin, liveness, pinned_by_the_living};
use crate::lock::{is_held, is_held_unnoticed};
use crate::partial::PARTIAL;
use crate::repositories;
use crate::scratch::{SCRATCH, owner_of};
use crate::store::Store;
use crate::usage::{Bytes, Scale};

/// What there is.
pub(super) struct Census {
    /// All blobs, with what they take.
    pub(super) blobs: BTreeMap<Digest, Bytes>,
    /// What living processes use.
    pub(super) pins: BTreeSet<Pin>,
    /// Blobs that images with a name need, with that name, and those that images of containers need.
    pub(super) named: BTreeMap<Digest, Option<String>>,
    /// Everything else.
    pub(super) found: Vec<Found>,
    /// For each image, the blobs it needs.
    pub(super) needs: BTreeMap<Digest, Vec<Digest>>,
}

/// Something other than a blob.
pub(super) struct Found {
    pub(super) item: Item,
    pub(super) bytes: Bytes,
    pub(super) last_used: SystemTime,
    pub(super) is_in_use: bool,
    /// Whether it is a record that cannot be read.
    pub(super) is_damaged: bool,
    /// The blobs it names.
    pub(super) names: Vec<Digest>,
    /// Tells whether a record is still the one that was read.
    pub(super) stamp: Stamp,
}

/// Inode and time of a file.
pub(super) type Stamp = (u64, i64, i64);

pub(super) fn stamp_of(metadata: &Metadata) -> Stamp {
    (metadata.ino(), metadata.mtime(), metadata.mtime_nsec())
}

/// Takes the census. Directories of kinds that are not `wanted` are left out, since to weigh them takes long.
pub(super) fn take(
    store: &Store,
    wanted: &dyn Fn(Kind) -> bool,
    expand: &Expand<'_>,
    scale: &mut Scale,
) -> Result<Census> {
    let pins = pinned_by_the_living(store.session())?;
    let mut census = Census {
        blobs: blobs(store)?,
        pins,
        named: BTreeMap::new(),
        found: Vec::new(),
        needs: BTreeMap::new(),
    };
    images(store, expand, &mut census)?;
    for descriptor in containers::images(store.session())? {
        for needed in needs(store, &descriptor, expand, &mut census.needs)? {
            census.named.entry(needed).or_insert(None);
        }
    }
    for kind in store.records().kinds()? {
        records(store, &kind, &mut census)?;
    }
    let mut weigh = Weigh { store, scale, census: &mut census };
    if wanted(Kind::Snapshot) {
        for entry in store.snapshots().list()? {
            let is_in_use = weigh.census.pins.contains(&Pin::Snapshot(entry.diff_id));
            weigh.add(Item::Snapshot(entry.diff_id), entry.last_used, is_in_use)?;
        }
    }
    if wanted(Kind::Repository) {
        for entry in repositories::list(store.session())? {
            let lock = repositories::lock_path(store.session(), &entry.name);
            let is_in_use = is_held_unnoticed(store.session().disk(), store.path(), &lock)?;
            weigh.add(Item::Repository(entry.name), entry.last_used, is_in_use)?;
        }
    }
    if wanted(Kind::CacheMount) {
        cache_mounts(&mut weigh)?;
    }
    if wanted(Kind::Container) {
        for entry in store.containers().list()? {
            weigh.add(Item::Container(entry.id), entry.changed, entry.is_in_use)?;
        }
    }
    if wanted(Kind::Log) {
        for build in store.logs().builds()? {
            let is_in_use = store.logs().is_living(&build.build_id)?;
            weigh.add(Item::Log(build.build_id), build.modified, is_in_use)?;
        }
    }
    if wanted(Kind::Partial) {
        weigh.folder(PARTIAL, Item::Partial, &|path| is_held(store.session().disk(), path))?;
    }
    if wanted(Kind::Damaged) {
        weigh.folder(DAMAGED, Item::Damaged, &|_| Ok(false))?;
    }
    weigh.folder(SCRATCH, Item::Scratch, &|path| is_alive(store, path))?;
    Ok(census)
}

fn blobs(store: &Store) -> Result<BTreeMap<Digest, Bytes>> {
    let mut blobs = BTreeMap::new();
    for digest in store.blobs().list()? {
        let path = store.blobs().path(&digest);
        if let Some(metadata) = optional(std::fs::symlink_metadata(&path)).on("inspect", &path)? {
            blobs.insert(digest, bytes_of(&metadata));
        }
    }
    Ok(blobs)
}

fn bytes_of(metadata: &Metadata) -> Bytes {
    Bytes { allocated: metadata.blocks() * 512, apparent: metadata.len() }
}

/// Finds what images need. Those without a name are things that may go.
fn images(store: &Store, expand: &Expand<'_>, census: &mut Census) -> Result<()> {
    let mut unnamed = BTreeSet::new();
    for (descriptor, name) in store.names().entries()? {
        let names = needs(store, &descriptor, expand, &mut census.needs)?;
        match name {
            Some(name) => {
                for needed in names {
                    census.named.entry(needed).or_insert_with(|| Some(name.clone()));
                }
            }
            None => drop(unnamed.insert(descriptor.digest)),
        }
    }
    for digest in unnamed {
        let path = store.blobs().path(&digest);
        let found = optional(std::fs::symlink_metadata(&path)).on("inspect", &path)?;
        let last_used = found.and_then(|found| found.modified().ok()).unwrap_or(SystemTime::UNIX_EPOCH);
        census.found.push(Found {
            item: Item::Image(digest),
            bytes: Bytes::default(),
            last_used,
            is_in_use: census.pins.contains(&Pin::Blob(digest)),
            is_damaged: false,
            names: census.needs.get(&digest).cloned().unwrap_or_default(),
            stamp: Stamp::default(),
        });
    }
    Ok(())
}

/// Returns the blobs that an image needs, itself among them.
pub(super) fn needs(
    store: &Store,
    descriptor: &Descriptor,
    expand: &Expand<'_>,
    known: &mut BTreeMap<Digest, Vec<Digest>>,
) -> Result<Vec<Digest>> {
    if let Some(known) = known.get(&descriptor.digest) {
        return Ok(known.clone());
    }
    let mut needed = vec![descriptor.digest];
    if store.blobs().contains(&descriptor.digest)? {
        let more = expand(store.blobs(), descriptor)
            .map_err(|source| StoreError::Expand { digest: descriptor.digest, source })?;
        needed.extend(more);
    }
    known.insert(descriptor.digest, needed.clone());
    Ok(needed)
}

fn records(store: &Store, kind: &str, census: &mut Census) -> Result<()> {
    for (key, metadata) in store.records().files(kind)? {
        let named = store.records().named_blobs(kind, &key)?;
        let last_used = metadata.modified().on("inspect", store.path())?;
        census.found.push(Found {
            item: Item::Record { kind: kind.to_owned(), key },
            bytes: bytes_of(&metadata),
            last_used,
            is_in_use: false,
            is_damaged: named.is_none(),
            names: named.unwrap_or_default(),
            stamp: stamp_of(&metadata),
        });
    }
    Ok(())
}

fn cache_mounts(weigh: &mut Weigh<'_>) -> Result<()> {
    let session = weigh.store.session();
    for (id, slot, last_used) in cachemounts::slots(session)? {
        let is_in_use = is_held_unnoticed(
            session.disk(),
            session.root(),
            &cachemounts::slot_lock_path(session, &id, slot),
        )?;
        weigh.add(Item::CacheMount { id, slot }, last_used, is_in_use)?;
    }
    Ok(())
}

/// Whether the process is alive to which something in scratch belongs.
fn is_alive(store: &Store, path: &Path) -> Result<bool> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match owner_of(&name) {
        Some(lease) => Ok(matches!(liveness(store.session(), lease)?, Liveness::Alive)),
        None => Ok(false),
    }
}

/// Adds things that are weighed by walking them.
struct Weigh<'a> {
    store: &'a Store,
    scale: &'a mut Scale,
    census: &'a mut Census,
}

impl Weigh<'_> {
    fn add(&mut self, item: Item, last_used: SystemTime, is_in_use: bool) -> Result<()> {
        let mut bytes = Bytes::default();
        for path in item.paths(self.store) {
            bytes += self.scale.weigh(&path)?;
        }
        let (names, stamp) = (Vec::new(), Stamp::default());
        self.census.found.push(Found { item, bytes, last_used, is_in_use, is_damaged: false, names, stamp });
        Ok(())
    }

    /// Adds each entry of a folder.
    fn folder(
        &mut self,
        folder: &str,
        item: impl Fn(OsString) -> Item,
        is_in_use: &dyn Fn(&Path) -> Result<bool>,
    ) -> Result<()> {
        let folder = self.store.path().join(folder);
        let names = optional(self.store.session().disk().list(&folder)).on("list", &folder)?;
        for name in names.unwrap_or_default() {
            let path = folder.join(&name);
            let Some(metadata) = optional(std::fs::symlink_metadata(&path)).on("inspect", &path)? else {
                continue; // Gone since.
            };
            let last_used = metadata.modified().on("inspect", &path)?;
            let is_in_use = is_in_use(&path)?;
            self.add(item(name), last_used, is_in_use)?;
        }
        Ok(())
    }
}
