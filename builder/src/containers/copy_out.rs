//! Files of a container go to the host, or into an archive.
//!
//! A container may hold anything, also symlinks that lead to files of the host. So files are first written into a directory of their
//! own, as they are, beside where they go; then each is moved to its place by its name, below directories that are opened without
//! following any symlink.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kiln_layer::{
    ArchivePath, Devices, Entry, MaterializeOptions, Ownership, ReshapeOptions, Tree, Verdict, WalkOptions,
    WalkOwner, WalkXattrs, escape, reshape, walk,
};
use kiln_sandbox::Identity;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, chmodat, openat2, renameat, statat};
use rustix::io::Errno;

use super::ContainerError;
use super::create::OpenContainer;
use super::placing::{Kept, Placement, SourceKind, Target, check, is_contents, part_of, place};
use super::root::{ContainerRoot, Needed, Volumes};
use crate::export::write_files;
use crate::lanes::blocking;
use crate::request::Destination;

/// How often files are looked for that are elsewhere when they are looked at.
const LOOKS_MAX: usize = 5;

/// Where files of a container go.
#[derive(Debug, Clone)]
pub enum CopyOutDestination {
    /// To the host.
    Path {
        /// The path, absolute.
        path: PathBuf,
        /// As it was written: `/` at its end means a directory.
        text: String,
    },
    /// As a tar archive to standard output.
    Stdout,
}

/// How files leave a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyOutOptions {
    /// Whether a symlink is followed, inside the container.
    pub follows: bool,
    /// Whether owners are kept; else files are the caller's.
    pub keeps_owners: bool,
}

/// Copies files out of a container.
///
/// # Errors
/// [`ContainerError`]: what cannot be read, written, or put there.
pub async fn copy_out(
    open: &OpenContainer,
    source: &str,
    destination: CopyOutDestination,
    options: CopyOutOptions,
) -> Result<(), ContainerError> {
    if options.keeps_owners
        && matches!(destination, CopyOutDestination::Path { .. })
        && !matches!(open.workshop.identity, Ok(Identity::Root | Identity::Chroot { .. }))
    {
        return Err(ContainerError::Owners);
    }
    let root = open.root()?;
    let (container, source) = (open.record.name.clone(), source.to_owned());
    blocking(move || {
        let (view, files) = find(&root, &container, &source, options.follows)?;
        match destination {
            CopyOutDestination::Stdout => {
                let name =
                    if files.kind == SourceKind::Contents { ArchivePath::root() } else { files.name.clone() };
                let tree = part_of(&view, &files.place, &name)?;
                let stdout = Destination::Stdout;
                Ok(root
                    .with_contents(|contents| write_files(&stdout, &ArchivePath::root(), &tree, contents))?)
            }
            CopyOutDestination::Path { path, text } => to_host(&root, &view, &files, &path, &text, options),
        }
    })
    .await
}

/// Finds files, and holds them still where the container's command runs.
fn find(
    root: &ContainerRoot,
    container: &str,
    source: &str,
    follows: bool,
) -> Result<(Tree, Files), ContainerError> {
    let view = root.view(Volumes::Shown, Needed::None)?;
    let mut files = Files::find(&view, container, source, follows)?;
    if !root.is_moving() {
        return Ok((view, files));
    }
    for _ in 0..LOOKS_MAX {
        let view = root.view(Volumes::Shown, Needed::Within(&files.place))?;
        let now = Files::find(&view, container, source, follows)?;
        if now.place == files.place {
            return Ok((view, now));
        }
        // A link on the way leads elsewhere since.
        files = now;
    }
    Err(ContainerError::Place { path: source.to_owned(), reason: "it leads elsewhere again and again" })
}

/// Files that were found in a container.
struct Files {
    /// Where they are, without symlinks on the way.
    place: ArchivePath,
    /// What they are called where they keep their name.
    name: ArchivePath,
    kind: SourceKind,
}

impl Files {
    fn find(view: &Tree, container: &str, text: &str, follows: bool) -> Result<Self, ContainerError> {
        let missing = || ContainerError::NoFile { container: container.to_owned(), path: text.to_owned() };
        let resolve = |source| ContainerError::Resolve {
            container: container.to_owned(),
            path: text.to_owned(),
            source,
        };
        let path = ArchivePath::clamp(text.as_bytes()).map_err(|_| missing())?;
        let wants_directory = text.ends_with('/') || is_contents(text);
        let place = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) if !(follows || wants_directory) => {
                let parent = view.resolve(&parent).map_err(resolve)?.path;
                parent.join(name).map_err(|_| missing())?
            }
            _ => view.resolve(&path).map_err(resolve)?.path,
        };
        let is_directory = place.is_root() || view.get(&place).ok_or_else(missing)?.is_directory();
        if wants_directory && !is_directory {
            return Err(ContainerError::Place { path: text.to_owned(), reason: "it is no directory" });
        }
        let kind = match is_directory {
            true if is_contents(text) || place.is_root() => SourceKind::Contents,
            true => SourceKind::Directory,
            false => SourceKind::Other,
        };
        let name = path.file_name().and_then(|name| ArchivePath::parse(name).ok());
        Ok(Self { place, name: name.unwrap_or_else(ArchivePath::root), kind })
    }
}

