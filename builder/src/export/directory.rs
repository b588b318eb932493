//! The files of an image in a directory, layers merged: `type=local`.
//!
//! Files belong to the caller. What the directory has besides stays; a file in the way is replaced, a directory in the way of
//! a file only when it is empty. Every name is opened beneath the destination and never through a symlink: a symlink that
//! stands where the image has a directory is replaced by one. An index of several images gives a directory for each platform.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use kiln_layer::{ArchivePath, Content, Device, DirectoryOrigin, Entry, Kind, LayerDirectories};
use kiln_oci::Descriptor;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::ExportError;
use super::flat::{FileSystem, file_systems};
use super::whole::complete;
use crate::lanes::blocking;
use crate::layers::UnpackedLayers;
use crate::progress::{Progress, ProgressEvent};
use crate::workshop::Workshop;

/// Writes the files of an image into a directory, which is created when it is not there.
///
/// # Errors
/// [`ExportError`]: what is missing, or cannot be written.
pub async fn write_directory(
    workshop: &Arc<Workshop>,
    image: &Descriptor,
    directory: &Path,
    progress: &Arc<dyn Progress>,
) -> Result<(), ExportError> {
    let whole = complete(workshop, image, progress).await?;
    let (workshop, directory, progress) = (Arc::clone(workshop), directory.to_owned(), Arc::clone(progress));
    blocking(move || {
        let failed = |source| ExportError::Write { path: directory.clone(), source };
        std::fs::create_dir_all(&directory).map_err(failed)?;
        let mut refused = Vec::new();
        for system in file_systems(&workshop, &whole)? {
            let top = directory.join(system.prefix.as_path());
            std::fs::create_dir_all(&top).map_err(failed)?;
            let root = DirectoryOrigin::open(&top).map_err(failed)?;
            let stacks = [system.layers.clone()];
            let directories = UnpackedLayers { workshop: &workshop, stacks: &stacks };
            refused.extend(write_system(&root, &system, &directories)?);
        }
        for what in refused {
            progress.on(&ProgressEvent::Warning {
                message: &format!(
                    "{what} was left out of `{}`: this process may not make it",
                    directory.display()
                ),
            });
        }
        Ok(())
    })
    .await
}

/// Writes a file system and returns what could not be made for want of privilege.
fn write_system(
    root: &DirectoryOrigin,
    system: &FileSystem,
    directories: &dyn LayerDirectories,
) -> Result<Vec<String>, ExportError> {
    let links = system.tree.hard_links();
    let mut writer = Writer { root, directories, parents: HashMap::new(), refused: Vec::new() };
    for (path, entry) in system.tree.iter().filter(|(path, _)| !path.is_root()) {
        let place = |source: io::Error| ExportError::Place {
            path: path.clone(),
            directory: root.path().to_owned(),
            source,
        };
        writer.write(path, entry, links.get(path).copied()).map_err(place)?;
    }
    // Last and from below: a directory that may not be written could not be filled, and filling it changes its time.
    let mut made: Vec<_> =
        system.tree.iter().filter(|(path, entry)| entry.is_directory() && !path.is_root()).collect();
    made.reverse();
    for (path, entry) in made {
        writer.finish_directory(path, entry).map_err(|source| ExportError::Place {
            path: path.clone(),
            directory: root.path().to_owned(),
            source,
        })?;
    }
    Ok(writer.refused)
}

struct Writer<'a> {
    root: &'a DirectoryOrigin,
    directories: &'a dyn LayerDirectories,
    /// The directory written to last: entries come in the order of their names.
    parents: HashMap<ArchivePath, Arc<OwnedFd>>,
    refused: Vec<String>,
}

