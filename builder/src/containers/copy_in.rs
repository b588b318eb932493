//! Files of the host, or of an archive, go into a container.
//!
//! Paths of the container are looked up in what it shows, as a tree in memory: no symlink leads out of it, and nothing of it runs.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_layer::tar::read::Limits;
use kiln_layer::{
    ArchivePath, DirectoryOrigin, Entry, Tree, Verdict, WalkOptions, WalkOwner, WalkXattrs, check_length,
    extract_archive, walk,
};

use super::ContainerError;
use super::create::OpenContainer;
use super::placing::{Kept, Placement, SourceKind, Target, check, is_contents, part_of, place};
use super::root::{Needed, Volumes};
use crate::lanes::blocking;

/// What goes into a container.
#[derive(Debug, Clone)]
pub enum CopyInSource {
    /// A file or directory of the host.
    Path {
        /// The path, absolute.
        path: PathBuf,
        /// As it was written: `/.` at its end means what is in the directory.
        text: String,
        /// Whether a symlink is followed.
        follows: bool,
    },
    /// A tar archive on standard input, perhaps compressed, for a directory that is there.
    Stdin,
}

/// Copies files into a container. Unless their owners are kept they are root's.
///
/// # Errors
/// [`ContainerError`]: what cannot be read, written, or put there.
pub async fn copy_in(
    open: &OpenContainer,
    source: CopyInSource,
    target: &str,
    keeps_owners: bool,
) -> Result<(), ContainerError> {
    let root = open.root()?;
    let (name, target) = (open.record.name.clone(), target.to_owned());
    let store = open.workshop.store.clone();
    blocking(move || {
        let view = root.view(Volumes::Shown, Needed::None)?;
        let destination = Destination::find(&view, &name, &target)?;
        // Keeps what an archive holds until it is written.
        let scratch = store.scratch("copy")?;
        let placed = match source {
            CopyInSource::Path { path, text, follows } => {
                let found = HostFiles::read(&path, &text, follows)?;
                destination.place(&found)?
            }
            CopyInSource::Stdin => destination.of_archive(scratch.path())?,
        };
        let more = additions(&view, &placed, keeps_owners)?;
        root.put(&view, &more)?;
        Ok(scratch.close()?)
    })
    .await
}

/// Returns what is to be written: directories that are there stay as they are.
fn additions(view: &Tree, placed: &Tree, keeps_owners: bool) -> Result<Tree, ContainerError> {
    let mut more = Tree::new();
    let mut made = std::collections::HashMap::new();
    for (path, inode) in placed.names() {
        if path.is_root() || check(view, path, placed.entry(inode))? == Kept::Yes {
            continue;
        }
        check_length(path)?;
        if let Some(first) = made.get(&inode) {
            more.link(path.clone(), first)?;
            continue;
        }
        let mut entry = placed.entry(inode).clone();
        if !keeps_owners {
            (entry.metadata.uid, entry.metadata.gid) = (0, 0);
        }
        more.insert(path.clone(), entry);
        made.insert(inode, path.clone());
    }
    Ok(more)
}

/// A place in a container.
struct Destination {
    path: ArchivePath,
    text: String,
    target: Target,
}

impl Destination {
    fn find(view: &Tree, container: &str, text: &str) -> Result<Self, ContainerError> {
        let missing = |path: &ArchivePath| ContainerError::NoFile {
            container: container.to_owned(),
            path: format!("/{path}"),
        };
        let resolve = |source| ContainerError::Resolve {
            container: container.to_owned(),
            path: text.to_owned(),
            source,
        };
        let path = ArchivePath::clamp(text.as_bytes())
            .map_err(|_| ContainerError::NoFile { container: container.to_owned(), path: text.to_owned() })?;
        let found = view.resolve(&path).map_err(resolve)?;
        let target = match view.get(&found.path) {
            Some(entry) if entry.is_directory() => Target::Directory,
            None if found.path.is_root() => Target::Directory,
            Some(_) => Target::Other,
            None => Target::Missing,
        };
        let parent = found.path.parent().unwrap_or_else(ArchivePath::root);
        if target == Target::Missing
            && !parent.is_root()
            && !view.get(&parent).is_some_and(Entry::is_directory)
        {
            return Err(missing(&parent));
        }
        Ok(Self { path: found.path, text: text.to_owned(), target })
    }

