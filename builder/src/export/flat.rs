//! The files of an image as one tar archive, layers merged: `type=tar`.
//!
//! Entries have the owners, modes and times that the layers say, in the order of their names; no privilege is needed. An index
//! of several images gives a directory for each platform: `linux_amd64/`, `linux_arm_v7/`.

use std::io::{self, Read, Write};
use std::sync::Arc;

use kiln_layer::tar::write::{self, Member};
use kiln_layer::{ArchivePath, Content, Entry, LayerDirectories, Tree};
use kiln_oci::Descriptor;

use super::whole::{SingleImage, Whole, complete, document, layers_of};
use super::{ExportError, destination};
use crate::lanes::blocking;
use crate::layers::{self, UnpackedLayers};
use crate::progress::Progress;
use crate::request::Destination;
use crate::rootfs::Layer;
use crate::workshop::Workshop;

const BUFFER_BYTES: usize = 256 * 1024;

/// Writes the files of an image as one tar archive.
///
/// # Errors
/// [`ExportError`]: what is missing, or cannot be written.
pub async fn write_flat_archive(
    workshop: &Arc<Workshop>,
    image: &Descriptor,
    destination: &Destination,
    progress: &Arc<dyn Progress>,
) -> Result<(), ExportError> {
    let whole = complete(workshop, image, progress).await?;
    let (workshop, destination) = (Arc::clone(workshop), destination.clone());
    blocking(move || {
        let systems = file_systems(&workshop, &whole)?;
        destination::write_to(&destination, |out| {
            let failed = destination::failed(&destination);
            let mut buffer = vec![0; BUFFER_BYTES];
            for system in &systems {
                let stacks = [system.layers.clone()];
                let directories = UnpackedLayers { workshop: &workshop, stacks: &stacks };
                let mut flat = Flat { out, failed: &failed, directories: &directories, buffer: &mut buffer };
                flat.write(&system.prefix, &system.tree)?;
            }
            finish(out, failed)
        })
    })
    .await
}

/// Writes files as one tar archive, all below `prefix`.
///
/// # Errors
/// [`ExportError`]: what cannot be read or written.
pub(crate) fn write_files(
    destination: &Destination,
    prefix: &ArchivePath,
    tree: &Tree,
    directories: &dyn LayerDirectories,
) -> Result<(), ExportError> {
    destination::write_to(destination, |out| {
        let failed = destination::failed(destination);
        let mut buffer = vec![0; BUFFER_BYTES];
        Flat { out, failed: &failed, directories, buffer: &mut buffer }.write(prefix, tree)?;
        finish(out, failed)
    })
}

fn finish(out: &mut dyn Write, failed: impl Fn(io::Error) -> ExportError) -> Result<(), ExportError> {
    let mut end = Vec::new();
    write::append_end(&mut end);
    out.write_all(&end).map_err(failed)
}

/// The merged files of one image.
pub(super) struct FileSystem {
    /// Where they go below the destination: the root for a single image.
    pub(super) prefix: ArchivePath,
    pub(super) tree: Arc<Tree>,
    pub(super) layers: Vec<Layer>,
}

/// Returns the files of every image.
pub(super) fn file_systems(workshop: &Workshop, whole: &Whole) -> Result<Vec<FileSystem>, ExportError> {
    let mut systems = Vec::new();
    for image in &whole.images {
        let layers = layers_of(&workshop.store, image)?;
        let tree = layers::tree(workshop, &layers)?;
        let prefix = match whole.images.len() {
            1 => ArchivePath::root(),
            _ => platform_directory(workshop, image)?,
        };
        systems.push(FileSystem { prefix, tree, layers });
    }
    Ok(systems)
}

fn platform_directory(workshop: &Workshop, image: &SingleImage) -> Result<ArchivePath, ExportError> {
    let config = document::<kiln_oci::ImageConfig>(&workshop.store, &image.manifest.config.digest)?;
    let platform = image.descriptor.platform.clone().unwrap_or_else(|| config.value().platform());
    let name = platform.to_string().replace('/', "_");
    ArchivePath::parse(name.as_bytes()).map_err(|error| ExportError::NotAnImage {
        digest: image.descriptor.digest,
        reason: format!("its platform cannot name a directory: {error}"),
    })
}

struct Flat<'a> {
    out: &'a mut (dyn Write + Send),
    failed: &'a dyn Fn(io::Error) -> ExportError,
    directories: &'a dyn LayerDirectories,
    buffer: &'a mut [u8],
}

impl Flat<'_> {
    fn write(&mut self, prefix: &ArchivePath, tree: &Tree) -> Result<(), ExportError> {
        if !prefix.is_root() {
            self.header(prefix, Member::Entry(&Entry::implied_directory()))?;
        }
        let links = tree.hard_links();
        for (path, entry) in tree.iter().filter(|(path, _)| !path.is_root()) {
            let placed = prefix.join_path(path);
            if let Some(target) = links.get(path) {
                self.header(&placed, Member::HardLink(entry, &prefix.join_path(target)))?;
                continue;
            }
            self.header(&placed, Member::Entry(entry))?;
            if let Some(content) = entry.content() {
                self.content(path, content)?;
            }
        }
        Ok(())
    }

    fn header(&mut self, path: &ArchivePath, member: Member<'_>) -> Result<(), ExportError> {
        let mtime = match member {
            Member::Entry(entry) | Member::HardLink(entry, _) => entry.metadata.mtime,
            Member::Whiteout => unreachable!("merged files have no whiteouts"),
        };
        let mut header = Vec::new();
        write::append_header(&mut header, path, member, mtime)?;
        self.out.write_all(&header).map_err(self.failed)
    }

    fn content(&mut self, path: &ArchivePath, content: &Content) -> Result<(), ExportError> {
        let unreadable = |source| ExportError::ReadContent { path: path.clone(), source };
        let mut reader = content.open(self.directories).map_err(unreadable)?;
        let mut written = 0;
        loop {
            let count = reader.read(self.buffer).map_err(unreadable)?;
            if count == 0 {
                break;
            }
            written += count as u64;
            if written > content.size {
                break;
            }
            self.out.write_all(&self.buffer[..count]).map_err(self.failed)?;
        }
        if written != content.size {
            let size = content.size;
            return Err(unreadable(io::Error::other(format!("it has {written} bytes instead of {size}"))));
        }
        let mut padding = Vec::new();
        write::append_padding(&mut padding, content.size);
        self.out.write_all(&padding).map_err(self.failed)
    }
}