impl Writer<'_> {
    fn write(&mut self, path: &ArchivePath, entry: &Entry, link: Option<&ArchivePath>) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        if let Some(target) = link {
            let (other, first) = self.parent(target)?;
            clear(&parent, &name)?;
            return Ok(rustix::fs::linkat(&other, &first[..], &parent, &name[..], AtFlags::empty())?);
        }
        match &entry.kind {
            Kind::Directory => return make_directory(&parent, &name),
            Kind::File(content) => return self.file(&parent, &name, entry, content),
            Kind::Symlink(target) => {
                clear(&parent, &name)?;
                rustix::fs::symlinkat(&target[..], &parent, &name[..])?;
            }
            Kind::Fifo => node(&parent, &name, FileType::Fifo, None)?,
            Kind::CharDevice(device) | Kind::BlockDevice(device) => {
                let kind = match entry.kind {
                    Kind::CharDevice(_) => FileType::CharacterDevice,
                    _ => FileType::BlockDevice,
                };
                match node(&parent, &name, kind, Some(*device)) {
                    Err(Errno::PERM) => {
                        self.refused.push(format!("device `{path}`"));
                        return Ok(());
                    }
                    done => done?,
                }
            }
        }
        if !matches!(entry.kind, Kind::Symlink(_)) {
            let mode = Mode::from_raw_mode(entry.metadata.mode);
            rustix::fs::chmodat(&parent, &name[..], mode, AtFlags::empty())?;
        }
        Ok(rustix::fs::utimensat(&parent, &name[..], &times(entry), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn file(&self, parent: &OwnedFd, name: &[u8], entry: &Entry, content: &Content) -> io::Result<()> {
        clear(parent, name)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?);
        let mut reader = content.open(self.directories)?;
        let written = match reader.file() {
            // From file to file, so that the kernel can share or copy the bytes itself.
            Some(mut source) => io::copy(&mut source, &mut file)?,
            None => io::copy(&mut reader, &mut file)?,
        };
        if written != content.size {
            return Err(io::Error::other(format!("it has {written} bytes instead of {}", content.size)));
        }
        set_xattrs(file.as_fd(), entry)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.metadata.mode))?;
        Ok(rustix::fs::futimens(&file, &times(entry))?)
    }

    fn finish_directory(&self, path: &ArchivePath, entry: &Entry) -> io::Result<()> {
        let directory = self.root.open_directory(path)?;
        set_xattrs(directory.as_fd(), entry)?;
        rustix::fs::fchmod(&directory, Mode::from_raw_mode(entry.metadata.mode))?;
        Ok(rustix::fs::futimens(&directory, &times(entry))?)
    }

    /// Returns the open directory of a path, and the name in it.
    fn parent(&mut self, path: &ArchivePath) -> io::Result<(Arc<OwnedFd>, Vec<u8>)> {
        let name = path.file_name().unwrap_or_default().to_vec();
        let parent = path.parent().unwrap_or_else(ArchivePath::root);
        if let Some(open) = self.parents.get(&parent) {
            return Ok((Arc::clone(open), name));
        }
        let open = Arc::new(self.root.open_directory(&parent)?);
        self.parents.clear();
        self.parents.insert(parent, Arc::clone(&open));
        Ok((open, name))
    }
}

fn times(entry: &Entry) -> Timestamps {
    let time = entry.metadata.mtime;
    let time = Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanoseconds) };
    Timestamps { last_access: time, last_modification: time }
}

/// Makes a directory, or takes the one that is there. Nothing else may stand in its place.
fn make_directory(parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Err(Errno::EXIST) => {}
        done => return Ok(done?),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Ok(directory) => {
            let mode = Mode::from_raw_mode(rustix::fs::fstat(&directory)?.st_mode);
            Ok(rustix::fs::fchmod(&directory, mode | Mode::RWXU)?)
        }
        Err(Errno::NOTDIR | Errno::LOOP) => {
            clear(parent, name)?;
            Ok(rustix::fs::mkdirat(parent, name, Mode::RWXU)?)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Removes what stands at a name: a file, a link, an empty directory.
fn clear(parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?),
        Err(errno) => Err(errno.into()),
    }
}

fn node(parent: &OwnedFd, name: &[u8], kind: FileType, device: Option<Device>) -> rustix::io::Result<()> {
    clear(parent, name).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let number = device.map_or(0, |device| rustix::fs::makedev(device.major, device.minor));
    rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(0o600), number)
}

fn set_xattrs(file: std::os::fd::BorrowedFd<'_>, entry: &Entry) -> io::Result<()> {
    for (name, value) in entry.metadata.xattrs.iter() {
        match rustix::fs::fsetxattr(file, name, value, rustix::fs::XattrFlags::empty()) {
            // Capabilities and labels are the administrator's to give: files of the caller go without, as in `docker build`.
            Ok(()) | Err(Errno::PERM | Errno::NOTSUP | Errno::INVAL) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
