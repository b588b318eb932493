//! One pass over an archive: contents become blobs of the store, small documents are kept.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};

use kiln_layer::ArchivePath;
use kiln_layer::compress::{Detected, decompress, detect};
use kiln_layer::tar::read::{Limits, Member, MemberKind, ReadError, TarReader};
use kiln_oci::validate::DOCUMENT_SIZE_MAX;
use kiln_oci::{Digest, layout};
use kiln_store::Store;

use super::digest_of_path;
use crate::catalog::CatalogError;

const BUFFER_BYTES: usize = 256 * 1024;
/// Documents that say what is in an archive.
const DOCUMENTS: [&str; 4] = [layout::MARKER_FILE, layout::INDEX_FILE, "manifest.json", "repositories"];
/// Most links that are followed from one name.
const LINKS_MAX: usize = 16;

/// A file of an archive that is in the store now.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoredFile {
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// What its first bytes say.
    pub(super) compression: Detected,
}

/// What an archive has.
#[derive(Debug, Default)]
pub(super) struct Contents {
    documents: BTreeMap<ArchivePath, Vec<u8>>,
    files: BTreeMap<ArchivePath, StoredFile>,
    links: BTreeMap<ArchivePath, ArchivePath>,
}

impl Contents {
    /// Returns one of the documents at the top of the archive.
    pub(super) fn document(&self, name: &str) -> Option<&[u8]> {
        let path = ArchivePath::parse(name.as_bytes()).ok()?;
        self.documents.get(&path).map(Vec::as_slice)
    }

    /// Returns the file that a path of the archive leads to.
    pub(super) fn file(&self, path: &str) -> Option<StoredFile> {
        let mut path = ArchivePath::parse(path.as_bytes()).ok()?;
        for _ in 0..=LINKS_MAX {
            match self.links.get(&path) {
                Some(target) => path = target.clone(),
                None => return self.files.get(&path).copied(),
            }
        }
        None
    }
}

/// Reads an archive to its end.
pub(super) fn read(
    store: &Store,
    file: impl Read + Send,
    failed: &dyn Fn(io::Error) -> CatalogError,
) -> Result<Contents, CatalogError> {
    let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
    let how = detect(file.fill_buf().map_err(failed)?);
    let mut tar = TarReader::new(decompress(file, how).map_err(failed)?, Limits::default());
    let mut contents = Contents::default();
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Some(member) = tar.next_member()? {
        let path = member.path.clone();
        match member.kind {
            MemberKind::File(size) if is_document(&path) => {
                let bytes = read_document(&path, size, &mut tar, failed)?;
                contents.documents.insert(path, bytes);
            }
            MemberKind::File(_) => {
                let stored = read_file(store, &path, &mut tar, &mut buffer, failed)?;
                contents.files.insert(path, stored);
            }
            MemberKind::Symlink(_) | MemberKind::HardLink(_) => {
                let target = target_of(&member)?;
                contents.links.insert(path, target);
            }
            // Directories say nothing, and images have no use for the rest.
            _ => {}
        }
    }
    tar.drain()?;
    Ok(contents)
}

fn is_document(path: &ArchivePath) -> bool {
    DOCUMENTS.iter().any(|name| path.as_bytes() == name.as_bytes())
}

fn read_document<R: Read>(
    path: &ArchivePath,
    size: u64,
    tar: &mut TarReader<R>,
    failed: &dyn Fn(io::Error) -> CatalogError,
) -> Result<Vec<u8>, CatalogError> {
    if size > DOCUMENT_SIZE_MAX {
        return Err(CatalogError::Damaged {
            reason: format!("`{path}` has more than {DOCUMENT_SIZE_MAX} bytes"),
        });
    }
    let mut bytes = Vec::new();
    tar.content().read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn read_file<R: Read>(
    store: &Store,
    path: &ArchivePath,
    tar: &mut TarReader<R>,
    buffer: &mut [u8],
    failed: &dyn Fn(io::Error) -> CatalogError,
) -> Result<StoredFile, CatalogError> {
    let mut content = tar.content();
    let mut writer = store.blobs().writer();
    let mut compression = None;
    loop {
        let count = match content.read(buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        compression.get_or_insert_with(|| detect(&buffer[..count]));
        let store_failed = |source| CatalogError::Read { what: format!("`{path}` into the store"), source };
        writer.write_all(&buffer[..count]).map_err(store_failed)?;
    }
    // The name is checked before anyone can see the blob.
    let expected = digest_of_path(path);
    let committed = writer.commit(expected.as_ref());
    let (digest, size) = match committed {
        Err(kiln_store::StoreError::WrongDigest { actual, .. }) => {
            return Err(CatalogError::WrongDigest { path: path.to_string(), actual });
        }
        committed => committed?,
    };
    Ok(StoredFile { digest, size, compression: compression.unwrap_or(Detected::Plain) })
}

/// Returns what a link leads to, within the archive.
fn target_of(member: &Member) -> Result<ArchivePath, CatalogError> {
    let broken = |error| CatalogError::Archive(ReadError::Name { source: error });
    match &member.kind {
        MemberKind::HardLink(target) => Ok(target.clone()),
        MemberKind::Symlink(target) => {
            let directory = member.path.parent().unwrap_or_else(ArchivePath::root);
            let mut whole = directory.as_bytes().to_vec();
            whole.push(b'/');
            whole.extend_from_slice(target);
            ArchivePath::clamp(&whole).map_err(broken)
        }
        _ => unreachable!("only links have targets"),
    }
}
