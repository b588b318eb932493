//! Images in files of this machine, read where they lie: the directory of an OCI layout, or an archive of one or of `docker save`.
//!
//! Of an archive only the headers are read at first, and a blob is read when it is wanted, from its place. One that is compressed,
//! or comes through a pipe, has no places: it is unpacked into a file without a name first. Blobs are checked against their
//! digests while they are read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_layer::compress::{Detected, decompress, detect};
use kiln_layer::tar::read::{Limits, MemberKind, TarReader};
use kiln_oci::layout::{CONTAINERD_NAME, INDEX_FILE, REF_NAME};
use kiln_oci::validate::DOCUMENT_SIZE_MAX;
use kiln_oci::{
    Descriptor, Digest, Document, Hasher, Index, Manifest, MediaType, Reference, VerifyingReader,
};

use super::image_archive::{
    Contents, DOCKER_LIST, Entry, ImageArchiveError, SeenFile, docker_entries, docker_manifest, path_of_blob,
    read_contents, read_index,
};
use super::layout::{self, NotChosen};

const BUFFER_BYTES: usize = 256 * 1024;

/// Why images in files could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ImageFilesError {
    /// A file could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The layout or archive.
        path: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
    /// An archive could not be unpacked to be read.
    #[error("cannot unpack `{}` into `{}`", path.display(), scratch.display())]
    Unpack {
        /// The archive.
        path: PathBuf,
        /// The directory of the file that it was unpacked into.
        scratch: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
    /// It holds no images, or something untrue of them.
    #[error("cannot read the images of `{}`", path.display())]
    Images {
        /// The layout or archive.
        path: PathBuf,
        /// What is wrong with it.
        source: ImageArchiveError,
    },
    /// It has no such image.
    #[error("`{}` has no image `{name}`; it has {available}", path.display())]
    Absent {
        /// The layout or archive.
        path: PathBuf,
        /// What was asked for.
        name: String,
        /// What there is.
        available: String,
    },
    /// It has several images, and none was named.
    #[error("`{}` has several images: {available}; name one behind the path", path.display())]
    Several {
        /// The layout or archive.
        path: PathBuf,
        /// What there is.
        available: String,
    },
}

/// A layout or archive, open.
#[derive(Debug)]
pub struct ImageFiles {
    path: PathBuf,
    index: Index,
    archive: Option<Archive>,
}

#[derive(Debug)]
struct Archive {
    file: Arc<File>,
    /// Where members begin.
    contents: Contents<u64>,
    /// Where blobs begin that are not called by their digests.
    seen: BTreeMap<Digest, u64>,
    /// Manifests of images that have none.
    made: BTreeMap<Digest, Vec<u8>>,
}

impl ImageFiles {
    /// Opens the layout in a directory, or an archive; `scratch` is where one is unpacked that cannot be read where it lies.
    ///
    /// # Errors
    /// [`ImageFilesError`].
    pub fn open(path: &Path, scratch: &Path) -> Result<Self, ImageFilesError> {
        let read = |source| ImageFilesError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(read)?;
        let images = |source| ImageFilesError::Images { path: path.to_owned(), source };
        let (index, archive) = if file.metadata().map_err(read)?.is_dir() {
            let bytes = layout::read_index(path).map_err(read)?;
            (read_index(&bytes).map_err(images)?, None)
        } else {
            let file = in_place(file).map_err(read)?;
            let file = match file {
                Found::Places(file) => file,
                Found::Stream(stream) => unpack(stream, scratch).map_err(|source| {
                    let (path, scratch) = (path.to_owned(), scratch.to_owned());
                    ImageFilesError::Unpack { path, scratch, source }
                })?,
            };
            let (archive, index) = Archive::read(file).map_err(images)?;
            (index, Some(archive))
        };
        if index.manifests.is_empty() {
            return Err(images(ImageArchiveError::NotImages { reason: "it lists no image".to_owned() }));
        }
        Ok(Self { path: path.to_owned(), index, archive })
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the images, one entry for each name.
    pub fn images(&self) -> &[Descriptor] {
        &self.index.manifests
    }

    /// Finds an image by tag, name or digest; without any, the only one.
    ///
    /// # Errors
    /// [`ImageFilesError::Absent`] and [`ImageFilesError::Several`], which tell what there is.
    pub fn find(&self, name: Option<&str>) -> Result<Descriptor, ImageFilesError> {
        let path = self.path.clone();
        layout::choose(&self.index, name).map_err(|error| match error {
            NotChosen::Absent { name, available } => ImageFilesError::Absent { path, name, available },
            NotChosen::Several { available } => ImageFilesError::Several { path, available },
        })
    }

    /// Tells whether a blob is there.
    pub fn has(&self, blob: &Descriptor) -> bool {
        match &self.archive {
            None => layout::has_blob(&self.path, blob),
            Some(archive) => archive.made.contains_key(&blob.digest) || archive.position(blob).is_some(),
        }
    }

    /// Opens a blob for reading to its end, where wrong bytes become an error.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub fn open_blob(&self, blob: &Descriptor) -> io::Result<Box<dyn Read + Send>> {
        let Some(archive) = &self.archive else {
            return Ok(Box::new(layout::open_blob(&self.path, blob)?));
        };
        Ok(Box::new(VerifyingReader::new(archive.open(blob)?, blob.digest, blob.size)))
    }

