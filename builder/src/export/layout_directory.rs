//! The OCI layout in a directory, to which images are added.
//!
//! Blobs are written beside each other by whoever adds: each appears under its digest once it is on the disk, and two that write the
//! same one write the same bytes. Only the list of images is written in turns. So at any moment the directory is a layout of the
//! images that it lists; who is killed leaves blobs that no image has, and that the next need not write.

use std::io;
use std::path::{Path, PathBuf};

use kiln_layer::DirectoryOrigin;
use kiln_oci::{Descriptor, Document, Index, layout};
use rustix::fs::FlockOperation;

use super::ExportError;
use super::destination::replace;
use super::leaving::BlobReader;
use super::oci_layout::marker;
use super::transfer::{Failed, transfer};

/// An OCI layout in a directory.
#[derive(Debug)]
pub(crate) struct LayoutDirectory {
    path: PathBuf,
    blobs: PathBuf,
}

/// The turn of one who changes the list, until it is dropped.
struct Turn(#[expect(dead_code, reason = "the lock lasts as long as this is open")] DirectoryOrigin);

impl LayoutDirectory {
    /// Opens a layout, after making one without images where there is none.
    ///
    /// # Errors
    /// [`ExportError`]: it cannot be written, or is no layout of a version that is known.
    pub(crate) fn open(path: &Path) -> Result<Self, ExportError> {
        let blobs = path.join(layout::BLOBS_DIRECTORY);
        let own = Self { path: path.to_owned(), blobs };
        std::fs::create_dir_all(&own.blobs).map_err(own.failed())?;
        let _turn = own.turn()?;
        let index = own.read_index()?;
        if !own.path.join(layout::MARKER_FILE).exists() {
            own.write_file(layout::MARKER_FILE, &marker())?;
        }
        if index.is_none() {
            own.write_file(layout::INDEX_FILE, Document::write(Index::oci(Vec::new())).bytes())?;
        }
        Ok(own)
    }

    /// Whether a blob is there.
    pub(crate) fn has(&self, blob: &Descriptor) -> bool {
        let metadata = std::fs::metadata(self.blobs.join(blob.digest.hex()));
        metadata.is_ok_and(|metadata| metadata.is_file() && metadata.len() == blob.size)
    }

    /// Writes a blob, whose reader checks it.
    ///
    /// # Errors
    /// [`ExportError`]: it cannot be read or written. Nothing of it is there then.
    pub(crate) fn write(&self, blob: &Descriptor, mut reader: BlobReader) -> Result<(), ExportError> {
        let path = self.blobs.join(blob.digest.hex());
        replace(&path, |out| match transfer(&mut reader, out) {
            Ok(_) => Ok(()),
            Err(Failed::Read(source)) => Err(ExportError::ReadBlob { digest: blob.digest, source }),
            Err(Failed::Write(source)) => Err(ExportError::Write { path: path.clone(), source }),
        })
    }

    /// Puts images on the list, whose blobs are there: in the place of those whose names they take, or without a name beside the others.
    ///
    /// # Errors
    /// [`ExportError`]: it cannot be written, or is not what it was.
    pub(crate) fn publish(&self, entries: Vec<Descriptor>) -> Result<(), ExportError> {
        self.sync(&self.blobs)?;
        let _turn = self.turn()?;
        let before = self.read_index()?.unwrap_or_else(|| Index::oci(Vec::new()));
        self.write_file(layout::INDEX_FILE, Document::write(merged(before, entries)).bytes())
    }

    /// Waits until nobody else changes the list. The lock is on the directory itself, so that no file is left behind.
    fn turn(&self) -> Result<Turn, ExportError> {
        let root = DirectoryOrigin::open(&self.path).map_err(self.failed())?;
        let locked = rustix::fs::flock(&root, FlockOperation::LockExclusive);
        locked.map_err(|errno| self.failed()(errno.into()))?;
        Ok(Turn(root))
    }

    fn write_file(&self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let path = self.path.join(name);
        let failed = |source| ExportError::Write { path: path.clone(), source };
        replace(&path, |out| out.write_all(bytes).map_err(failed))?;
        self.sync(&self.path)
    }

    fn sync(&self, directory: &Path) -> Result<(), ExportError> {
        let sync = std::fs::File::open(directory).and_then(|directory| directory.sync_all());
        sync.map_err(|source| ExportError::Write { path: directory.to_owned(), source })
    }

    fn failed(&self) -> impl Fn(io::Error) -> ExportError + '_ {
        |source| ExportError::Write { path: self.path.clone(), source }
    }

    /// Returns what the layout lists, after checking that it is one of ours to add to.
    fn read_index(&self) -> Result<Option<Index>, ExportError> {
        let foreign = |reason: String| ExportError::ForeignLayout { path: self.path.clone(), reason };
        let read = |name: &str| match std::fs::read(self.path.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(foreign(format!("`{name}` cannot be read: {error}"))),
        };
        if let Some(bytes) = read(layout::MARKER_FILE)? {
            let marker =
                Document::<layout::OciLayout>::parse(bytes).map_err(|error| foreign(error.to_string()))?;
            let version = &marker.value().image_layout_version;
            if version != layout::VERSION {
                return Err(foreign(format!("its version is `{version}`, not {}", layout::VERSION)));
            }
        }
        let index = read(layout::INDEX_FILE)?.map(|bytes| {
            Document::<Index>::parse(bytes)
                .map_err(|error| foreign(error.to_string()))
                .map(Document::into_value)
        });
        index.transpose()
    }
}

