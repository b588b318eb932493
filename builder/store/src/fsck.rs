//! Is everything in the store what it says it is? And moving away what is not.
//!
//! What is moved away goes to `damaged/`, whole, for a human to look at. A lost blob of a record or an unpacked layer is only
//! a slower build; a lost blob of a named image has to be pulled or built again.

use std::path::{Path, PathBuf};

use kiln_oci::{Descriptor, DiffId, Digest, layout};
use serde_json::{Map, Value};

use crate::containers::{CONTAINERS, ContainerId, path_of};
use crate::disk::{LockMode, plain_name};
use crate::error::{IoContext, Result, StoreError, optional};
use crate::leases::{Liveness, Pin, Session, liveness, pinned_by_the_living};
use crate::records::{Lookup, RECORDS, RecordDamage};
use crate::repositories::REPOSITORIES;
use crate::scratch::{SCRATCH, collect_dead, owner_of, replace_file};
use crate::snapshots::{NOTE, SNAPSHOTS};
use crate::store::Store;

/// Folder of what was moved away, below the store.
pub(crate) const DAMAGED: &str = "damaged";
const NUMBER_MAX: u32 = 10_000;
/// How far a damaged list of images is searched for whole entries: that takes longer than to read it.
const SALVAGE_BYTES_MAX: usize = 1 << 20;

