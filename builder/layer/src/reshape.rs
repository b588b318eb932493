//! From one file system on disk to another: makes a directory that holds one [`Tree`] hold the next one, writing only what differs.
//! From the empty tree it makes a whole root.
//!
//! The directory is the caller's alone, and every parent is a directory of `after`, so no name can lead elsewhere. Files are
//! shared with the layers they come from where the file system can (`FICLONE`), else copied; several are written at once. Modes
//! and times of directories come last, children before parents. What the kernel does not grant (a device, an attribute) is left out;
//! for devices that are only recorded there are empty files.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use kiln_oci::DiffId;
use rayon::prelude::*;
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::content::{DirectoryOrigin, LayerDirectories, Origin};
use crate::entry::{Entry, WithTime};
use crate::materialize::{MaterializeError, MaterializeOptions, create, set_metadata, write_node};
use crate::path::ArchivePath;
use crate::tree::{Tree, diff};
use crate::unpack::{Devices, is_refusal, remove_tree};

/// Is told of everything that was written, before its time is set: notes what the kernel cannot keep, and what an empty
/// file stands for.
pub type Note<'a> = dyn Fn(&Path, &Entry) -> io::Result<()> + Sync + 'a;

/// How a directory is changed.
#[derive(Clone, Copy)]
pub struct ReshapeOptions<'a> {
    /// How files are written.
    pub files: MaterializeOptions,
    /// Where contents of layers are.
    pub layers: &'a dyn LayerDirectories,
    /// Is told of everything that was written.
    pub note: &'a Note<'a>,
}

/// Makes `directory`, which holds `before`, hold `after`.
///
/// # Errors
/// [`MaterializeError`], which names the entry. The directory is then neither.
pub fn reshape(
    directory: &Path,
    before: &Tree,
    after: &Tree,
    options: ReshapeOptions<'_>,
) -> Result<(), MaterializeError> {
    let changes = diff(before, after, WithTime::Yes);
    let failed = |path: &ArchivePath, source: io::Error| MaterializeError { path: path.clone(), source };
    let root = DirectoryOrigin::open(directory).map_err(|source| failed(&ArchivePath::root(), source))?;
    let writer = Writer { directory, options };
    let links = changes.entries.hard_links();
    writer.open_layers(&changes.entries)?;
    let mut touched: BTreeSet<ArchivePath> = BTreeSet::new();
    for path in &changes.deletions {
        writer.clear(&root, path).map_err(|source| failed(path, source))?;
        touched.extend(path.parent());
    }
    let mut files = Vec::new();
    for (path, inode) in changes.entries.names() {
        let entry = changes.entries.entry(inode);
        let stays = entry.is_directory() && before.get(path).is_some_and(Entry::is_directory);
        if path.is_root() || stays {
            touched.insert(path.clone());
            continue;
        }
        touched.extend(path.parent());
        // Also what no tree tells of: sockets.
        if !before.is_empty() {
            writer.clear(&root, path).map_err(|source| failed(path, source))?;
        }
        if entry.is_directory() {
            std::fs::create_dir(writer.place(path)).map_err(|source| failed(path, source))?;
            touched.insert(path.clone());
        } else if !links.contains_key(path) {
            files.push((path, entry));
        }
    }
    files
        .into_par_iter()
        .try_for_each(|(path, entry)| writer.file(path, entry).map_err(|source| failed(path, source)))?;
    for (path, entry) in changes.entries.iter() {
        let Some(first) = links.get(path) else { continue };
        writer.link(path, first, entry).map_err(|source| failed(path, source))?;
    }
    // Children first, so that nothing touches a directory that is done.
    for path in touched.iter().rev() {
        let Some(entry) = after.get(path).filter(|entry| entry.is_directory()) else { continue };
        writer.directory(path, before.get(path), entry).map_err(|source| failed(path, source))?;
    }
    Ok(())
}

struct Writer<'a> {
    directory: &'a Path,
    options: ReshapeOptions<'a>,
}

impl Writer<'_> {
    fn place(&self, path: &ArchivePath) -> PathBuf {
        self.directory.join(path.as_path())
    }

    /// Has every layer unpacked whose contents are needed, before several threads ask for it.
    fn open_layers(&self, entries: &Tree) -> Result<(), MaterializeError> {
        let mut open: BTreeSet<DiffId> = BTreeSet::new();
        for (path, entry) in entries.iter() {
            if let Some(Origin::Layer(layer)) = entry.content().map(|content| &content.origin)
                && open.insert(*layer)
            {
                let failed = |source| MaterializeError { path: path.clone(), source };
                self.options.layers.directory(*layer).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Removes whatever is at `path`.
    fn clear(&self, root: &DirectoryOrigin, path: &ArchivePath) -> io::Result<()> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
        match root.open_directory(&parent) {
            Ok(parent) => Ok(remove_tree(parent.as_fd(), name)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn file(&self, path: &ArchivePath, entry: &Entry) -> io::Result<()> {
        let target = self.place(path);
        let is_device = entry.kind.is_device();
        let kind = if is_device && self.options.files.devices == Devices::Record {
            create(&target).map(|_| FileType::RegularFile)?
        } else {
            match write_node(entry, &target, self.options.layers) {
                // Root of a container may be without this right.
                Err(error) if is_device && Errno::from_io_error(&error) == Some(Errno::PERM) => return Ok(()),
                outcome => outcome?,
            }
        };
        (self.options.note)(&target, entry)?;
        set_metadata(&target, &entry.metadata, kind, self.options.files)
    }

    /// Makes a further name of a file that has several.
    fn link(&self, path: &ArchivePath, first: &ArchivePath, entry: &Entry) -> io::Result<()> {
        match std::fs::hard_link(self.place(first), self.place(path)) {
            // A device that was not made.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // As many names as the file system allows: a copy is the next best.
            Err(error) if error.kind() == io::ErrorKind::TooManyLinks => self.file(path, entry),
            outcome => outcome,
        }
    }

    fn directory(&self, path: &ArchivePath, before: Option<&Entry>, entry: &Entry) -> io::Result<()> {
        let target = self.place(path);
        for (name, _) in before.iter().flat_map(|before| before.metadata.xattrs.iter()) {
            if entry.metadata.xattrs.get(name).is_none() {
                match rustix::fs::lremovexattr(&target, name) {
                    Err(errno) if errno != Errno::NODATA && !is_refusal(errno) => return Err(errno.into()),
                    Ok(()) | Err(_) => {}
                }
            }
        }
        (self.options.note)(&target, entry)?;
        set_metadata(&target, &entry.metadata, FileType::Directory, self.options.files)
    }
}