/// Returns a list with new entries in the place of those whose name or, without one, digest they have.
fn merged(mut index: Index, new: Vec<Descriptor>) -> Index {
    let full = |entry: &Descriptor| entry.annotations.get(layout::CONTAINERD_NAME).cloned();
    let tag = |entry: &Descriptor| entry.annotations.get(layout::REF_NAME).cloned();
    let is_named = |entry: &Descriptor| full(entry).is_some() || tag(entry).is_some();
    for entry in new {
        let has_its_tag = |known: &Descriptor| tag(&entry).is_some() && tag(known) == tag(&entry);
        if full(&entry).is_none() {
            // The tag moves; what has a full name besides keeps that.
            for known in
                index.manifests.iter_mut().filter(|known| full(known).is_some() && has_its_tag(known))
            {
                known.annotations.remove(layout::REF_NAME);
            }
        }
        index.manifests.retain(|known| match (full(known), full(&entry)) {
            (Some(known), Some(own)) => known != own,
            (Some(_), None) => true,
            (None, _) if is_named(&entry) => !has_its_tag(known),
            (None, _) => known.digest != entry.digest || is_named(known),
        });
        index.manifests.push(entry);
    }
    index
}

#[cfg(test)]
mod tests {
    use kiln_oci::{Digest, MediaType};

    use super::*;

    /// An entry: `CONTENT`, then `TAG` and the full name where there are any.
    fn entry(text: &str) -> Descriptor {
        let mut words = text.split(' ');
        let content = words.next().unwrap();
        let digest = Digest::of(content.as_bytes());
        let mut entry = Descriptor::new(MediaType::OCI_MANIFEST, digest, 1);
        for (key, word) in [layout::REF_NAME, layout::CONTAINERD_NAME].into_iter().zip(words) {
            if word != "-" {
                entry.annotations.insert(key.to_owned(), word.to_owned());
            }
        }
        entry
    }

    #[test]
    fn names_move_and_what_has_others_stays() {
        for (before, new, after) in [
            ("", "a", "a"),
            ("a", "a", "a"),
            ("a", "b", "a,b"),
            ("a 1", "b 1", "b 1"),
            ("a 1,b 2", "c 1", "b 2,c 1"),
            ("a 1", "a 2", "a 1,a 2"),
            ("a 1", "a", "a 1,a"),
            ("a", "a 1", "a,a 1"),
            ("a 1 x/y:1", "b 1 x/y:1", "b 1 x/y:1"),
            ("a 1 x/y:1", "b 1 x/z:1", "a 1 x/y:1,b 1 x/z:1"),
            ("a 1", "b 1 x/y:1", "b 1 x/y:1"),
            ("a 1 x/y:1", "b 1", "a - x/y:1,b 1"),
        ] {
            let entries = |list: &str| list.split(',').filter(|text| !text.is_empty()).map(entry).collect();
            let merged = merged(Index::oci(entries(before)), entries(new));
            assert_eq!(merged.manifests, entries(after) as Vec<_>, "{before} + {new}");
        }
    }
}