/// Something in the store that is not right.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A blob has other bytes than its name says.
    #[error("damaged blob: `{digest}` has the digest `{actual}`")]
    BlobDamaged {
        /// Its name.
        digest: Digest,
        /// Its digest.
        actual: Digest,
    },
    /// Something could not be read: neither good nor bad is known.
    #[error("cannot check: {0}")]
    Unchecked(#[source] StoreError),
    /// A file or directory stands where it has no meaning.
    #[error("stray entry: `{}`", path.display())]
    Stray {
        /// The entry.
        path: PathBuf,
    },
    /// `index.json` is not a list of images.
    #[error("damaged list of images: {0}")]
    IndexDamaged(#[source] StoreError),
    /// An image is listed, and its manifest is not there.
    #[error("image without manifest: `{digest}`{}", name.as_ref().map(|name| format!(" named `{name}`")).unwrap_or_default())]
    ManifestMissing {
        /// The manifest.
        digest: Digest,
        /// The image's name, if it has one.
        name: Option<String>,
    },
    /// A file is not the record it should be.
    #[error("{0}")]
    RecordDamaged(RecordDamage),
    /// The record of a container cannot be read.
    #[error("damaged container: `{id}`: {reason}")]
    ContainerDamaged {
        /// The container.
        id: ContainerId,
        /// What is wrong with its record.
        reason: String,
    },
    /// The image of a container is not there.
    #[error("container without its image: `{id}` is of `{digest}`")]
    ContainerDangling {
        /// The container.
        id: ContainerId,
        /// The manifest or index.
        digest: Digest,
    },
    /// A record names a blob that is not there. It is never a hit.
    #[error("record without its blob: `{kind}` `{key}` names `{digest}`")]
    RecordDangling {
        /// The record's kind.
        kind: String,
        /// The record's key.
        key: Digest,
        /// The blob.
        digest: Digest,
    },
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// What is not right.
    pub problems: Vec<Problem>,
    /// Blobs looked at.
    pub blobs: usize,
    /// Records looked at.
    pub records: usize,
    /// Images looked at.
    pub images: usize,
    /// What killed processes left. That is no damage: the next build takes it away.
    pub leftovers: Vec<PathBuf>,
}

/// Reads everything in the store and reports what is not right.
///
/// # Errors
/// When a folder of the store cannot be listed.
pub fn fsck(store: &Store) -> Result<Report> {
    let mut report = Report::default();
    check_blobs(store, &mut report)?;
    check_index(store, &mut report)?;
    check_records(store, &mut report)?;
    check_digest_names(store.session(), SNAPSHOTS, NOTE, &mut report)?;
    check_digest_names(store.session(), REPOSITORIES, "", &mut report)?;
    check_containers(store, &mut report)?;
    find_leftovers(store, &mut report)?;
    Ok(report)
}

fn check_containers(store: &Store, report: &mut Report) -> Result<()> {
    check_digest_names(store.session(), CONTAINERS, "", report)?;
    for entry in store.containers().list()? {
        let id = entry.id;
        match entry.record {
            Err(reason) => report.problems.push(Problem::ContainerDamaged { id, reason }),
            Ok(facts) if !store.blobs().contains(&facts.image.digest)? => {
                report.problems.push(Problem::ContainerDangling { id, digest: facts.image.digest });
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

/// Finds what killed processes left: scratch that belongs to nobody, and notes of snapshots that never came.
fn find_leftovers(store: &Store, report: &mut Report) -> Result<()> {
    let session = store.session();
    let folder = store.path().join(SCRATCH);
    for name in session.disk().list(&folder).on("list", &folder)? {
        let is_alive = match name.to_str().and_then(owner_of) {
            Some(lease) => matches!(liveness(session, lease)?, Liveness::Alive),
            None => false,
        };
        if !is_alive {
            report.leftovers.push(folder.join(name));
        }
    }
    report.leftovers.extend(lone_notes(store)?);
    Ok(())
}

fn lone_notes(store: &Store) -> Result<Vec<PathBuf>> {
    let folder = store.path().join(SNAPSHOTS);
    let mut lone = Vec::new();
    for name in optional(store.session().disk().list(&folder)).on("list", &folder)?.unwrap_or_default() {
        let Some(hex) = name.to_str().and_then(|name| name.strip_suffix(NOTE)) else { continue };
        let snapshot = folder.join(hex);
        if optional(std::fs::symlink_metadata(&snapshot)).on("inspect", &snapshot)?.is_none() {
            lone.push(folder.join(name));
        }
    }
    Ok(lone)
}

/// Moves an unpacked layer away, unless a living process uses it; returns whether it went.
///
/// # Errors
/// What the disk says.
pub fn remove_snapshot(store: &Store, diff_id: &DiffId) -> Result<bool> {
    let _alone = store.session().lock("gc", LockMode::Exclusive)?;
    if pinned_by_the_living(store.session())?.contains(&Pin::Snapshot(*diff_id)) {
        return Ok(false);
    }
    let path = store.snapshots().path(diff_id);
    if optional(std::fs::symlink_metadata(&path)).on("inspect", &path)?.is_some() {
        move_away(store, path)?;
    }
    let note = store.snapshots().note(diff_id);
    optional(store.session().disk().unlink(&note)).on("remove", &note)?;
    Ok(true)
}

/// Moves a damaged list of images away, and makes one of the entries that can still be read; returns false where the list is good.
///
/// # Errors
/// What the disk says.
pub fn mend_index(store: &Store) -> Result<bool> {
    let _alone = store.session().lock("index", LockMode::Exclusive)?;
    if !matches!(store.names().list(), Err(StoreError::DocumentDamaged { .. })) {
        return Ok(false);
    }
    let path = store.path().join(layout::INDEX_FILE);
    let rest = salvaged(store, &path)?;
    move_away(store, path.clone())?;
    replace_file(store.session(), &path, &kiln_oci::json::to_bytes(&rest))?;
    Ok(true)
}

/// Moves away what a check found; returns how many problems are gone.
///
/// # Errors
/// What the disk says.
pub fn mend(store: &Store, report: &Report) -> Result<usize> {
    let mut mended = 0;
    for problem in &report.problems {
        mended += usize::from(mend_one(store, problem)?);
    }
    collect_dead(store.session())?;
    // Where a process is just about to publish the snapshot, that one will not be trusted, and be made again.
    for note in lone_notes(store)? {
        optional(store.session().disk().unlink(&note)).on("remove", &note)?;
    }
    Ok(mended)
}

/// Reads `suspects` and the blobs that this handle of the store holds, and moves away those that are damaged, so that whoever
/// wants them next makes or fetches them again. Returns their digests.
///
/// # Errors
/// What the disk says.
pub fn mend_held(store: &Store, suspects: &[Digest]) -> Result<Vec<Digest>> {
    let mut damaged = Vec::new();
    let held = store.session().pinned_blobs();
    for digest in suspects.iter().copied().chain(held) {
        match store.blobs().verify(&digest) {
            Err(StoreError::WrongDigest { .. }) => {
                move_away(store, store.blobs().path(&digest))?;
                damaged.push(digest);
            }
            Ok(()) | Err(StoreError::BlobMissing { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(damaged)
}

/// Returns a list of the entries of a damaged one that are whole, and whose manifests are there.
fn salvaged(store: &Store, path: &Path) -> Result<Map<String, Value>> {
    let bytes = std::fs::read(path).on("read", path)?;
    let mut entries = Vec::new();
    let mut at = 0;
    while let Some(begin) =
        bytes[at..].iter().position(|byte| *byte == b'{').filter(|_| at < SALVAGE_BYTES_MAX)
    {
        at += begin;
        let mut values = serde_json::Deserializer::from_slice(&bytes[at..]).into_iter::<Value>();
        let found = values.next().and_then(std::result::Result::ok);
        let entry = found.and_then(|value| {
            let digest = serde_json::from_value::<Descriptor>(value.clone()).ok()?.digest;
            Some((value, digest))
        });
        match entry {
            Some((value, digest)) if store.blobs().contains(&digest)? => {
                entries.push(value);
                at += values.byte_offset();
            }
            // The list itself, or something that is not whole: what is inside may be.
            _ => at += 1,
        }
    }
    let mut document = crate::names::empty_document();
    document.insert("manifests".to_owned(), Value::Array(entries));
    Ok(document)
}

fn mend_one(store: &Store, problem: &Problem) -> Result<bool> {
    match problem {
        Problem::BlobDamaged { digest, .. } => {
            // Another process may have replaced it with a good one.
            if store.blobs().verify(digest).is_err() {
                move_away(store, store.blobs().path(digest))?;
            }
        }
        Problem::Stray { path } => move_away(store, path.clone())?,
        Problem::IndexDamaged(_) => return mend_index(store),
        Problem::ManifestMissing { digest, .. } => store.names().edit(|edit| {
            if !store.blobs().contains(digest)? {
                edit.remove_digest(digest);
            }
            Ok(())
        })?,
        Problem::RecordDamaged(damage) => move_away(store, damage.path.clone())?,
        Problem::RecordDangling { kind, key, .. } => store.records().remove(kind, key)?,
        Problem::ContainerDamaged { id, .. } => move_away(store, path_of(store.session(), id))?,
        // The image is to be pulled again, or the container removed: that is the user's to say.
        Problem::Unchecked(_) | Problem::ContainerDangling { .. } => return Ok(false),
    }
    Ok(true)
}

fn move_away(store: &Store, path: PathBuf) -> Result<()> {
    let folder = store.path().join(DAMAGED);
    store.session().make_directories(&folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for number in 0..NUMBER_MAX {
        let place = folder.join(format!("{number}-{name}"));
        if std::fs::symlink_metadata(&place).is_err() {
            return store.session().disk().rename(&path, &place).on("move away", &path);
        }
    }
    Err(std::io::ErrorKind::AlreadyExists.into()).on("find a free name in", &folder)
}

fn check_blobs(store: &Store, report: &mut Report) -> Result<()> {
    check_digest_names(store.session(), layout::BLOBS_DIRECTORY, "", report)?;
    for digest in store.blobs().list()? {
        report.blobs += 1;
        match store.blobs().verify(&digest) {
            Ok(()) | Err(StoreError::BlobMissing { .. }) => {} // Collected since.
            Err(StoreError::WrongDigest { actual, .. }) => {
                report.problems.push(Problem::BlobDamaged { digest, actual });
            }
            Err(error) => report.problems.push(Problem::Unchecked(error)),
        }
    }
    Ok(())
}

fn check_index(store: &Store, report: &mut Report) -> Result<()> {
    let images = match store.names().list() {
        Ok(images) => images,
        Err(error @ StoreError::DocumentDamaged { .. }) => {
            report.problems.push(Problem::IndexDamaged(error));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    for image in images {
        report.images += 1;
        let digest = image.descriptor.digest;
        if !store.blobs().contains(&digest)? {
            let name = image.reference.map(|name| name.familiar()).or(image.foreign_name);
            report.problems.push(Problem::ManifestMissing { digest, name });
        }
    }
    Ok(())
}

fn check_records(store: &Store, report: &mut Report) -> Result<()> {
    let folder = store.path().join(RECORDS);
    for kind in store.session().disk().list(&folder).on("list", &folder)? {
        let path = folder.join(&kind);
        let Some(kind) =
            kind.to_str().filter(|kind| plain_name("record kind", kind).is_ok() && path.is_dir())
        else {
            report.problems.push(Problem::Stray { path });
            continue;
        };
        check_digest_names(store.session(), &format!("{RECORDS}/{kind}"), "", report)?;
        for entry in store.records().list(kind)? {
            report.records += 1;
            check_record(store, kind, entry.key, report)?;
        }
    }
    Ok(())
}

fn check_record(store: &Store, kind: &str, key: Digest, report: &mut Report) -> Result<()> {
    let record = match store.records().peek(kind, &key)? {
        Lookup::Hit(record) => record,
        Lookup::Miss => return Ok(()), // Collected since.
        Lookup::Damaged(damage) => {
            report.problems.push(Problem::RecordDamaged(damage));
            return Ok(());
        }
    };
    for digest in record.blobs {
        if !store.blobs().contains(&digest)? {
            report.problems.push(Problem::RecordDangling { kind: kind.to_owned(), key, digest });
            break;
        }
    }
    Ok(())
}

/// Reports the entries of a folder whose names are no digests, with or without `suffix`.
fn check_digest_names(session: &Session, folder: &str, suffix: &str, report: &mut Report) -> Result<()> {
    let folder = session.path(folder);
    let is_digest = |name: &str| Digest::from_hex(name.strip_suffix(suffix).unwrap_or(name)).is_ok();
    // Stores of earlier versions do not have every folder.
    for name in optional(session.disk().list(&folder)).on("list", &folder)?.unwrap_or_default() {
        if !name.to_str().is_some_and(is_digest) {
            report.problems.push(Problem::Stray { path: folder.join(name) });
        }
    }
    Ok(())
}
