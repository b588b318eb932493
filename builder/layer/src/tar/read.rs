//! The hardened reader of tar archives, others' and our own.
//!
//! Knows ustar, PAX (also global), GNU long names and base-256 numbers, old V7 headers, and what Docker ever wrote. Sparse and
//! multi-volume members are errors that name the member. No size in a header is trusted for an allocation: names, PAX headers
//! and attributes have limits, contents are streamed. Unaware of what members mean to a layer.

mod header;
mod pax;

use std::io::{self, Read};
use std::sync::Arc;

use crate::entry::{Device, Metadata, Xattrs};
use crate::path::{ArchivePath, PATH_BYTES_MAX, PathError, escape};
use crate::tar::write::TAR_BLOCK;
use header::RawHeader;
use pax::PaxValues;

/// What an archive may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Members in one archive.
    pub members_max: u64,
    /// Bytes of one PAX header, attributes included.
    pub pax_bytes_max: u64,
    /// Bytes of one attribute's value.
    pub xattr_bytes_max: usize,
    /// Bytes of the whole archive after decompression.
    pub archive_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            members_max: 10_000_000,
            pax_bytes_max: 1 << 20,
            xattr_bytes_max: 64 * 1024,
            archive_bytes_max: 1 << 40,
        }
    }
}

/// One member of an archive. A file's content is read through [`TarReader::content`].
#[derive(Debug, Clone)]
pub struct Member {
    /// Its cleaned name.
    pub path: ArchivePath,
    /// Mode, owner, time and attributes.
    pub metadata: Metadata,
    /// What it is.
    pub kind: MemberKind,
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberKind {
    /// A regular file of this size.
    File(u64),
    /// Another name of a member before, or of a file below.
    HardLink(ArchivePath),
    /// A symbolic link with its raw target.
    Symlink(Arc<[u8]>),
    /// A directory.
    Directory,
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
}

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
    /// A limit of [`Limits`].
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

/// Reads members one after the other.
#[derive(Debug)]
pub struct TarReader<R> {
    inner: R,
    limits: Limits,
    members: u64,
    bytes: u64,
    content_left: u64,
    padding: u64,
    current: String,
    global: PaxValues,
}

/// What stands before a member and describes it.
#[derive(Default)]
struct Prefix {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: PaxValues,
}

impl<R: Read> TarReader<R> {
    /// Starts at the beginning of an archive.
    pub fn new(inner: R, limits: Limits) -> Self {
        Self {
            inner,
            limits,
            members: 0,
            bytes: 0,
            content_left: 0,
            padding: 0,
            current: String::new(),
            global: PaxValues::default(),
        }
    }

    /// Skips what is left of the member before and returns the next; none at the end.
    ///
    /// # Errors
    /// See [`ReadError`]; the archive cannot be read further.
    pub fn next_member(&mut self) -> Result<Option<Member>, ReadError> {
        self.skip_content()?;
        let mut prefix = Prefix::default();
        while let Some(header) = self.next_header()? {
            self.current = escape(&header.name());
            let size = header.size().ok_or_else(|| self.number("size"))?;
            match header.typeflag() {
                b'L' => prefix.long_name = Some(self.read_long_name(size)?),
                b'K' => prefix.long_link = Some(self.read_long_name(size)?),
                b'x' | b'X' => {
                    let body = self.read_body(size, self.limits.pax_bytes_max, "bytes of PAX header")?;
                    prefix
                        .pax
                        .add(&body)
                        .map_err(|what| ReadError::Pax { name: self.current.clone(), what })?;
                }
                b'g' => {
                    let body = self.read_body(size, self.limits.pax_bytes_max, "bytes of PAX header")?;
                    self.global
                        .add(&body)
                        .map_err(|what| ReadError::Pax { name: self.current.clone(), what })?;
                    self.global.keep_global();
                }
                _ => return self.member(&header, prefix, size).map(Some),
            }
        }
        Ok(None)
    }

