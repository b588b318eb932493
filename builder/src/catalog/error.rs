//! Why something could not be done with the images on this machine.

use std::io;

use kiln_layer::{ArchiveError, CommitError, CopyError, ResolveError, escape};
use kiln_oci::{Digest, Platform, Reference};
use kiln_store::{ContainerId, StoreError};

use crate::boxed::boxed;
use crate::export::ExportError;
use crate::layers::LayerError;
use crate::lower::ChangeError;
use crate::remote::RemoteError;
use crate::source::http::HttpError;
use crate::source::image::ImageError;
use crate::source::image_archive::ImageArchiveError;
use crate::source::layout::LayoutError;

/// Why something could not be done with the images on this machine.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// No image has this name or id.
    #[error("no such image: `{}`{}", escape(image.as_bytes()), suggestion.as_ref().map_or_else(String::new, |near| format!(" (did you mean `{near}`?)")))]
    NotFound {
        /// What was asked for.
        image: String,
        /// A name that is much like it.
        suggestion: Option<String>,
    },
    /// Several images have ids that begin so.
    #[error("`{image}` is ambiguous: it may be {}", candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        image: String,
        /// The images, by id and name.
        candidates: Vec<String>,
    },
    /// The image has no manifest for the platform here.
    #[error("image `{image}` is not here for {wanted}: it has {available}")]
    Platform {
        /// The image.
        image: String,
        /// What was asked for.
        wanted: Box<Platform>,
        /// What there is.
        available: String,
    },
    /// An image to be removed by its id has several names.
    #[error("conflict: unable to delete {image} (must be forced) - image is referenced in multiple repositories: {}", names.iter().map(Reference::familiar).collect::<Vec<_>>().join(", "))]
    Conflict {
        /// What was asked for.
        image: String,
        /// Its names.
        names: Vec<Reference>,
    },
    /// The last name of an image that a container uses was to go.
    #[error(
        "conflict: unable to remove repository reference \"{}\" (must force) - container {} is using its referenced image {}",
        name.familiar(), container.short(), &image.hex()[..12]
    )]
    ReferenceInUse {
        /// The name.
        name: Box<Reference>,
        /// The container.
        container: ContainerId,
        /// The image's id.
        image: Digest,
    },
    /// An image that a container uses was to go by its id.
    #[error(
        "conflict: unable to delete {} ({}) - image is being used by {} container {}",
        &image.hex()[..12],
        if *is_running { "cannot be forced" } else { "must be forced" },
        if *is_running { "running" } else { "stopped" },
        container.short()
    )]
    ImageInUse {
        /// The image's id.
        image: Digest,
        /// The container.
        container: ContainerId,
        /// Whether its command runs.
        is_running: bool,
    },
    /// A digest cannot be given to an image.
    #[error("`{reference}` cannot be a new name: it names a digest")]
    NamesDigest {
        /// The name.
        reference: Reference,
    },
    /// An image has no such file.
    #[error("image `{image}` has no `{path}`")]
    NoFile {
        /// The image.
        image: String,
        /// The path, as it was given.
        path: String,
    },
    /// A path of an image cannot be followed.
    #[error("cannot look into image `{image}`")]
    Path {
        /// The image.
        image: String,
        /// What is in the way.
        source: ResolveError,
    },
    /// What is at a path of an image is something else than was asked for.
    #[error("`{path}` of image `{image}` is a {noun}")]
    WrongKind {
        /// The image.
        image: String,
        /// The path, as it was given.
        path: String,
        /// What it is.
        noun: &'static str,
    },
    /// There is a list of this name already.
    #[error("there is a list `{name}` already")]
    ListExists {
        /// Its name.
        name: String,
    },
    /// There is no list of this name.
    #[error("{} `{name}`", if *is_image { "no list but a single image is" } else { "there is no list" })]
    NoList {
        /// The name.
        name: String,
        /// Whether an image that is no list has the name.
        is_image: bool,
    },
    /// A list does not have an image.
    #[error("list `{name}` has no image `{image}`")]
    NotInList {
        /// What was asked for.
        image: String,
        /// The list.
        name: String,
    },
    /// A registry does not give an image.
    #[error(transparent)]
    Remote(Box<RemoteError>),
    /// Images or files do not come out of an archive or layout that was opened.
    #[error("cannot {action} {input}")]
    Input {
        /// `load` or `import`.
        action: &'static str,
        /// The file, address or `standard input`.
        input: String,
        /// Why not.
        source: Box<CatalogError>,
    },
    /// An archive or layout cannot be opened.
    #[error("cannot read {input}")]
    Open {
        /// The file or `standard input`.
        input: String,
        /// What the system said.
        source: io::Error,
    },
    /// Something cannot be read or written on the way.
    #[error("cannot read {what}")]
    Read {
        /// What was read.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// An archive of images, or a layout, is not what it should be.
    #[error(transparent)]
    ImageArchive(#[from] ImageArchiveError),
    /// An archive of files is damaged or hostile.
    #[error(transparent)]
    Files(#[from] ArchiveError),
    /// An archive of the web cannot be had.
    #[error(transparent)]
    Web(Box<HttpError>),
    /// A name that could be stored, and never unpacked.
    #[error(transparent)]
    Name(#[from] CopyError),
    /// There is nothing in an archive.
    #[error("the archive has no files")]
    Empty,
    /// A layer cannot be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A change cannot be made.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A layer cannot be used.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// An OCI layout cannot be read.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// An image could not be had.
    #[error(transparent)]
    Image(Box<ImageError>),
    /// An image could not be read or written.
    #[error(transparent)]
    Export(Box<ExportError>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

boxed!(CatalogError { Remote: RemoteError, Image: ImageError, Web: HttpError, Export: ExportError });

impl CatalogError {
    /// Whether what was asked for is not on this machine.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}
