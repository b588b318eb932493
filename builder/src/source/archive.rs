//! Archives as contexts: what COPY, ADD and bind mounts can select, as the archive has it.
//!
//! Nothing is unpacked into a directory: entries become a tree in memory, contents numbered files in the store's scratch. So
//! owners, modes, extended attributes, hard links and devices are those of the archive, whoever builds, and no name of the
//! archive is ever used on disk. As in BuildKit (`dockerui/context.go`, `MainContext`) no ignore file applies: whoever made
//! the archive chose what is in it.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use kiln_layer::content_hash::HashError;
use kiln_layer::tar::read::Limits;
use kiln_layer::{
    ArchiveError, ArchivePath, Content, DirectoryOrigin, Entry, NoCache, NoLayers, Tree, extract_archive,
    hash_contents,
};
use kiln_store::{Scratch, StoreError};

use crate::source::http::Download;
use crate::workshop::Workshop;

/// Name of a file of the web that is no archive, as a context (BuildKit's).
const ONLY_FILE: &[u8] = b"context";

/// Why an archive cannot be a context.
#[derive(Debug, thiserror::Error)]
pub enum ContextArchiveError {
    /// It cannot be opened.
    #[error("cannot open the build context `{place}`")]
    Open {
        /// The file or address, as it may be shown.
        place: String,
        /// What the file system says.
        source: std::io::Error,
    },
    /// It is damaged, hostile or too large.
    #[error("cannot unpack the build context `{place}`")]
    Unpack {
        /// The file or address, as it may be shown.
        place: String,
        /// What is wrong with it.
        source: ArchiveError,
    },
    /// It is no archive, and cannot be hashed.
    #[error("cannot read the build context `{place}`")]
    Hash {
        /// The address, as it may be shown.
        place: String,
        /// Why not.
        source: HashError,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The files of an archive.
#[derive(Debug)]
pub struct Files {
    /// Entries with their contents.
    pub tree: Arc<Tree>,
    /// Keeps the contents.
    _scratch: Option<Scratch>,
}

/// Reads an archive from a file.
///
/// # Errors
/// [`ContextArchiveError`], which names the file.
pub fn read_file(workshop: &Workshop, path: &Path) -> Result<Files, ContextArchiveError> {
    let place = path.display().to_string();
    match std::fs::File::open(path) {
        Ok(file) => read(workshop, file, &place),
        Err(source) => Err(ContextArchiveError::Open { place, source }),
    }
}

/// Reads an archive. `place` is where it comes from, for messages.
///
/// # Errors
/// [`ContextArchiveError`], which names the place.
pub fn read(
    workshop: &Workshop,
    reader: impl Read + Send,
    place: &str,
) -> Result<Files, ContextArchiveError> {
    let open = |source| ContextArchiveError::Open { place: place.to_owned(), source };
    let unpack = |source| ContextArchiveError::Unpack { place: place.to_owned(), source };
    let scratch = workshop.store.scratch("context")?;
    let origin = Arc::new(DirectoryOrigin::open(scratch.path()).map_err(open)?);
    let mut tree = extract_archive(reader, &origin, Limits::default()).map_err(unpack)?;
    imply_directories(&mut tree);
    Ok(Files { tree: Arc::new(tree), _scratch: Some(scratch) })
}

/// Reads an archive that is a known content.
///
/// # Errors
/// [`ContextArchiveError`], which names the place.
pub fn read_content(
    workshop: &Workshop,
    content: &Content,
    place: &str,
) -> Result<Files, ContextArchiveError> {
    let open = |source| ContextArchiveError::Open { place: place.to_owned(), source };
    read(workshop, content.open(&NoLayers).map_err(open)?, place)
}

/// Reads a file of the web: an archive, or else a file that is the only one of its context.
///
/// # Errors
/// [`ContextArchiveError`], which names the place.
pub fn read_or_only(
    workshop: &Workshop,
    download: &Download,
    place: &str,
) -> Result<Files, ContextArchiveError> {
    if is_archive(&download.content, place)? {
        return read_content(workshop, &download.content, place);
    }
    let mut tree = Tree::new();
    tree.insert(ArchivePath::parse(ONLY_FILE).expect("a plain name"), download.entry());
    imply_directories(&mut tree);
    hash_contents(&mut tree, &|_| true, &NoCache, &NoLayers)
        .map_err(|source| ContextArchiveError::Hash { place: place.to_owned(), source })?;
    Ok(Files { tree: Arc::new(tree), _scratch: None })
}

/// Returns a context without files.
pub fn nothing() -> Files {
    let mut tree = Tree::new();
    imply_directories(&mut tree);
    Files { tree: Arc::new(tree), _scratch: None }
}

/// Tells whether a file is an archive, by its bytes.
///
/// # Errors
/// [`ContextArchiveError`] when it cannot be read.
pub fn is_archive(content: &Content, place: &str) -> Result<bool, ContextArchiveError> {
    let told = content.open(&NoLayers).and_then(kiln_layer::is_archive);
    told.map_err(|source| ContextArchiveError::Open { place: place.to_owned(), source })
}

/// Adds the directories that no member describes, as tar makes them.
fn imply_directories(tree: &mut Tree) {
    if tree.get(&ArchivePath::root()).is_none() {
        tree.insert(ArchivePath::root(), Entry::implied_directory());
    }
    let parents: Vec<ArchivePath> = tree.iter().map(|(path, _)| path.clone()).collect();
    for path in &parents {
        tree.imply_parents(path);
    }
}