    /// Reads the content of the current member; ends where it ends.
    pub fn content(&mut self) -> MemberContent<'_, R> {
        MemberContent { reader: self }
    }

    /// Reads whatever follows the end of the archive, so that a digest of the stream covers all of it.
    ///
    /// # Errors
    /// When the stream fails or has more than the limit.
    pub fn drain(&mut self) -> Result<(), ReadError> {
        self.skip_content()?;
        let mut buffer = [0; 8192];
        while self.read_some(&mut buffer)? > 0 {}
        Ok(())
    }

    /// Returns the stream below.
    pub fn into_inner(self) -> R {
        self.inner
    }

    fn next_header(&mut self) -> Result<Option<RawHeader>, ReadError> {
        let Some(block) = self.read_block()? else { return Ok(None) };
        if block != [0; TAR_BLOCK] {
            let header = RawHeader::new(block).ok_or(ReadError::NoHeader { members: self.members })?;
            return Ok(Some(header));
        }
        match self.read_block()? {
            Some(block) if block != [0; TAR_BLOCK] => Err(ReadError::NoHeader { members: self.members }),
            _ => Ok(None),
        }
    }

    fn member(&mut self, header: &RawHeader, prefix: Prefix, size: u64) -> Result<Member, ReadError> {
        let pax = self.global.overlaid_by(prefix.pax);
        let name = pax.path.clone().or(prefix.long_name).unwrap_or_else(|| header.name());
        self.current = escape(&name[..name.len().min(300)]);
        self.members += 1;
        if self.members > self.limits.members_max {
            return Err(self.limit("members", self.limits.members_max));
        }
        if pax.sparse {
            return Err(self.unsupported("a sparse file in GNU's PAX form"));
        }
        let path = ArchivePath::clean(&name).map_err(|source| ReadError::Name { source })?;
        let mut metadata = self.metadata(header, &pax)?;
        if header.typeflag() == b'2' {
            // Nobody means anything by what writers put here.
            metadata.mode = 0o777;
        }
        let link = pax.linkpath.clone().or(prefix.long_link).unwrap_or_else(|| header.link());
        let size = pax.size.unwrap_or(size);
        let kind = self.kind(header, &name, link, size)?;
        if let MemberKind::File(size) = kind {
            self.content_left = size;
            self.padding = size.next_multiple_of(TAR_BLOCK as u64) - size;
        } else if size > 0 && header.typeflag() != b'1' {
            // Directories and links of some old writers carry a size without data; POSIX says so.
            self.content_left = 0;
        }
        Ok(Member { path, metadata, kind })
    }

    fn metadata(&self, header: &RawHeader, pax: &PaxValues) -> Result<Metadata, ReadError> {
        let id = |value: Option<u64>, field| {
            value.and_then(|value| u32::try_from(value).ok()).ok_or_else(|| self.number(field))
        };
        for (_, value) in &pax.xattrs {
            if value.len() > self.limits.xattr_bytes_max {
                return Err(self.limit("bytes of one attribute", self.limits.xattr_bytes_max as u64));
            }
        }
        Ok(Metadata {
            mode: header.mode().ok_or_else(|| self.number("mode"))?,
            uid: id(pax.uid.or_else(|| header.uid()), "uid")?,
            gid: id(pax.gid.or_else(|| header.gid()), "gid")?,
            mtime: pax.mtime.or_else(|| header.mtime()).ok_or_else(|| self.number("mtime"))?,
            xattrs: pax.xattrs.iter().cloned().collect::<Xattrs>(),
        })
    }

