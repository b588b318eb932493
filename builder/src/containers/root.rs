//! The files of a container: what was changed, what it shows, and putting more into it.
//!
//! | Form | The directory holds | Changed is |
//! |---|---|---|
//! | overlay | what the overlay's upper directory took | all of it, whiteouts and opaque directories among it |
//! | copy | all files | what is not as the image has it; a file whose change time is older than the copy is not even read |
//!
//! The same roots, owners and marks as those of steps, so a layer that is made of a container has the bytes that a RUN would have
//! given it. What lies in a volume of the image belongs to no layer, as in Docker.
//!
//! While a command runs in it the files of a container change under whoever reads them. Then what is needed of them is copied aside first,
//! each file as it is at one moment.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_layer::{
    ArchivePath, Changes, DiffOptions, DirectoryOrigin, Entry, Hold, MaterializeOptions, Metadata,
    ReshapeOptions, Tree, Verdict, WalkOptions, WalkOwner, WalkXattrs, WithTime, changes_from_directory,
    changes_from_overlay_upper, reshape, walk_for_diff, walk_origin,
};
use kiln_sandbox::{Identity, Owner, OwnershipRecord, RootPlan};
use kiln_store::{HeldContainer, NewContainer, Scratch};

use super::ContainerError;
use super::left::Left;
use crate::clock;
use crate::container_record::{ContainerRecord, LinkOwner, RootForm, RootRecord};
use crate::layers::{self, UnpackedLayers};
use crate::root_kind::{is_chroot, root_kind};
use crate::rootfs::Layer;
use crate::transform::{
    MountPoints, OVERLAY_LAYERS_MAX, Recorded, StepError, dress, lower_directories, shape,
};
use crate::upper;
use crate::workshop::{RootKind, Workshop};

/// The files of a container that is held.
pub(super) struct ContainerRoot {
    workshop: Arc<Workshop>,
    /// The image's layers, base first.
    pub(super) layers: Vec<Layer>,
    /// What the image holds.
    pub(super) lower: Arc<Tree>,
    directory: PathBuf,
    root: RootRecord,
    volumes: Vec<ArchivePath>,
    /// Where the command is to find what is mounted.
    mounts: Vec<ArchivePath>,
    /// Where files are copied aside, if a command may change them.
    aside: Option<Scratch>,
}

/// Which contents are needed, besides those that may be as the image has them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Needed<'a> {
    /// None: that something differs is enough.
    None,
    /// That of a path, and those below it.
    Within(&'a ArchivePath),
    /// All that were changed.
    All,
}

impl Needed<'_> {
    fn has(self, path: &ArchivePath) -> bool {
        match self {
            Self::None => false,
            Self::Within(place) => path.is_within(place),
            Self::All => true,
        }
    }
}

/// Whether what lies in volumes counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Volumes {
    /// It is shown as it is.
    Shown,
    /// It belongs to the container and to nothing that is made of it.
    LeftOut,
}

/// Fills the directory of a container that is being made.
pub(super) fn fill(
    workshop: &Workshop,
    new: &NewContainer,
    layers: &[Layer],
    lower: &Tree,
) -> Result<RootRecord, ContainerError> {
    let directory = new.changes();
    let form = match overlay(workshop, layers)? {
        Some(_) => {
            let marks = !matches!(workshop.identity, Ok(Identity::Root));
            RootForm::Overlay { has_user_marks: marks }
        }
        None => {
            shape(workshop, layers, &directory, [&Tree::new(), lower])?;
            let is_absent = |(path, entry): &(&ArchivePath, &Entry)| {
                entry.kind.is_device() && directory.join(path.as_path()).symlink_metadata().is_err()
            };
            let absent = lower.iter().filter(is_absent);
            let absent = absent.map(|(path, _)| path.as_path().as_os_str().to_owned()).collect();
            let ready_ns = clock::outlast_now(&workshop.store).map_err(StepError::from)?;
            RootForm::Copy { ready_ns, absent }
        }
    };
    dress(workshop, &directory, lower)?;
    let records_owners = layers::ownership(workshop) == kiln_layer::Ownership::Recorded;
    Ok(RootRecord { form, records_owners, stubs: Vec::new(), links: None })
}

