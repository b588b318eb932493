//! Why a step is not taken from the cache: what is remembered of earlier builds for that, and how two of them are compared.
//!
//! | Record | Key | Says |
//! |---|---|---|
//! | `fields` | definition key | the [`Portrait`] of a step: what its key is made of, in words that people know |
//! | `slot` | a place of a project; a step without its inputs | the last definition keys there, and how long the step took |
//! | `selected` | a slot and a number below [`slots::VERSIONS_MAX`] | the files that the step selected of a context |
//!
//! All of it is written beside steps that ran, and read when one misses. A build that found its result makes sure that this is the
//! newest version again, and looks at no other step. Whatever is wrong with a record, less is explained. What was found out is kept in the
//! [journal](crate::journal) of the build. Unaware of how steps are looked up and done.

mod reason;

mod fields;

mod files;

mod portrait;

pub mod slots;

pub use fields::{Difference, difference};
pub use files::FileList;
pub use portrait::{InputNote, Portrait, place};
pub use reason::{Change, Reason};
pub use slots::{Newest, Slots, Version};