    /// Returns the files under their paths in the container.
    fn place(&self, files: &HostFiles) -> Result<Tree, ContainerError> {
        let refused = |reason| ContainerError::Place { path: self.text.clone(), reason };
        let ends_in_slash = self.text.ends_with('/') || is_contents(&self.text);
        let at = match place(files.kind, self.target, ends_in_slash).map_err(refused)? {
            Placement::Within => self.path.join_path(&files.name),
            Placement::Merged | Placement::There => self.path.clone(),
        };
        // Into the root itself only what is in a directory can go.
        let mut placed = part_of(&files.tree, &files.part, &at)?;
        if files.kind == SourceKind::Contents && self.target == Target::Missing {
            // The walk's own root is the directory that is to be there.
            let root = files.tree.get(&files.part).cloned().unwrap_or_else(Entry::implied_directory);
            placed.insert(at, root);
        }
        Ok(placed)
    }

    /// Returns the files of the archive on standard input, which goes into a directory that is there.
    fn of_archive(&self, scratch: &Path) -> Result<Tree, ContainerError> {
        if self.target != Target::Directory {
            let reason = "an archive goes into a directory that is there";
            return Err(ContainerError::Place { path: self.text.clone(), reason });
        }
        let failed =
            |source| ContainerError::Io { what: "cannot open a scratch directory".to_owned(), source };
        let origin = Arc::new(DirectoryOrigin::open(scratch).map_err(failed)?);
        let stdin = rustix::stdio::stdin().try_clone_to_owned().map(std::fs::File::from);
        let stdin = stdin
            .map_err(|source| ContainerError::Io { what: "cannot read standard input".to_owned(), source })?;
        let mut tree = extract_archive(stdin, &origin, Limits::default())?;
        let paths: Vec<ArchivePath> = tree.iter().map(|(path, _)| path.clone()).collect();
        paths.iter().for_each(|path| tree.imply_parents(path));
        part_of(&tree, &ArchivePath::root(), &self.path)
    }
}

/// Files of the host.
struct HostFiles {
    tree: Tree,
    /// Where they are in the tree.
    part: ArchivePath,
    /// What they are called where they keep their name.
    name: ArchivePath,
    kind: SourceKind,
}

impl HostFiles {
    fn read(path: &Path, text: &str, follows: bool) -> Result<Self, ContainerError> {
        let place = |reason| ContainerError::Place { path: text.to_owned(), reason };
        let missing = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotADirectory => place("it is no directory"),
            _ => ContainerError::NoHostFile { path: path.to_owned() },
        };
        let is_link = path.symlink_metadata().map_err(missing)?.file_type().is_symlink();
        let is_contents = is_contents(text);
        let is_followed = is_link && (follows || is_contents || text.ends_with('/'));
        let real = if is_followed || path.file_name().is_none() {
            std::fs::canonicalize(path).map_err(missing)?
        } else {
            path.to_owned()
        };
        let found = real.symlink_metadata().map_err(missing)?;
        if (is_contents || text.ends_with('/')) && !found.is_dir() {
            return Err(place("it is no directory"));
        }
        let options = WalkOptions { owner: WalkOwner::AsIs, xattrs: WalkXattrs::Layer };
        let (Some(parent), Some(own)) = (real.parent(), real.file_name()) else {
            let tree = walk(&real, &|_: &ArchivePath, _| Verdict::Keep, options)?;
            let (part, name) = (ArchivePath::root(), ArchivePath::root());
            return Ok(Self { tree, part, name, kind: SourceKind::Contents });
        };
        let name = path.file_name().unwrap_or(own);
        let plain = |name: &std::ffi::OsStr| {
            ArchivePath::parse(name.as_bytes()).map_err(|_| place("its name cannot be stored"))
        };
        let (name, part) = (plain(name)?, plain(own)?);
        let filter = |path: &ArchivePath, _| match path.is_within(&part) {
            true => Verdict::Keep,
            false => Verdict::Prune,
        };
        let tree = walk(parent, &filter, options)?;
        let kind = match (found.is_dir(), is_contents) {
            (true, true) => SourceKind::Contents,
            (true, false) => SourceKind::Directory,
            (false, _) => SourceKind::Other,
        };
        if tree.get(&part).is_none() {
            return Err(place("a socket cannot be copied"));
        }
        Ok(Self { tree, part, name, kind })
    }
}