/// Returns the directories of an overlay, base first, where roots are overlays and it takes so many layers.
fn overlay(workshop: &Workshop, layers: &[Layer]) -> Result<Option<Vec<PathBuf>>, ContainerError> {
    if !matches!(root_kind(workshop)?, RootKind::Overlay) {
        return Ok(None);
    }
    let lower = lower_directories(workshop, layers)?;
    Ok((lower.len() <= OVERLAY_LAYERS_MAX).then_some(lower))
}

/// Returns the workshop that has the ways in which the files of a container were made.
pub(super) fn workshop_of(
    workshop: &Arc<Workshop>,
    record: &ContainerRecord,
) -> Result<Arc<Workshop>, ContainerError> {
    let other =
        |reason: &str| ContainerError::OtherManner { name: record.name.clone(), reason: reason.to_owned() };
    let records = |workshop: &Workshop| layers::ownership(workshop) == kiln_layer::Ownership::Recorded;
    let fitting = match (record.root.records_owners, records(workshop)) {
        (true, false) => {
            let recording = workshop.recording().map(Arc::new);
            recording.ok_or_else(|| other("its owners are recorded, and this user sets real ones"))?
        }
        (false, true) => return Err(other("it has real owners, which this user cannot read or set")),
        _ => Arc::clone(workshop),
    };
    let is_root = matches!(workshop.identity, Ok(Identity::Root));
    match record.root.form {
        RootForm::Overlay { has_user_marks } if has_user_marks == is_root => {
            Err(other("it was made by another user, or in another user namespace"))
        }
        _ => Ok(fitting),
    }
}

/// The root of a container while something runs in it.
pub(super) struct RunningRoot {
    pub(super) plan: RootPlan,
    _points: MountPoints,
    _scratch: Option<Scratch>,
}

impl ContainerRoot {
    /// Opens the files of a container. Its layers must be in the store, and what they list be known.
    pub(super) fn open(
        workshop: &Arc<Workshop>,
        held: &HeldContainer,
        record: &ContainerRecord,
        layers: Vec<Layer>,
    ) -> Result<Self, ContainerError> {
        let lower = layers::tree(workshop, &layers)?;
        let volumes = places(record.config.volumes.keys());
        let mounts = places(record.surroundings.mounts.iter().map(|mount| &mount.target));
        let aside = held.is_moving().then(|| workshop.store.scratch("still")).transpose()?;
        let (workshop, root) = (Arc::clone(workshop), record.root.clone());
        Ok(Self { workshop, layers, lower, directory: held.changes(), root, volumes, mounts, aside })
    }

    /// Whether a command may change its files while they are read.
    pub(super) fn is_moving(&self) -> bool {
        self.aside.is_some()
    }

    /// Makes the root ready for a process.
    pub(super) fn running(&self) -> Result<RunningRoot, ContainerError> {
        let (workshop, store) = (&self.workshop, &self.workshop.store);
        let points = MountPoints::default();
        let (plan, scratch) = match self.root.form {
            RootForm::Overlay { .. } => {
                let lower = overlay(workshop, &self.layers)?.ok_or_else(|| StepError::Impossible {
                    reason: "the container was made as an overlay, and none can be mounted now".to_owned(),
                })?;
                let below = points.directory(store, workshop.resolv_conf.is_some());
                let lower = below.into_iter().chain(lower).collect();
                let work = store.scratch("work")?;
                let plan =
                    RootPlan::Overlay { lower, upper: self.directory.clone(), work: work.path().to_owned() };
                (plan, Some(work))
            }
            RootForm::Copy { .. } if is_chroot(workshop) => {
                let aside = store.scratch("aside")?;
                let plan = RootPlan::Chroot { root: self.directory.clone(), aside: aside.path().to_owned() };
                (plan, Some(aside))
            }
            RootForm::Copy { .. } => (RootPlan::Directory(self.directory.clone()), None),
        };
        Ok(RunningRoot { plan, _points: points, _scratch: scratch })
    }

