//! Takes away what is to go. Records go before the blobs they name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use kiln_oci::{DiffId, Digest};

use super::census::{Census, Stamp, needs, stamp_of};
use super::item::{Fate, Item, Kind, Verdict};
use super::{Expand, Report};
use crate::cachemounts;
use crate::containers;
use crate::disk::LockMode;
use crate::error::{IoContext, Result, StoreError, optional};
use crate::leases::{Pin, pinned_by_the_living};
use crate::lock::try_lock;
use crate::remove::remove_tree;
use crate::repositories;
use crate::scratch::Scratch;
use crate::store::Store;

/// So many records are removed in a few milliseconds.
const RECORDS_AT_ONCE: usize = 500;

/// Removes what the verdicts say; what could not be removed stays, and its verdict says so.
pub(super) fn carry_out(
    store: &Store,
    census: &Census,
    expand: &Expand<'_>,
    report: &mut Report,
) -> Result<()> {
    let stamps = stamps(census);
    remove_records(store, &stamps, report)?;
    let goes = |verdict: &&mut Verdict| verdict.fate.goes() && verdict.item.kind() != Kind::Record;
    for verdict in report.verdicts.iter_mut().filter(goes) {
        let removed = remove_alone(store, &verdict.item);
        settle(verdict, removed, &mut report.kept);
    }
    remove_shared(store, census, expand, &stamps, report, Kind::Snapshot)?;
    // Not earlier: a full disk may have no room for another list of images until something has gone.
    if let Err(error) = remove_images(store, report) {
        let is_image = |verdict: &&mut Verdict| verdict.item.kind() == Kind::Image && verdict.fate.goes();
        report.verdicts.iter_mut().filter(is_image).for_each(|verdict| verdict.fate = Fate::InUse);
        report.kept.push(error);
    }
    remove_shared(store, census, expand, &stamps, report, Kind::Blob)
}

/// What did not go stays.
fn settle(verdict: &mut Verdict, removed: Result<bool>, kept: &mut Vec<StoreError>) {
    if !matches!(removed, Ok(true)) {
        verdict.fate = Fate::InUse;
    }
    kept.extend(removed.err());
}

/// Removes records, some at a time: others wait so long and no longer. A record under the digest of a blob may be all that says
/// where that is, so it stays when somebody holds the blob by now, here or not.
fn remove_records(store: &Store, stamps: &Stamps<'_>, report: &mut Report) -> Result<()> {
    let goes = |verdict: &&mut Verdict| verdict.fate.goes() && verdict.item.kind() == Kind::Record;
    let mut going: Vec<&mut Verdict> = report.verdicts.iter_mut().filter(goes).collect();
    for some in going.chunks_mut(RECORDS_AT_ONCE) {
        let _alone = store.session().lock("gc", LockMode::Exclusive)?;
        let pins = pinned_by_the_living(store.session())?;
        for verdict in some {
            let Item::Record { kind, key } = &verdict.item else { continue };
            let removed = match pins.contains(&Pin::Blob(*key)) {
                true => Ok(false),
                false => remove_record(store, kind, key, stamps),
            };
            settle(verdict, removed, &mut report.kept);
        }
    }
    Ok(())
}

/// Removes a record, unless there was a hit or another one since: then it is wanted.
fn remove_record(store: &Store, kind: &str, key: &Digest, stamps: &Stamps<'_>) -> Result<bool> {
    let path = store.records().place(kind, key);
    let found = optional(std::fs::symlink_metadata(&path)).on("inspect", &path)?;
    if found.is_none_or(|found| stamps.get(&(kind, *key)) != Some(&stamp_of(&found))) {
        return Ok(false);
    }
    store.records().remove(kind, key).map(|()| true)
}

type Stamps<'a> = BTreeMap<(&'a str, Digest), Stamp>;

fn stamps(census: &Census) -> Stamps<'_> {
    let mut stamps = BTreeMap::new();
    for found in &census.found {
        if let Item::Record { kind, key } = &found.item {
            stamps.insert((kind.as_str(), *key), found.stamp);
        }
    }
    stamps
}

/// Takes the images away that go, all by one change of the list.
fn remove_images(store: &Store, report: &Report) -> Result<()> {
    let image = |verdict: &Verdict| match verdict.item {
        Item::Image(digest) => Some(digest),
        _ => None,
    };
    let going: Vec<Digest> = report.gone().filter_map(image).collect();
    if going.is_empty() {
        return Ok(());
    }
    store.names().edit(|names| {
        for digest in &going {
            names.remove_nameless(digest);
        }
        Ok(())
    })
}

