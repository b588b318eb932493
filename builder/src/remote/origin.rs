//! Where images come from and go: a registry, an OCI layout in a directory, an archive.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use kiln_oci::layout::{CONTAINERD_NAME, REF_NAME};
use kiln_oci::{Descriptor, Digest, Reference};
use kiln_registry::{Client, ProgressSink};

use super::feed::{Feed, fed};
use super::images::manifest;
use super::{RemoteError, TagList, TagOrder};
use crate::export::{BlobReader, ImageName};
use crate::lanes::blocking;
use crate::source::image_files::ImageFiles;

/// How many bytes of a file lie between two reports.
const REPORT_BYTES: u64 = 1 << 20;

/// Where an image is, or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImagePlace {
    /// At a registry.
    Registry(Reference),
    /// In files.
    Files(ImageFilesPlace),
}

/// Where an image is in files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageFilesPlace {
    /// In the directory of an OCI layout.
    Layout {
        /// The directory.
        path: PathBuf,
        /// A tag; for what is read, also a digest.
        name: Option<String>,
    },
    /// In an archive of an OCI layout.
    OciArchive {
        /// The archive.
        path: PathBuf,
        /// A tag; for what is read, also a digest.
        name: Option<String>,
    },
    /// In an archive of `docker save`.
    DockerArchive {
        /// The archive.
        path: PathBuf,
        /// A name; for what is read, also a digest.
        name: Option<String>,
    },
}

impl ImageFilesPlace {
    /// Returns the file or directory.
    pub fn path(&self) -> &Path {
        self.parts().1
    }

    /// Returns what an image is called there.
    pub fn name(&self) -> Option<&str> {
        self.parts().2.as_deref()
    }

    /// Returns the same file or directory with a name in it.
    #[must_use]
    pub fn with_name(&self, new: Option<String>) -> Self {
        let mut place = self.clone();
        let (Self::Layout { name, .. } | Self::OciArchive { name, .. } | Self::DockerArchive { name, .. }) =
            &mut place;
        *name = new;
        place
    }

    fn parts(&self) -> (&'static str, &Path, &Option<String>) {
        match self {
            Self::Layout { path, name } => ("oci", path, name),
            Self::OciArchive { path, name } => ("oci-archive", path, name),
            Self::DockerArchive { path, name } => ("docker-archive", path, name),
        }
    }
}

impl fmt::Display for ImagePlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(name) => formatter.write_str(&name.familiar()),
            Self::Files(place) => {
                let (kind, path, name) = place.parts();
                write!(formatter, "{kind}:{}", path.display())?;
                match name {
                    Some(name) if name.starts_with("sha256:") => write!(formatter, "@{name}"),
                    Some(name) => write!(formatter, ":{name}"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Returns the tags of all images of a place.
///
/// # Errors
/// What the registry says, or that the files cannot be read.
pub async fn names(
    client: &Client,
    place: &ImagePlace,
    scratch: &Path,
) -> Result<Vec<ImagePlace>, RemoteError> {
    match place {
        ImagePlace::Registry(name) => {
            let list = TagList::fetch(client, name, TagOrder::Name).await?;
            let tagged = |tag: &String| name.with_tag(tag).expect("the client lists nothing but tags");
            Ok(list.tags.iter().map(tagged).map(ImagePlace::Registry).collect())
        }
        ImagePlace::Files(files) => {
            let open = open(files, scratch).await?;
            // What has no name is not one of several tags. A full name is the only one of its kind, where a tag may be another's.
            let name = |entry: &Descriptor| {
                let name = [CONTAINERD_NAME, REF_NAME].iter().find_map(|key| entry.annotations.get(*key))?;
                Some(ImagePlace::Files(files.with_name(Some(name.clone()))))
            };
            Ok(open.images().iter().filter_map(name).collect())
        }
    }
}

async fn open(place: &ImageFilesPlace, scratch: &Path) -> Result<ImageFiles, RemoteError> {
    let (path, scratch) = (place.path().to_owned(), scratch.to_owned());
    Ok(blocking(move || ImageFiles::open(&path, &scratch)).await?)
}

/// Where one image comes from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// A registry.
    Registry {
        /// Who asks it.
        client: Client,
        /// The image's name.
        name: Reference,
    },
    /// Files.
    Files {
        /// The files.
        files: Arc<ImageFiles>,
        /// What their list says of the image.
        image: Box<Descriptor>,
        /// How the image was asked for.
        shown: String,
    },
}

/// A manifest or index, as it is where it was found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// What it is.
    pub(super) descriptor: Descriptor,
    /// Its bytes.
    pub(super) bytes: Bytes,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry { name, .. } => formatter.write_str(&name.familiar()),
            Self::Files { shown, .. } => formatter.write_str(shown),
        }
    }
}

