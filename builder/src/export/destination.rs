//! Where archives go: a path, where they appear when they are whole, or standard output.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kiln_store::disk::{WriteBehind, start_writing};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use super::ExportError;
use crate::request::Destination;

const BUFFER_BYTES: usize = 1 << 20;

/// Lets `write` fill the destination. A file appears by one rename once all of it is on the disk; a process that is killed
/// before leaves nothing.
pub(super) fn write_to(
    destination: &Destination,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    match destination {
        Destination::Stdout => {
            let failed = |source| ExportError::Write { path: PathBuf::from("standard output"), source };
            let out = rustix::stdio::stdout().try_clone_to_owned().map_err(failed)?;
            fill(File::from(out), write, failed).map(drop)
        }
        Destination::Path(path) => write_path(path, write),
    }
}

/// Returns the error of a destination that could not be written.
pub(super) fn failed(destination: &Destination) -> impl Fn(io::Error) -> ExportError + Copy + '_ {
    move |source| {
        let path = match destination {
            Destination::Path(path) => path.clone(),
            Destination::Stdout => PathBuf::from("standard output"),
        };
        ExportError::Write { path, source }
    }
}

fn write_path(
    path: &Path,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let failed = |source| ExportError::Write { path: path.to_owned(), source };
    // A link stays, and what it points to is replaced. What does not exist yet has nothing to resolve.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => return Err(failed(io::ErrorKind::IsADirectory.into())),
        // Pipes and devices are written as they are.
        Ok(metadata) if !metadata.is_file() => {
            let file = File::options().write(true).open(&path).map_err(failed)?;
            return fill(file, write, failed).map(drop);
        }
        _ => {}
    }
    replace(&path, write)?;
    File::open(directory_of(&path)).and_then(|directory| directory.sync_all()).map_err(failed)
}

/// Writes a file that appears by one rename once all of it is on the disk; a process that is killed before leaves nothing. That the
/// name is on the disk, too, is the caller's part.
pub(super) fn replace(
    path: &Path,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let failed = |source| ExportError::Write { path: path.to_owned(), source };
    let directory = directory_of(path);
    match open_unnamed(directory) {
        Ok(file) => {
            let file = fill(file, write, failed)?;
            file.sync_all().map_err(failed)?;
            publish(&file, directory, path).map_err(failed)
        }
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {
            let mut builder = tempfile::Builder::new();
            let named = builder.prefix(".kiln-").permissions(std::fs::Permissions::from_mode(0o666));
            let (file, name) = named.tempfile_in(directory).map_err(failed)?.into_parts();
            fill(file, write, failed)?.sync_all().map_err(failed)?;
            name.persist(path).map_err(|error| failed(error.error))
        }
        Err(errno) => Err(failed(errno.into())),
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn fill(
    file: File,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), ExportError>,
    failed: impl Fn(io::Error) -> ExportError,
) -> Result<File, ExportError> {
    let file = Early { file, behind: WriteBehind::default() };
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
    write(&mut out)?;
    out.into_inner().map(|out| out.file).map_err(|error| failed(error.into_error()))
}

/// A file that the disk begins to write early.
struct Early {
    file: File,
    behind: WriteBehind,
}

impl Write for Early {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        if let Some(range) = self.behind.wrote(count as u64) {
            start_writing(&self.file, range);
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Opens a file without a name, which vanishes with this process unless it gets one.
fn open_unnamed(directory: &Path) -> rustix::io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, directory, flags, Mode::from_raw_mode(0o666)).map(File::from)
}

/// Gives an unnamed file its name, replacing what has it.
fn publish(file: &File, directory: &Path, path: &Path) -> io::Result<()> {
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = |name: &Path| rustix::fs::linkat(CWD, &own, CWD, name, AtFlags::SYMLINK_FOLLOW);
    match link(path) {
        Err(rustix::io::Errno::EXIST) => {}
        done => return Ok(done?),
    }
    // A name cannot be linked over another: one beside it is moved over it.
    let beside = tempfile::Builder::new().prefix(".kiln-").tempdir_in(directory)?;
    let name = beside.path().join("archive");
    link(&name)?;
    std::fs::rename(&name, path)
}
