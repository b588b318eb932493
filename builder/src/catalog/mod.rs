//! The images on this machine: what there is, under which names, how it came and goes.
//!
//! Functions return plain values, and print nothing. An image is named by a reference (`app`, `app:1`, `app@sha256:…`), or by
//! its id: the digest of its configuration or manifest, or the first characters of one.
//!
//! **Sizes** are the sum of the contents of all layers, as Docker shows them; of a layer that is not here, the size of its blob.

mod transfer;
pub use transfer::{Pulled, pull, push};

mod lists;
pub use lists::{
    Annotation, Existing, annotate, extend_list, list_document, member_document, push_list, remove_list,
};

mod files;
pub use files::{FileRow, LookRequest, Reach, look};

mod contents;
pub use contents::{ContentError, FoundFile, find_files};

mod import;
pub use import::{ImportRequest, import};

mod download;
pub use download::{Download, download};

mod load;
pub use load::{Loaded, load};

mod save;
pub use save::{ArchiveKind, Selection, save};

mod compare;
pub use compare::{Compared, Comparison, FieldDifference, LayerRow, compare};

mod prune;
pub use prune::{Candidate, Pruned, prune};

mod remove;
pub use remove::{Layers, Removed, needs, remove};

mod in_use;

mod tag;
pub use tag::{assign, tag};

mod filter;
pub use filter::{Filter, FilterError, Filters};

mod show;
pub use show::{HistoryRow, ImageDetails, ImageRow, Sizes, history, inspect, list};

mod sizes;

mod paths;

mod named;
pub use named::{descriptor, tags_of};

pub(crate) mod find;

mod input;
pub use input::ArchiveSource;

mod error;
pub use error::CatalogError;