    fn kind(
        &self,
        header: &RawHeader,
        name: &[u8],
        link: Vec<u8>,
        size: u64,
    ) -> Result<MemberKind, ReadError> {
        let device = || header.device().ok_or_else(|| self.number("device"));
        Ok(match header.typeflag() {
            // V7 archives know directories only by the slash.
            0 | b'0' if name.ends_with(b"/") => MemberKind::Directory,
            0 | b'0' | b'7' => {
                if size > self.limits.archive_bytes_max {
                    return Err(self.limit("bytes", self.limits.archive_bytes_max));
                }
                MemberKind::File(size)
            }
            b'1' => {
                MemberKind::HardLink(ArchivePath::clean(&link).map_err(|source| ReadError::Name { source })?)
            }
            b'2' if link.contains(&0) => {
                return Err(self.unsupported("a symlink whose target has a NUL byte"));
            }
            b'2' => MemberKind::Symlink(Arc::from(link)),
            b'3' => MemberKind::CharDevice(device()?),
            b'4' => MemberKind::BlockDevice(device()?),
            b'5' => MemberKind::Directory,
            b'6' => MemberKind::Fifo,
            b'S' => return Err(self.unsupported("a sparse file in GNU's form")),
            b'M' | b'V' | b'D' | b'N' => {
                return Err(self.unsupported("a part of a GNU multi-volume or incremental archive"));
            }
            typeflag => return Err(ReadError::UnknownType { name: self.current.clone(), typeflag }),
        })
    }

    fn read_long_name(&mut self, size: u64) -> Result<Vec<u8>, ReadError> {
        let mut name = self.read_body(size, PATH_BYTES_MAX as u64 + 1, "bytes of name")?;
        if let Some(end) = name.iter().position(|byte| *byte == 0) {
            name.truncate(end);
        }
        Ok(name)
    }

    /// Reads a whole body that describes a member; grows as data arrives, never ahead of it.
    fn read_body(&mut self, size: u64, max: u64, what: &'static str) -> Result<Vec<u8>, ReadError> {
        if size > max {
            return Err(self.limit(what, max));
        }
        self.content_left = size;
        self.padding = size.next_multiple_of(TAR_BLOCK as u64) - size;
        let mut body = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match self.read_content(&mut buffer)? {
                0 => break,
                count => body.extend_from_slice(&buffer[..count]),
            }
        }
        self.skip_content()?;
        Ok(body)
    }

    fn skip_content(&mut self) -> Result<(), ReadError> {
        let mut buffer = [0; 8192];
        self.content_left += std::mem::take(&mut self.padding);
        while self.content_left > 0 {
            self.read_content(&mut buffer)?;
        }
        Ok(())
    }

    pub(crate) fn read_content(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let want = usize::try_from(self.content_left).unwrap_or(usize::MAX).min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let count = self.read_some(&mut buffer[..want])?;
        if count == 0 {
            return Err(ReadError::CutShort { members: self.members, name: self.current.clone() });
        }
        self.content_left -= count as u64;
        Ok(count)
    }

    fn read_block(&mut self) -> Result<Option<[u8; TAR_BLOCK]>, ReadError> {
        let mut block = [0; TAR_BLOCK];
        let mut filled = 0;
        while filled < TAR_BLOCK {
            match self.read_some(&mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(ReadError::CutShort { members: self.members, name: self.current.clone() }),
                count => filled += count,
            }
        }
        Ok(Some(block))
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        loop {
            match self.inner.read(buffer) {
                Ok(count) => {
                    self.bytes += count as u64;
                    if self.bytes > self.limits.archive_bytes_max {
                        return Err(self.limit("bytes", self.limits.archive_bytes_max));
                    }
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ReadError::Read { members: self.members, source }),
            }
        }
    }

    fn number(&self, field: &'static str) -> ReadError {
        ReadError::Number { name: self.current.clone(), field }
    }

    fn unsupported(&self, what: &'static str) -> ReadError {
        ReadError::Unsupported { name: self.current.clone(), what }
    }

    fn limit(&self, what: &'static str, max: u64) -> ReadError {
        ReadError::Limit { name: self.current.clone(), what, max }
    }
}

/// The content of the current member of a [`TarReader`].
#[derive(Debug)]
pub struct MemberContent<'a, R> {
    reader: &'a mut TarReader<R>,
}

impl<R: Read> Read for MemberContent<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read_content(buffer).map_err(|error| match error {
            ReadError::Read { source, .. } => source,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        })
    }
}