fn to_host(
    root: &ContainerRoot,
    view: &Tree,
    files: &Files,
    path: &Path,
    text: &str,
    options: CopyOutOptions,
) -> Result<(), ContainerError> {
    let refused = |reason| ContainerError::Place { path: text.to_owned(), reason };
    let target = match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Target::Directory,
        Ok(_) => Target::Other,
        Err(_) => Target::Missing,
    };
    let (base, name) = match place(files.kind, target, text.ends_with('/')).map_err(refused)? {
        Placement::Within => (path.to_owned(), files.name.clone()),
        Placement::Merged => (path.to_owned(), ArchivePath::root()),
        Placement::There => {
            // A file that a symlink leads to is replaced itself.
            let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            let (Some(parent), Some(name)) = (real.parent(), real.file_name()) else {
                return Err(refused("it has no name"));
            };
            let name = ArchivePath::parse(name.as_bytes()).map_err(|_| refused("it has no plain name"))?;
            (parent.to_owned(), name)
        }
    };
    if !base.is_dir() {
        return Err(ContainerError::NoHostFile { path: base });
    }
    let mut tree = part_of(view, &files.place, &name)?;
    if target == Target::Missing && files.kind == SourceKind::Contents {
        let own = view.get(&files.place).cloned().unwrap_or_else(Entry::implied_directory);
        tree.insert(name, own);
    }
    let kept = kept_directories(&base, &tree)?;
    let failed = |what: &str, path: &Path, source| ContainerError::Io {
        what: format!("cannot {what} `{}`", escape(path.as_os_str().as_bytes())),
        source,
    };
    let stage = tempfile::Builder::new().prefix(".kiln-cp-").tempdir_in(&base);
    let stage = stage.map_err(|source| failed("write to", &base, source))?;
    write(root, &tree, stage.path(), options)?;
    Mover::new(stage.path(), &base)
        .and_then(|mover| mover.all(&tree, &kept))
        .map_err(|source| failed("move files to", &base, source))?;
    // What was moved has left it; what is left is empty directories.
    stage.close().map_err(|source| failed("remove what was used for writing to", &base, source))
}

/// Returns the directories of `tree` that are there and stay, and refuses what does not fit.
fn kept_directories(base: &Path, tree: &Tree) -> Result<Vec<ArchivePath>, ContainerError> {
    let filter = |path: &ArchivePath, _| match tree.get(path) {
        Some(_) => Verdict::Keep,
        None => Verdict::Prune,
    };
    let options = WalkOptions { owner: WalkOwner::AsIs, xattrs: WalkXattrs::None };
    let present = walk(base, &filter, options)?;
    let mut kept = Vec::new();
    for (path, entry) in tree.iter().filter(|(path, _)| !path.is_root()) {
        if check(&present, path, entry)? == Kept::Yes {
            kept.push(path.clone());
        }
    }
    Ok(kept)
}

/// Writes files as they are into an empty directory.
fn write(
    root: &ContainerRoot,
    tree: &Tree,
    directory: &Path,
    options: CopyOutOptions,
) -> Result<(), ContainerError> {
    let ownership = if options.keeps_owners { Ownership::Real } else { Ownership::Recorded };
    let files = MaterializeOptions { ownership, devices: Devices::Create, time: None };
    Ok(root.with_contents(|contents| {
        let options = ReshapeOptions { files, layers: contents, note: &|_, _| Ok(()) };
        reshape(directory, &Tree::new(), tree, options)
    })?)
}

/// Moves files from one directory to another of the same file system.
struct Mover {
    from: OwnedFd,
    to: OwnedFd,
}

impl Mover {
    fn new(from: &Path, to: &Path) -> io::Result<Self> {
        let open = |path: &Path| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty())
        };
        Ok(Self { from: open(from)?, to: open(to)? })
    }

    /// Moves everything but the directories that stay; a directory goes with all that is in it.
    fn all(&self, tree: &Tree, kept: &[ArchivePath]) -> io::Result<()> {
        let is_kept = |path: &ArchivePath| path.is_root() || kept.contains(path);
        let goes = tree.iter().map(|(path, _)| path).filter(|path| !is_kept(path));
        let tops = goes.filter(|path| {
            path.parent().is_none_or(|parent| is_kept(&parent) || tree.get(&parent).is_none())
        });
        tops.into_iter().try_for_each(|path| self.one(path))
    }

    fn one(&self, path: &ArchivePath) -> io::Result<()> {
        let parent = path.parent().unwrap_or_else(ArchivePath::root);
        let name = OsStr::from_bytes(path.file_name().unwrap_or_default());
        let (from, to) = (beneath(&self.from, &parent)?, beneath(&self.to, &parent)?);
        match renameat(&from, name, &to, name) {
            // To move a directory to another one takes the right to write into it.
            Err(Errno::ACCESS) => {
                let mode =
                    Mode::from_raw_mode(statat(&from, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode & 0o7777);
                chmodat(&from, name, Mode::RWXU, AtFlags::empty())?;
                renameat(&from, name, &to, name)?;
                Ok(chmodat(&to, name, mode, AtFlags::empty())?)
            }
            // A device that could not be made.
            Err(Errno::NOENT) if statat(&from, name, AtFlags::SYMLINK_NOFOLLOW).is_err() => Ok(()),
            outcome => Ok(outcome?),
        }
    }
}

fn beneath(directory: &OwnedFd, path: &ArchivePath) -> io::Result<OwnedFd> {
    let below = if path.is_root() { Path::new(".") } else { path.as_path() };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    Ok(openat2(directory.as_fd(), below, flags, Mode::empty(), resolve)?)
}