    /// Reads a small blob, checked against its descriptor.
    ///
    /// # Errors
    /// [`ImageFilesError::Read`], also for wrong bytes.
    pub fn read_document(&self, blob: &Descriptor) -> Result<Vec<u8>, ImageFilesError> {
        let read = |source| ImageFilesError::Read { path: self.path.clone(), source };
        if blob.size > DOCUMENT_SIZE_MAX {
            return Err(read(io::Error::other(format!("`{}` is too large for a document", blob.digest))));
        }
        let mut bytes = Vec::new();
        self.open_blob(blob).and_then(|mut blob| blob.read_to_end(&mut bytes)).map_err(read)?;
        Ok(bytes)
    }
}

impl Archive {
    /// Finds out what an archive has.
    fn read(file: File) -> Result<(Self, Index), ImageArchiveError> {
        let file = Arc::new(file);
        let whole = BufReader::with_capacity(BUFFER_BYTES, Place { file: Arc::clone(&file), position: 0 });
        let mut tar = TarReader::new(whole, Limits::default());
        let contents = read_contents(&mut tar, |here| {
            here.tar.seek_past_content()?;
            Ok::<_, ImageArchiveError>(here.position)
        })?;
        let mut archive = Self { file, contents, seen: BTreeMap::new(), made: BTreeMap::new() };
        let entries = archive.contents.document(DOCKER_LIST).map(docker_entries).transpose()?;
        let entries = entries.unwrap_or_default();
        let index = match archive.contents.document(INDEX_FILE) {
            Some(bytes) => archive.with_names(read_index(bytes)?, &entries)?,
            None if !entries.is_empty() => archive.make_manifests(&entries)?,
            None => {
                let reason = format!("it has neither `{INDEX_FILE}` nor `{DOCKER_LIST}`");
                return Err(ImageArchiveError::NotImages { reason });
            }
        };
        Ok((archive, index))
    }

    fn position(&self, blob: &Descriptor) -> Option<u64> {
        self.seen.get(&blob.digest).copied().or_else(|| self.contents.file(&path_of_blob(blob)))
    }