    /// Returns what was changed. Of a container that moves the contents that are `needed` can be read; they are gone after the next call.
    pub(super) fn changes(
        &self,
        with_time: WithTime,
        volumes: Volumes,
        needed: Needed<'_>,
    ) -> Result<Changes, ContainerError> {
        let directory = self.origin()?;
        let ignored = self.ignored();
        let is_left_out = |path: &ArchivePath, _: bool| {
            let in_volume = |volume: &ArchivePath| {
                path.is_within(volume) && (path != volume || self.lower.get(volume).is_some())
            };
            ignored.contains(path) || volumes == Volumes::LeftOut && self.volumes.iter().any(in_volume)
        };
        let records: Vec<OwnershipRecord> =
            self.root.links.iter().flatten().map(|link| link.as_record()).collect();
        let is_overlay = matches!(self.root.form, RootForm::Overlay { .. });
        // Where nothing has ended well, links are as the image has them.
        let has_lower_links = is_overlay || self.root.links.is_none();
        let recorded = Recorded::new(&self.workshop, &records, &directory, has_lower_links);
        let metadata = |path: &ArchivePath, found: Metadata| recorded.metadata(path, found, &self.lower);
        let aside = self.empty_aside()?;
        let wanted = |path: &ArchivePath, entry: &Entry| self.is_wanted(path, entry, needed);
        let options = DiffOptions {
            ignore: Some(&is_left_out),
            metadata: recorded.is_needed().then_some(&metadata),
            with_time,
            hold: aside.as_ref().map(|aside| Hold { aside, wanted: &wanted }),
        };
        let failed = |error: kiln_layer::DiffError| StepError::Diff { source: Box::new(error) };
        let mut changes = match &self.root.form {
            RootForm::Overlay { .. } => {
                changes_from_overlay_upper(&directory, &self.lower, options).map_err(failed)?
            }
            RootForm::Copy { ready_ns, absent } => {
                let before = self.before(&directory, *ready_ns, absent)?;
                changes_from_directory(&directory, &self.lower, &before, options).map_err(failed)?.0
            }
        };
        recorded.apply_devices(&mut changes, &self.lower, with_time);
        Ok(changes)
    }

    /// Returns what the container shows; see [`changes`](Self::changes).
    pub(super) fn view(&self, volumes: Volumes, needed: Needed<'_>) -> Result<Tree, ContainerError> {
        let mut tree = (*self.lower).clone();
        tree.apply(&self.changes(WithTime::Yes, volumes, needed)?);
        Ok(tree)
    }

    /// Whether a file is to be held still: its content is needed, or decides whether it is changed.
    fn is_wanted(&self, path: &ArchivePath, entry: &Entry, needed: Needed<'_>) -> bool {
        let content = |entry: &Entry| entry.content().cloned();
        let Some(own) = content(entry) else { return false };
        let below = self.lower.get(path).and_then(content);
        let is_untouched = match (&self.root.form, &own.identity) {
            (RootForm::Copy { ready_ns, .. }, Some(identity)) => identity.ctime_ns < *ready_ns,
            _ => false,
        };
        match below {
            Some(_) if is_untouched => false,
            Some(below) if below.size == own.size => true,
            _ => needed.has(path),
        }
    }

    /// Returns the directory for files that are held still, with nothing in it; none where files hold still by themselves.
    fn empty_aside(&self) -> Result<Option<Arc<DirectoryOrigin>>, ContainerError> {
        let Some(scratch) = &self.aside else { return Ok(None) };
        let place = scratch.path().join("files");
        let failed =
            |source| ContainerError::Io { what: "cannot make a directory for copies".to_owned(), source };
        if place.symlink_metadata().is_ok() {
            fs_err::remove_dir_all(&place).map_err(failed)?;
        }
        fs_err::create_dir(&place).map_err(failed)?;
        Ok(Some(Arc::new(DirectoryOrigin::open(&place).map_err(failed)?)))
    }

