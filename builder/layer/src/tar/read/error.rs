//! Why an archive cannot be read.

use std::io;

use crate::path::PathError;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The stream below failed, a decoder for instance.
    #[error("cannot read the archive after {members} members")]
    Read {
        /// How many members were read before.
        members: u64,
        /// What the stream said.
        #[source]
        source: io::Error,
    },
    /// The archive ends inside a member.
    #[error("archive is cut short after {members} members, in `{name}`")]
    CutShort {
        /// How many members were read before.
        members: u64,
        /// The name of the member, if that was known.
        name: String,
    },
    /// A block that is not a header.
    #[error("archive is damaged: what follows {members} members is no tar header")]
    NoHeader {
        /// How many members were read before.
        members: u64,
    },
    /// A number that makes no sense.
    #[error("header of `{name}` is damaged: {field} is no number that fits")]
    Number {
        /// The member.
        name: String,
        /// Which field.
        field: &'static str,
    },
    /// A PAX header that does not follow its format.
    #[error("PAX header before `{name}` is damaged: {what}")]
    Pax {
        /// The member it belongs to, as far as known.
        name: String,
        /// What does not hold.
        what: &'static str,
    },
    /// A sparse file whose map does not fit it.
    #[error("sparse member `{name}` is damaged: {what}")]
    Sparse {
        /// The member.
        name: String,
        /// What does not hold.
        what: &'static str,
    },
    /// A kind of member that is not supported.
    #[error("member `{name}` is not supported: {what}")]
    Unsupported {
        /// The member.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// A type nobody defined.
    #[error("member `{name}` has the unknown type {typeflag:#04x}")]
    UnknownType {
        /// The member.
        name: String,
        /// Its type.
        typeflag: u8,
    },
    /// A name that leaves the root, or is no name.
    #[error("member cannot be placed")]
    Name {
        /// What is wrong.
        #[source]
        source: PathError,
    },
    /// A limit of [`Limits`](crate::limits::Limits).
    #[error("archive is refused at `{name}`: more than {max} {what}")]
    Limit {
        /// The member.
        name: String,
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        max: u64,
    },
}
