//! Archives of images: of `docker save`, old and new, and of OCI layouts. Read in one pass, from front to end; small documents are
//! kept until the end says what they mean, and what becomes of the other files is the caller's.

mod docker;
pub use docker::{Entry, docker_entries, docker_manifest};

mod error;
pub use error::ImageArchiveError;

use std::collections::BTreeMap;
use std::io::Read;

use kiln_layer::ArchivePath;
use kiln_layer::compress::Detected;
use kiln_layer::tar::read::{Member, MemberKind, ReadError, TarReader};
use kiln_oci::validate::DOCUMENT_SIZE_MAX;
use kiln_oci::{Descriptor, Digest, Document, DocumentError, Index, layout};

/// Most images that one archive may list.
pub const IMAGES_MAX: usize = 10_000;
/// The list of images of `docker save`.
pub const DOCKER_LIST: &str = "manifest.json";

/// Documents that say what is in an archive.
const DOCUMENTS: [&str; 4] = [layout::MARKER_FILE, layout::INDEX_FILE, DOCKER_LIST, "repositories"];
/// Most links that are followed from one name.
const LINKS_MAX: usize = 16;

/// A file of an archive whose bytes were seen.
#[derive(Debug, Clone, Copy)]
pub struct SeenFile {
    /// Their digest.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// What the first of them say.
    pub compression: Detected,
}

/// What an archive has. `F` is what is known of a file that is no document.
#[derive(Debug)]
pub struct Contents<F> {
    documents: BTreeMap<ArchivePath, Vec<u8>>,
    files: BTreeMap<ArchivePath, F>,
    links: BTreeMap<ArchivePath, ArchivePath>,
}

/// A file at which a pass over an archive stands.
#[derive(Debug)]
pub struct FileHere<'a, R> {
    /// Its name.
    pub path: &'a ArchivePath,
    /// Where its member begins in the archive.
    pub position: u64,
    /// The archive, whose current content is the file's.
    pub tar: &'a mut TarReader<R>,
}

impl<F: Copy> Contents<F> {
    /// Returns one of the documents at the top of the archive.
    pub fn document(&self, name: &str) -> Option<&[u8]> {
        let path = ArchivePath::parse(name.as_bytes()).ok()?;
        self.documents.get(&path).map(Vec::as_slice)
    }

    /// Returns the file that a path of the archive leads to.
    pub fn file(&self, path: &str) -> Option<F> {
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

/// Reads an archive to its end, and asks `keep` what is to be known of each file.
///
/// # Errors
/// [`ImageArchiveError`], or that of `keep`.
pub fn read_contents<R: Read, F, E: From<ImageArchiveError>>(
    tar: &mut TarReader<R>,
    mut keep: impl FnMut(FileHere<'_, R>) -> Result<F, E>,
) -> Result<Contents<F>, E> {
    let mut contents =
        Contents { documents: BTreeMap::new(), files: BTreeMap::new(), links: BTreeMap::new() };
    loop {
        let position = tar.next_position().map_err(ImageArchiveError::from)?;
        let Some(member) = tar.next_member().map_err(ImageArchiveError::from)? else { break };
        let path = member.path.clone();
        match member.kind {
            MemberKind::File(size) if is_document(&path) => {
                let bytes = read_document(&path, size, tar)?;
                contents.documents.insert(path, bytes);
            }
            MemberKind::File(_) => {
                let kept = keep(FileHere { path: &path, position, tar })?;
                contents.files.insert(path, kept);
            }
            MemberKind::Symlink(_) | MemberKind::HardLink(_) => {
                let target = target_of(&member)?;
                contents.links.insert(path, target);
            }
            // Directories say nothing, and images have no use for the rest.
            _ => {}
        }
    }
    Ok(contents)
}

/// Reads a list of images that an archive or a layout has.
///
/// # Errors
/// [`ImageArchiveError::NotImages`], or that there are too many.
pub fn read_index(bytes: &[u8]) -> Result<Index, ImageArchiveError> {
    let malformed = |error: DocumentError| ImageArchiveError::NotImages { reason: described(&error) };
    let index = Document::<Index>::parse(bytes.to_vec()).map_err(malformed)?.into_value();
    check_count(index.manifests.len())?;
    Ok(index)
}

/// Returns the digest that a path of a layout stands for.
pub fn digest_of_path(path: &ArchivePath) -> Option<Digest> {
    let text = std::str::from_utf8(path.as_bytes()).ok()?;
    let hex = text.strip_prefix(layout::BLOBS_DIRECTORY)?.strip_prefix('/')?;
    Digest::from_hex(hex).ok()
}

/// Returns the path of a blob below a layout.
pub fn path_of_blob(blob: &Descriptor) -> String {
    format!("{}/{}", layout::BLOBS_DIRECTORY, blob.digest.hex())
}

/// Returns the text of an error with its causes.
pub fn described(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn check_count(count: usize) -> Result<(), ImageArchiveError> {
    if count > IMAGES_MAX {
        return Err(ImageArchiveError::Damaged { reason: format!("it lists more than {IMAGES_MAX} images") });
    }
    Ok(())
}

fn is_document(path: &ArchivePath) -> bool {
    DOCUMENTS.iter().any(|name| path.as_bytes() == name.as_bytes())
}

fn read_document<R: Read>(
    path: &ArchivePath,
    size: u64,
    tar: &mut TarReader<R>,
) -> Result<Vec<u8>, ImageArchiveError> {
    if size > DOCUMENT_SIZE_MAX {
        let reason = format!("`{path}` has more than {DOCUMENT_SIZE_MAX} bytes");
        return Err(ImageArchiveError::Damaged { reason });
    }
    let mut bytes = Vec::new();
    let read = tar.content().read_to_end(&mut bytes);
    let failed = |source| ImageArchiveError::Read { path: path.to_string(), source };
    read.map_err(|error| ImageArchiveError::found_in(error, failed))?;
    Ok(bytes)
}

/// Returns what a link leads to, within the archive.
fn target_of(member: &Member) -> Result<ArchivePath, ImageArchiveError> {
    let broken = |error| ImageArchiveError::Archive(ReadError::Name { source: error });
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