    /// Gives the contents of the layers.
    pub(super) fn with_contents<T>(&self, work: impl FnOnce(&UnpackedLayers<'_>) -> T) -> T {
        let stacks = [self.layers.clone()];
        work(&UnpackedLayers { workshop: &self.workshop, stacks: &stacks })
    }

    /// Writes files into the container, in the place of what has their names. Directories that `view` has are there.
    pub(super) fn put(&self, view: &Tree, more: &Tree) -> Result<(), ContainerError> {
        let directory = self.origin()?;
        let xattrs = match self.root.form {
            RootForm::Overlay { .. } => WalkXattrs::LayerAndOverlay,
            RootForm::Copy { .. } => WalkXattrs::Layer,
        };
        let concerned: BTreeSet<ArchivePath> = more
            .iter()
            .flat_map(|(path, _)| path.ancestors().chain([path.clone()]).collect::<Vec<_>>())
            .collect();
        let filter = |path: &ArchivePath, _: bool| match concerned.contains(path) {
            true => Verdict::Keep,
            false => Verdict::Prune,
        };
        let before = walk_origin(&directory, &filter, WalkOptions { owner: WalkOwner::AsIs, xattrs })?;
        let after = self.with_more(&before, view, more)?;
        let (ownership, devices) = (layers::ownership(&self.workshop), layers::devices(&self.workshop));
        let note = |path: &Path, entry: &Entry| upper::note(path, entry, ownership, devices);
        let files = MaterializeOptions { ownership, devices, time: None };
        Ok(self.with_contents(|contents| {
            let options = ReshapeOptions { files, layers: contents, note: &note };
            reshape(&self.directory, &before, &after, options)
        })?)
    }

    /// Returns what the directory is to hold.
    fn with_more(&self, before: &Tree, view: &Tree, more: &Tree) -> Result<Tree, ContainerError> {
        let mut after = before.clone();
        let mut made = HashMap::new();
        for (path, inode) in more.names() {
            let parents: Vec<ArchivePath> = path.ancestors().filter(|parent| !parent.is_root()).collect();
            for parent in parents.into_iter().rev() {
                if !after.get(&parent).is_some_and(Entry::is_directory) {
                    let shown = view.get(&parent).or_else(|| more.get(&parent));
                    after.insert(parent, shown.cloned().unwrap_or_else(Entry::implied_directory));
                }
            }
            if let Some(first) = made.get(&inode) {
                after.remove(path);
                after.link(path.clone(), first)?;
                continue;
            }
            let mut entry = more.entry(inode).clone();
            if entry.is_directory() && view.get(path).is_none() && self.lower.get(path).is_some() {
                entry.metadata.xattrs.insert(self.opaque_mark().to_vec(), b"y".to_vec());
            }
            after.insert(path.clone(), entry);
            made.insert(inode, path.clone());
        }
        Ok(after)
    }

    /// Returns the attribute of a directory that hides what lies below it.
    fn opaque_mark(&self) -> &'static [u8] {
        match self.root.form {
            RootForm::Overlay { has_user_marks: false } => b"trusted.overlay.opaque",
            RootForm::Overlay { has_user_marks: true } | RootForm::Copy { .. } => b"user.overlay.opaque",
        }
    }

    fn origin(&self) -> Result<Arc<DirectoryOrigin>, ContainerError> {
        let failed =
            |source| ContainerError::Io { what: "cannot open the container's files".to_owned(), source };
        let directory = DirectoryOrigin::open(&self.directory).map_err(failed)?;
        Ok(Arc::new(if self.is_moving() { directory.moving() } else { directory }))
    }

    /// Returns what the root held when it was made, as far as it can be told from what nobody has touched since.
    fn before(
        &self,
        directory: &Arc<DirectoryOrigin>,
        ready_ns: i64,
        absent: &[std::ffi::OsString],
    ) -> Result<Tree, ContainerError> {
        let whole = DiffOptions { ignore: None, metadata: None, with_time: WithTime::Yes, hold: None };
        let walked =
            walk_for_diff(directory, whole).map_err(|error| StepError::Diff { source: Box::new(error) })?;
        let mut before = (*self.lower).clone();
        for path in absent {
            if let Ok(path) = ArchivePath::clamp(path.as_encoded_bytes()) {
                before.remove(&path);
            }
        }
        for (path, entry) in walked.iter() {
            let identity = entry.content().and_then(|content| content.identity.as_deref());
            if identity.is_some_and(|identity| identity.ctime_ns < ready_ns) && self.lower.get(path).is_some()
            {
                before.insert(path.clone(), entry.clone());
            }
        }
        Ok(before)
    }

    fn ignored(&self) -> BTreeSet<ArchivePath> {
        let Self { directory, root, lower, mounts, .. } = self;
        Left { directory, root, lower, mounts, is_moving: self.is_moving() }.paths()
    }
}

/// Returns paths as those of a tree; what is no path, and the root, is none of them.
fn places<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<ArchivePath> {
    texts.filter_map(|text| ArchivePath::clamp(text.as_bytes()).ok()).filter(|path| !path.is_root()).collect()
}

impl LinkOwner {
    fn as_record(self) -> OwnershipRecord {
        let (device, inode) = self.inode;
        OwnershipRecord { device, inode, owner: Owner { uid: self.owner.0, gid: self.owner.1 } }
    }
}