impl Origin {
    /// Finds an image.
    pub(super) async fn find(
        client: &Client,
        place: &ImagePlace,
        scratch: &Path,
    ) -> Result<Self, RemoteError> {
        match place {
            ImagePlace::Registry(name) => Ok(Self::Registry { client: client.clone(), name: name.clone() }),
            ImagePlace::Files(files) => {
                let open = open(files, scratch).await?;
                let image = Box::new(open.find(files.name())?);
                Ok(Self::Files { files: Arc::new(open), image, shown: place.to_string() })
            }
        }
    }

    /// Returns what the image is called, as far as that says something elsewhere.
    pub(super) fn name(&self) -> Option<ImageName> {
        match self {
            Self::Registry { name, .. } => {
                let name = name.or_latest();
                // A digest is no name.
                name.tag().and_then(|tag| name.with_tag(tag).ok()).map(ImageName::Full)
            }
            Self::Files { image, .. } => {
                let short = image.annotations.get(REF_NAME).filter(|name| name.contains([':', '/']));
                let full = image.annotations.get(CONTAINERD_NAME).or(short);
                let full = full.and_then(|name| name.parse::<Reference>().ok()).map(|name| name.or_latest());
                let tag = || image.annotations.get(REF_NAME).cloned().map(ImageName::Tag);
                full.map(ImageName::Full).or_else(tag)
            }
        }
    }

    /// Returns the digest that a registry is asked for.
    pub(super) fn digest(&self) -> Option<Digest> {
        match self {
            Self::Registry { name, .. } => name.digest(),
            Self::Files { .. } => None,
        }
    }

    /// Returns the manifest or index that the image's name leads to.
    pub(super) async fn top(&self) -> Result<Found, RemoteError> {
        match self {
            Self::Registry { client, name } => {
                let resolved = manifest(client, name).await?;
                Ok(Found { descriptor: resolved.descriptor, bytes: resolved.bytes })
            }
            Self::Files { image, .. } => {
                // What the list says of the image besides is not part of it.
                let plain = Descriptor::new(image.media_type.clone(), image.digest, image.size);
                self.document(&plain).await
            }
        }
    }

    /// Returns a manifest or index by its digest.
    pub(super) async fn document(&self, entry: &Descriptor) -> Result<Found, RemoteError> {
        match self {
            Self::Registry { client, name } => {
                let resolved = manifest(client, &name.with_digest(entry.digest)).await?;
                Ok(Found { descriptor: resolved.descriptor, bytes: resolved.bytes })
            }
            Self::Files { files, .. } => {
                let (files, blob) = (Arc::clone(files), entry.clone());
                let bytes = blocking(move || files.read_document(&blob)).await?;
                Ok(Found { descriptor: entry.clone(), bytes: Bytes::from(bytes) })
            }
        }
    }

    /// Whether a blob can be had, as far as can be told without asking a registry.
    pub(super) fn may_have(&self, blob: &Descriptor) -> bool {
        match self {
            Self::Registry { .. } => !blob.media_type.is_foreign(),
            Self::Files { files, .. } => !blob.media_type.is_foreign() || files.has(blob),
        }
    }

    /// Runs `job`, which blocks and opens blobs.
    pub(super) async fn with_blobs<T: Send + 'static>(
        &self,
        job: impl FnOnce(OpenOrigin) -> T + Send + 'static,
    ) -> T {
        match self {
            Self::Registry { client, name } => {
                fed(client, name, |feed| job(OpenOrigin::Registry(feed))).await
            }
            Self::Files { files, .. } => {
                let files = Arc::clone(files);
                blocking(|| job(OpenOrigin::Files(files))).await
            }
        }
    }
}

/// Where a job opens blobs.
pub(super) enum OpenOrigin {
    /// A registry.
    Registry(Feed),
    /// Files.
    Files(Arc<ImageFiles>),
}

impl OpenOrigin {
    /// Opens a blob, where wrong bytes become an error at its end.
    pub(super) fn open(&self, blob: &Descriptor, progress: ProgressSink) -> io::Result<BlobReader> {
        match self {
            Self::Registry(feed) => Ok(Box::new(feed.open(blob, progress)?)),
            Self::Files(files) => {
                let reader = files.open_blob(blob)?;
                Ok(Box::new(Told { reader, done: 0, reported: 0, total: blob.size, progress }))
            }
        }
    }
}

/// A blob of files whose reading is told.
struct Told {
    reader: BlobReader,
    done: u64,
    reported: u64,
    total: u64,
    progress: ProgressSink,
}

impl Read for Told {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.done += count as u64;
        if self.done - self.reported >= REPORT_BYTES || self.done == self.total && count > 0 {
            self.reported = self.done;
            (self.progress)(self.done, self.total);
        }
        Ok(count)
    }
}
