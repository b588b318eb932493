//! Why something could not be done with a container. What somebody wrote is shown with escapes, so that it stays on its line.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use kiln_layer::{
    ArchiveError, ArchivePath, CommitError, CopyError, MaterializeError, ResolveError, TreeError, WalkError,
    escape,
};
use kiln_store::{ContainerId, StoreError};

use crate::boxed::boxed;
use crate::catalog::CatalogError;
use crate::export::ExportError;
use crate::layers::LayerError;
use crate::lower::ChangeError;
use crate::recording::Lack;
use crate::source::image::ImageError;
use crate::transform::StepError;

/// Why something could not be done with a container.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// No container has this name or id.
    #[error("no such container: `{}`{}", escape(container.as_bytes()), suggestion.as_ref().map_or_else(String::new, |near| format!(" (did you mean `{near}`?)")))]
    NotFound {
        /// What was asked for.
        container: String,
        /// A name that is much like it.
        suggestion: Option<String>,
    },
    /// Several containers have ids that begin so.
    #[error("`{}` is ambiguous: it may be {}", escape(container.as_bytes()), candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        container: String,
        /// The containers, by id and name.
        candidates: Vec<String>,
    },
    /// A name that no container may have.
    #[error("invalid container name `{}`: only [a-zA-Z0-9][a-zA-Z0-9_.-]+ is allowed", escape(name.as_bytes()))]
    InvalidName {
        /// The name.
        name: String,
    },
    /// Another container has the name.
    #[error(
        "conflict: the container name `{name}` is already in use by container {id}; remove that container, or choose another name"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        id: ContainerId,
    },
    /// Somebody else has the container.
    #[error("container `{name}` is in use by another kiln")]
    InUse {
        /// Its name.
        name: String,
    },
    /// A container that runs cannot be changed otherwise.
    #[error("cannot {doing} container `{name}`: it is running; end its command first")]
    Running {
        /// What is to be done: `remove`, `start`, `copy into`.
        doing: &'static str,
        /// Its name.
        name: String,
    },
    /// Only an image of a container that holds still is wanted.
    #[error(
        "container `{name}` is running, and kiln cannot pause it; end its command first, or commit with `--pause=false`"
    )]
    Unpaused {
        /// Its name.
        name: String,
    },
    /// The record of a container cannot be read.
    #[error("the record of container `{id}` is damaged: {reason}")]
    Damaged {
        /// The container.
        id: ContainerId,
        /// What is wrong with it.
        reason: String,
    },
    /// The files of a container were made in another way than this process has.
    #[error("container `{name}` cannot be opened here: {reason}")]
    OtherManner {
        /// Its name.
        name: String,
        /// What is needed.
        reason: String,
    },
    /// Neither the image nor anybody says what is to run.
    #[error("no command specified: image `{}` names none", escape(image.as_bytes()))]
    NoCommand {
        /// The image.
        image: String,
    },
    /// What is mounted cannot be had.
    #[error("cannot mount `{}`: {reason}", escape(target.as_bytes()))]
    Mount {
        /// Where.
        target: String,
        /// Why not.
        reason: String,
    },
    /// There is nothing at a path of a container.
    #[error("could not find the file `{}` in container `{container}`", escape(path.as_bytes()))]
    NoFile {
        /// The container.
        container: String,
        /// The path.
        path: String,
    },
    /// There is nothing at a path of the host.
    #[error("no such file or directory: `{}`", escape(path.as_os_str().as_bytes()))]
    NoHostFile {
        /// The path.
        path: PathBuf,
    },
    /// A file cannot be put where it is to go.
    #[error("cannot copy to `{}`: {reason}", escape(path.as_bytes()))]
    Place {
        /// Where.
        path: String,
        /// Why not.
        reason: &'static str,
    },
    /// Owners of files of the host cannot be set.
    #[error("only root can keep the owners of files that leave a container; copy without `--archive`")]
    Owners,
    /// A path of a container that leads nowhere.
    #[error("path `{}` of container `{container}` leads nowhere", escape(path.as_bytes()))]
    Resolve {
        /// The container.
        container: String,
        /// The path.
        path: String,
        /// Why.
        source: ResolveError,
    },
    /// A file or directory of the host cannot be read.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] MaterializeError),
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: ArchivePath,
        /// What the system said.
        source: io::Error,
    },
    /// Something of the host cannot be used.
    #[error("{what}")]
    Io {
        /// What was attempted.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// An archive is damaged or hostile.
    #[error("cannot read the archive")]
    Archive(#[from] ArchiveError),
    /// A name that could be stored, and never unpacked.
    #[error(transparent)]
    Name(#[from] CopyError),
    /// Files do not fit together.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A layer cannot be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A change of the configuration cannot be made.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A layer cannot be used.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The ids of this user do not reach.
    #[error(transparent)]
    Lack(#[from] Lack),
    /// The process could not be run, or its root not be made.
    #[error(transparent)]
    Step(Box<StepError>),
    /// The image could not be found or changed.
    #[error(transparent)]
    Catalog(Box<CatalogError>),
    /// The image could not be had.
    #[error(transparent)]
    Image(Box<ImageError>),
    /// An image could not be read or written.
    #[error(transparent)]
    Export(Box<ExportError>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

boxed!(ContainerError { Step: StepError, Catalog: CatalogError, Image: ImageError, Export: ExportError });

impl ContainerError {
    /// Returns the exit code by which a shell says that a command could not be started; `None` for every other failure.
    pub fn shell_code(&self) -> Option<u8> {
        match self {
            Self::Step(error) => match &**error {
                StepError::Exec(error) => error.shell_code().and_then(|code| u8::try_from(code).ok()),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether no container has the name that was asked for.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::Store(StoreError::ContainerMissing { .. }))
    }
}