/// Removes what has a lock of its own, or needs none. Returns false when somebody uses it.
fn remove_alone(store: &Store, item: &Item) -> Result<bool> {
    let session = store.session();
    match item {
        Item::Blob(_) | Item::Snapshot(_) | Item::Image(_) | Item::Record { .. } => Ok(true),
        Item::Repository(name) => repositories::remove(session, name),
        Item::CacheMount { id, slot } => cachemounts::remove_slot(session, id, *slot),
        Item::Container(id) => containers::remove(session, id),
        Item::Log(build) => store.logs().remove(build),
        Item::Partial(_) => {
            let paths = item.paths(store);
            let Some(path) = paths.first() else { return Ok(false) };
            let Some(_guard) = try_lock(session.disk(), path, LockMode::Exclusive)? else { return Ok(false) };
            optional(session.disk().unlink(path)).on("remove", path).map(|_| true)
        }
        // Its process is dead, and its name never comes again.
        Item::Scratch(_) | Item::Damaged(_) => remove_in_place(store, item),
    }
}

fn remove_in_place(store: &Store, item: &Item) -> Result<bool> {
    item.paths(store).iter().try_for_each(|path| remove_tree(path))?;
    Ok(true)
}

/// Removes blobs or snapshots that still nobody wants, while nobody can begin to.
fn remove_shared(
    store: &Store,
    census: &Census,
    expand: &Expand<'_>,
    stamps: &Stamps<'_>,
    report: &mut Report,
    kind: Kind,
) -> Result<()> {
    let goes = |verdict: &Verdict| verdict.fate.goes() && verdict.item.kind() == kind;
    if !report.verdicts.iter().any(goes) {
        return Ok(());
    }
    let trash = Trash::new(store);
    {
        let _alone = store.session().lock("gc", LockMode::Exclusive)?;
        let wanted = Wanted::now(store, census, expand, stamps)?;
        for verdict in report.verdicts.iter_mut().filter(|verdict| goes(verdict)) {
            let removed = match verdict.item {
                Item::Blob(digest) if wanted.blobs.contains(&digest) => Ok(false),
                Item::Blob(digest) => bury_blob(store, trash.as_ref(), &digest).map(|()| true),
                Item::Snapshot(diff_id) if wanted.snapshots.contains(&diff_id) => Ok(false),
                Item::Snapshot(diff_id) => bury_snapshot(store, trash.as_ref(), &diff_id).map(|()| true),
                _ => continue,
            };
            settle(verdict, removed, &mut report.kept);
        }
    }
    if let Some(Err(error)) = trash.map(|trash| trash.0.close()) {
        report.kept.push(error);
    }
    Ok(())
}

/// What is wanted at this moment, besides what the census knows.
struct Wanted {
    blobs: BTreeSet<Digest>,
    snapshots: BTreeSet<DiffId>,
}

impl Wanted {
    fn now(store: &Store, census: &Census, expand: &Expand<'_>, stamps: &Stamps<'_>) -> Result<Self> {
        let mut wanted = Self { blobs: BTreeSet::new(), snapshots: BTreeSet::new() };
        for pin in pinned_by_the_living(store.session())? {
            match pin {
                Pin::Blob(digest) => drop(wanted.blobs.insert(digest)),
                Pin::Snapshot(diff_id) => drop(wanted.snapshots.insert(diff_id)),
            }
        }
        let mut known = census.needs.clone();
        for (descriptor, _) in store.names().entries()? {
            wanted.blobs.extend(needs(store, &descriptor, expand, &mut known)?);
        }
        for descriptor in containers::images(store.session())? {
            wanted.blobs.extend(needs(store, &descriptor, expand, &mut known)?);
        }
        for kind in store.records().kinds()? {
            for (key, metadata) in store.records().files(&kind)? {
                // What the census has read stays or has gone; what is new may name anything.
                if stamps.get(&(kind.as_str(), key)) != Some(&stamp_of(&metadata)) {
                    wanted.blobs.extend(store.records().named_blobs(&kind, &key)?.unwrap_or_default());
                }
            }
        }
        Ok(wanted)
    }
}

fn bury_blob(store: &Store, trash: Option<&Trash>, digest: &Digest) -> Result<()> {
    bury(store, trash, &store.blobs().path(digest))?;
    store.blobs().remove(digest)
}

fn bury_snapshot(store: &Store, trash: Option<&Trash>, diff_id: &DiffId) -> Result<()> {
    bury(store, trash, &store.snapshots().path(diff_id))?;
    remove_tree(&store.snapshots().note(diff_id))
}

fn bury(store: &Store, trash: Option<&Trash>, path: &Path) -> Result<()> {
    let moved =
        trash.is_some_and(|trash| store.session().disk().rename(path, &trash.place_for(path)).is_ok());
    // On a full disk there may be no room for a name in scratch; removing in place takes longer, and works.
    if moved { Ok(()) } else { remove_tree(path) }
}

/// A scratch directory for what goes, when the disk has room for one.
struct Trash(Scratch);

impl Trash {
    fn new(store: &Store) -> Option<Self> {
        // Without it things are removed in place.
        store.scratch("gc").ok().map(Self)
    }

    fn place_for(&self, path: &Path) -> PathBuf {
        // A blob and a snapshot may have the same digest.
        let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.0.path().join(format!("{folder}-{name}"))
    }
}
