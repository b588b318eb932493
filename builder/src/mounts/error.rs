//! Why a mount cannot travel.

use kiln_layer::{ArchivePath, UnpackError, WalkError};
use kiln_store::StoreError;

/// Why something cannot be done with a cache mount.
#[derive(Debug, thiserror::Error)]
pub enum MountsError {
    /// The store refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such mount.
    #[error("there is no cache mount `{}`", shown_id(id))]
    Missing {
        /// Its id.
        id: String,
    },
    /// Somebody uses it.
    #[error("cache mount `{}` is in use{}", shown_id(id), by(users))]
    InUse {
        /// Its id.
        id: String,
        /// The processes, as far as they are known.
        users: Vec<u32>,
    },
    /// It is there already, and is not to be replaced.
    #[error("cache mount `{}` is here already", shown_id(id))]
    AlreadyHere {
        /// Its id.
        id: String,
    },
    /// Its files cannot be looked at.
    #[error("cannot look at cache mount `{}`", shown_id(id))]
    Walk {
        /// Its id.
        id: String,
        /// What was said.
        #[source]
        source: WalkError,
    },
    /// Its files cannot be read.
    #[error("cannot read the files of cache mount `{}`", shown_id(id))]
    Read {
        /// Its id.
        id: String,
        /// What was said.
        #[source]
        source: std::io::Error,
    },
    /// Its files cannot be written.
    #[error("cannot write the files of cache mount `{}`", shown_id(id))]
    Unpack {
        /// Its id.
        id: String,
        /// What was said.
        #[source]
        source: UnpackError,
    },
    /// An attribute cannot be written.
    #[error("cannot note the owner of `{path}`")]
    Owner {
        /// The file.
        path: ArchivePath,
        /// What was said.
        #[source]
        source: std::io::Error,
    },
    /// What came from elsewhere has something that no cache mount has.
    #[error("`{path}` is {what}, which a cache mount from elsewhere must not have")]
    Refused {
        /// Its name.
        path: ArchivePath,
        /// What it is.
        what: &'static str,
    },
    /// A document is damaged, hostile, or of another version.
    #[error("the document `{name}` cannot be used: {reason}")]
    Document {
        /// The entry.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// An archive is no archive of cache mounts.
    #[error("this is no archive of cache mounts: {reason}")]
    Archive {
        /// What is wrong.
        reason: String,
    },
    /// The far place refuses.
    #[error("cannot {verb} `{name}`")]
    Far {
        /// What was tried.
        verb: &'static str,
        /// On which entry or blob.
        name: String,
        /// What was said.
        #[source]
        source: std::io::Error,
    },
}

/// Returns a mount's id as the Dockerfile has it, behind its namespace where there is one; on one line.
pub fn shown_id(id: &str) -> String {
    id.strip_prefix('/').unwrap_or(id).escape_debug().to_string()
}

fn by(users: &[u32]) -> String {
    match users {
        [] => String::new(),
        [one] => format!(" by process {one}"),
        many => {
            let numbers: Vec<String> = many.iter().map(u32::to_string).collect();
            format!(" by processes {}", numbers.join(", "))
        }
    }
}