    /// Opens a blob, unchecked.
    fn open(&self, blob: &Descriptor) -> io::Result<Box<dyn Read + Send>> {
        if let Some(bytes) = self.made.get(&blob.digest) {
            return Ok(Box::new(Cursor::new(bytes.clone())));
        }
        let position = self.position(blob).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("it lacks blob `{}`", blob.digest))
        })?;
        Ok(Box::new(self.open_member(position)?))
    }

    fn open_member(&self, position: u64) -> io::Result<OpenMember> {
        let place = Place { file: Arc::clone(&self.file), position };
        let mut tar = TarReader::new(place, Limits::default());
        let member = tar.next_member().map_err(io::Error::other)?;
        match member.map(|member| member.kind) {
            Some(MemberKind::File(_)) => Ok(OpenMember { tar }),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the archive was changed while it was read")),
        }
    }

    /// Returns the list of a layout, in which images without a name have those that `docker save` wrote beside it.
    fn with_names(&self, index: Index, entries: &[Entry]) -> Result<Index, ImageArchiveError> {
        let mut manifests = Vec::new();
        for image in index.manifests {
            let is_named = [REF_NAME, CONTAINERD_NAME].iter().any(|key| image.annotations.contains_key(*key));
            if is_named || entries.is_empty() || !image.media_type.is_manifest() {
                manifests.push(image);
                continue;
            }
            let config = self.manifest(&image)?.config.digest;
            manifests.extend(named(&image, entries.iter().filter(|entry| entry.is_of(&config))));
        }
        Ok(Index::oci(manifests))
    }

    fn manifest(&self, image: &Descriptor) -> Result<Manifest, ImageArchiveError> {
        let failed = |source| ImageArchiveError::Read { path: path_of_blob(image), source };
        let mut bytes = Vec::new();
        let content = self.open(image).map_err(failed)?;
        let mut content = VerifyingReader::new(content, image.digest, image.size.min(DOCUMENT_SIZE_MAX));
        content.read_to_end(&mut bytes).map_err(failed)?;
        let manifest = Document::<Manifest>::parse(bytes);
        let damaged = |error| ImageArchiveError::Damaged { reason: super::image_archive::described(&error) };
        Ok(manifest.map_err(damaged)?.into_value())
    }

    /// Makes manifests for images that have none. Their layers have no digests yet, so they are read.
    fn make_manifests(&mut self, entries: &[Entry]) -> Result<Index, ImageArchiveError> {
        let mut files: BTreeMap<u64, SeenFile> = BTreeMap::new();
        let mut manifests = Vec::new();
        for entry in entries {
            let manifest = docker_manifest(entry, |path| {
                let Some(position) = self.contents.file(path) else { return Ok(None) };
                if let Some(seen) = files.get(&position) {
                    return Ok(Some(*seen));
                }
                let failed =
                    |source| ImageArchiveError::Read { path: path.escape_debug().to_string(), source };
                let seen = self.open_member(position).and_then(look).map_err(failed)?;
                files.insert(position, seen);
                Ok::<_, ImageArchiveError>(Some(seen))
            })?;
            let descriptor = manifest.descriptor(MediaType::OCI_MANIFEST);
            self.made.insert(descriptor.digest, manifest.bytes().to_vec());
            manifests.extend(named(&descriptor, std::iter::once(entry)));
        }
        self.seen = files.into_iter().map(|(position, seen)| (seen.digest, position)).collect();
        Ok(Index::oci(manifests))
    }
}

/// Returns an entry for each name of an image, or one without.
fn named<'a>(image: &Descriptor, entries: impl Iterator<Item = &'a Entry>) -> Vec<Descriptor> {
    let with_name = |name: &String| {
        let mut image = image.clone();
        image.annotations.insert(REF_NAME.to_owned(), name.clone());
        // What is no name is still a way to find the image.
        if let Ok(reference) = name.parse::<Reference>() {
            image.annotations.insert(CONTAINERD_NAME.to_owned(), reference.or_latest().to_string());
        }
        image
    };
    let images: Vec<Descriptor> = entries.flat_map(Entry::tags).map(with_name).collect();
    if images.is_empty() { vec![image.clone()] } else { images }
}

/// Reads a file to its end.
fn look(mut content: impl Read) -> io::Result<SeenFile> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let (mut hasher, mut size, mut compression) = (Hasher::new(), 0, None);
    loop {
        let count = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        compression.get_or_insert_with(|| detect(&buffer[..count]));
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
    Ok(SeenFile { digest: hasher.finish(), size, compression: compression.unwrap_or(Detected::Plain) })
}

/// How a file can be read.
enum Found {
    /// At any place.
    Places(File),
    /// From front to end, as the archive that it holds.
    Stream(Box<dyn Read + Send>),
}

fn in_place(mut file: File) -> io::Result<Found> {
    let is_file = file.metadata()?.is_file();
    let mut start = BufReader::with_capacity(BUFFER_BYTES, &file);
    let how = detect(start.fill_buf()?);
    if is_file && how == Detected::Plain {
        file.seek(SeekFrom::Start(0))?;
        return Ok(Found::Places(file));
    }
    let seen = start.buffer().to_vec();
    Ok(Found::Stream(decompress(BufReader::with_capacity(BUFFER_BYTES, Cursor::new(seen).chain(file)), how)?))
}

/// Writes an archive to a file that vanishes with this process.
fn unpack(stream: Box<dyn Read + Send>, scratch: &Path) -> io::Result<File> {
    let mut file = tempfile::tempfile_in(scratch)?;
    let bytes_max = Limits::default().archive_bytes_max;
    let copied = io::copy(&mut stream.take(bytes_max.saturating_add(1)), &mut file)?;
    if copied > bytes_max {
        return Err(io::Error::other(format!("it has more than {bytes_max} bytes")));
    }
    file.flush()?;
    Ok(file)
}

/// A place in a file that others read, too.
#[derive(Debug)]
struct Place {
    file: Arc<File>,
    position: u64,
}

impl Read for Place {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Place {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
            SeekFrom::End(offset) => self.file.metadata()?.len().checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// The content of a member, read where it lies.
struct OpenMember {
    tar: TarReader<Place>,
}

impl Read for OpenMember {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tar.content().read(buffer)
    }
}
