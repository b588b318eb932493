//! File trees and layers: what is in an image, and how it becomes bytes.
//!
//! - **Does**: walks directories, merges layers, applies the rules of COPY and ADD, finds what changed, writes and reads layers.
//! - **Does not**: touch the network, mount anything, read clocks or the environment.
//! - **Main type**: [`Tree`], paths → entries with contents by reference.
//! - **Main function**: [`commit()`], which turns [`Changes`] into a layer in one pass.
//!
//! ```
//! use kiln_layer::{ArchivePath, Entry, Metadata, Content, Tree};
//!
//! let mut tree = Tree::new();
//! tree.insert(ArchivePath::parse(b"hello")?, Entry::file(Metadata::with_mode(0o644), Content::inline(*b"hi\n")));
//! assert_eq!(tree.len(), 1);
//! # Ok::<(), kiln_layer::PathError>(())
//! ```

#[cfg(any(fuzzing, test))]
pub mod fuzz;

pub mod commit;
pub use commit::{
    BlockIndex, CommitError, CommitOptions, Committed, EarlierBlocks, LayerTime, commit, commit_with,
};

pub mod copy;
pub use copy::{
    BadPattern, Copied, CopyError, CopyRequest, CopySource, Observed, ParentsPattern, Part, check_length,
    copy, select_sources,
};

mod chmod;
pub use chmod::{Chmod, ChmodError};

pub mod owner;
pub use owner::{AccountFile, Accounts, Owner, OwnerError, User, files_needed, resolve_owner, resolve_user};

pub mod reshape;
pub use reshape::{ReshapeOptions, reshape};

pub mod materialize;
pub use materialize::{MaterializeError, MaterializeOptions, materialize, materialize_again};

pub mod unpack;
pub use unpack::{
    Devices, Lower, MissingId, OverlayMarks, Ownership, UnpackError, UnpackForm, UnpackOptions, Unpacked,
    read_listing, unpack,
};

pub mod archive;
pub use archive::{ArchiveError, extract_archive, is_archive};

pub mod diff;
pub use diff::{
    DiffError, DiffOptions, changes_from_directory, changes_from_overlay_upper, latest_change_ns,
    walk_for_diff,
};

pub mod hold;
pub use hold::{Hold, HoldError};

pub mod content_hash;
pub use content_hash::{Selected, digest_of_selection, hash_contents};

pub mod walk;
pub use walk::{
    Filter, Place, Rules, Survey, Verdict, WalkError, WalkOptions, WalkOwner, WalkXattrs, walk,
    walk_by_rules, walk_origin,
};

pub mod digest_cache;
pub use digest_cache::{DigestCache, KnownFile, NoCache, StatCache};

mod tree;
pub use tree::{
    Aspect, Changes, Difference, InodeId, Resolution, ResolveError, SYMLINKS_MAX, Tree, TreeError, diff,
};

pub mod listing;
pub use listing::{Item, Listing, ListingError};

pub mod tar;

pub mod compress;
pub use compress::Compression;

mod entry;
pub use entry::{Device, Entry, Kind, Metadata, Timestamp, WithTime, Xattrs};

mod holes;

mod content;
pub use content::{
    Content, ContentReader, DirectoryOrigin, FileIdentity, LayerDirectories, NoLayers, Origin,
};

mod content_digest;
pub use content_digest::{ContentDigest, ContentHasher};

pub mod limits;

mod path;
pub use path::{ArchivePath, PATH_BYTES_MAX, PathError, PathMatcher, escape};
