//! The hardened reader of tar archives, others' and our own.
//!
//! Knows V7, ustar, star, PAX (also global), GNU's long names, base-256 numbers and all four forms of sparse files, Solaris's
//! extra headers, and what Docker ever wrote. Sparse files are read with their holes filled. Parts of multi-volume archives are
//! errors that name the member. No size in a header is trusted for an allocation: what is kept in memory has limits, contents
//! are streamed. Unaware of what members mean to a layer.

mod error;
mod header;
mod pax;
mod seek;
mod sparse;

use std::io::{self, Read};
use std::sync::Arc;

pub use crate::limits::Limits;
pub use error::ReadError;

use crate::entry::{Device, Metadata, Xattrs};
use crate::limits::{NAME_BYTES_MAX, SYMLINK_BYTES_MAX};
use crate::path::{ArchivePath, escape};
use crate::tar::write::TAR_BLOCK;
use header::RawHeader;
use pax::PaxValues;
use sparse::{Expansion, MapLines, MapProblem, Part, PaxForm, Stretch};

/// Bytes of a name that messages show.
const NAME_SHOWN_MAX: usize = 300;

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
    /// A regular file of this size, holes included.
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

/// Reads members one after the other.
#[derive(Debug)]
pub struct TarReader<R> {
    inner: R,
    limits: Limits,
    members: u64,
    bytes: u64,
    hole_bytes: u64,
    held_bytes: u64,
    content_left: u64,
    padding: u64,
    expansion: Option<Expansion>,
    current: String,
    previous: ArchivePath,
    global: PaxValues,
}

/// What stands before a member and describes it.
#[derive(Default)]
struct Prefix {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: PaxValues,
    pax_bytes: u64,
}

impl<R: Read> TarReader<R> {
    /// Starts at the beginning of an archive.
    pub fn new(inner: R, limits: Limits) -> Self {
        Self {
            inner,
            limits,
            members: 0,
            bytes: 0,
            hole_bytes: 0,
            held_bytes: 0,
            content_left: 0,
            padding: 0,
            expansion: None,
            current: String::new(),
            previous: ArchivePath::root(),
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
                    prefix.pax_bytes = prefix.pax_bytes.saturating_add(size);
                    let body = self.read_pax(size, prefix.pax_bytes)?;
                    prefix.pax.add(&body).map_err(|what| self.pax(what))?;
                }
                b'g' => {
                    let body = self.read_pax(size, size)?;
                    let added = self.global.add(&body);
                    added.map_err(|what| self.pax(what))?;
                    self.global.keep_global();
                }
                // The label of a GNU volume; Solaris's access lists and attributes, in forms of its own.
                b'V' | b'A' | b'E' => {
                    self.begin_content(size)?;
                    self.skip_content()?;
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

    /// Skips what is left of the current member, and returns where in the archive the next one begins: a reader that starts there
    /// finds it as its first.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn next_position(&mut self) -> Result<u64, ReadError> {
        self.skip_content()?;
        Ok(self.bytes)
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
        let is_file = matches!(header.typeflag(), 0 | b'0' | b'7' | b'S');
        let sparse_name = pax.text("GNU.sparse.name").filter(|_| is_file);
        let name = sparse_name.or(pax.text("path")).map(<[u8]>::to_vec);
        let name = name.or(prefix.long_name).unwrap_or_else(|| header.name());
        self.current = escape(&name[..name.len().min(NAME_SHOWN_MAX)]);
        self.members += 1;
        if self.members > self.limits.members_max {
            return Err(self.limit("members", self.limits.members_max));
        }
        let path = self.path(&name)?;
        let mut metadata = self.metadata(header, &pax)?;
        if header.typeflag() == b'2' {
            // Nobody means anything by what writers put here.
            metadata.mode = 0o777;
        }
        let link = pax.text("linkpath").map(<[u8]>::to_vec).or(prefix.long_link);
        let link = link.unwrap_or_else(|| header.link());
        self.hold(&path, &link, &metadata.xattrs)?;
        let size = pax.number("size").map_err(|what| self.pax(what))?.unwrap_or(size);
        let kind = match header.typeflag() {
            // V7 archives know directories only by the slash. Nothing is said of their content.
            0 | b'0' | b'7' if name.ends_with(b"/") => {
                self.begin_content(size)?;
                MemberKind::Directory
            }
            0 | b'0' | b'7' | b'S' => MemberKind::File(self.begin_file(header, &pax, size)?),
            // A directory of an incremental archive; the content lists what was in it.
            b'D' => {
                self.begin_content(size)?;
                MemberKind::Directory
            }
            // Directories and links of some writers carry a size without data; POSIX says so.
            _ => self.kind(header, link)?,
        };
        Ok(Member { path, metadata, kind })
    }

    fn metadata(&self, header: &RawHeader, pax: &PaxValues) -> Result<Metadata, ReadError> {
        let id = |key, field: Option<u32>| match pax.number(key).map_err(|what| self.pax(what))? {
            Some(id) => u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or_else(|| self.number(key)),
            None => field.ok_or_else(|| self.number(key)),
        };
        if pax.xattrs.values().any(|value| value.len() > self.limits.xattr_bytes_max) {
            return Err(self.limit("bytes of one attribute", self.limits.xattr_bytes_max as u64));
        }
        let mtime = pax.mtime().map_err(|what| self.pax(what))?;
        Ok(Metadata {
            mode: header.mode().ok_or_else(|| self.number("mode"))?,
            uid: id("uid", header.uid())?,
            gid: id("gid", header.gid())?,
            mtime: mtime.or_else(|| header.mtime()).ok_or_else(|| self.number("mtime"))?,
            xattrs: pax.xattrs.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        })
    }

    fn kind(&self, header: &RawHeader, link: Vec<u8>) -> Result<MemberKind, ReadError> {
        let device = || header.device().ok_or_else(|| self.number("device"));
        Ok(match header.typeflag() {
            b'1' => MemberKind::HardLink(self.path(&link)?),
            b'2' if link.contains(&0) => {
                return Err(self.unsupported("a symlink whose target has a NUL byte"));
            }
            b'2' if link.len() > SYMLINK_BYTES_MAX => {
                return Err(self.limit("bytes of a symlink's target", SYMLINK_BYTES_MAX as u64));
            }
            b'2' => MemberKind::Symlink(Arc::from(link)),
            b'3' => MemberKind::CharDevice(device()?),
            b'4' => MemberKind::BlockDevice(device()?),
            b'5' => MemberKind::Directory,
            b'6' => MemberKind::Fifo,
            b'M' | b'N' => {
                return Err(self.unsupported("a part of a GNU multi-volume or incremental archive"));
            }
            typeflag => return Err(ReadError::UnknownType { name: self.current.clone(), typeflag }),
        })
    }

    fn path(&self, name: &[u8]) -> Result<ArchivePath, ReadError> {
        if name.len() > NAME_BYTES_MAX {
            return Err(self.limit("bytes of name", NAME_BYTES_MAX as u64));
        }
        ArchivePath::clean(name).map_err(|source| ReadError::Name { source })
    }

    /// Counts what stays in memory of a member: itself, and directories on the way that the member before did not have.
    fn hold(&mut self, path: &ArchivePath, link: &[u8], xattrs: &Xattrs) -> Result<(), ReadError> {
        let (name, before) = (path.as_bytes(), self.previous.as_bytes());
        let shared = name.iter().zip(before).take_while(|(left, right)| left == right).count();
        let directories = name.iter().enumerate().skip(shared).filter(|(_, byte)| **byte == b'/');
        let implied: usize = directories.map(|(length, _)| length).sum();
        let xattrs: usize = xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.held_bytes += (name.len() + implied + link.len() + xattrs) as u64;
        self.previous = path.clone();
        if self.held_bytes > self.limits.held_bytes_max {
            return Err(self.limit("bytes of names, links and attributes", self.limits.held_bytes_max));
        }
        Ok(())
    }

    /// Begins the content of a file and returns its size, holes included.
    fn begin_file(&mut self, header: &RawHeader, pax: &PaxValues, size: u64) -> Result<u64, ReadError> {
        let what_is_wrong = |what| ReadError::Sparse { name: self.current.clone(), what };
        let (parts, real_size) = if header.typeflag() == b'S' {
            let real_size = pax.number("SCHILY.realsize").map_err(|what| self.pax(what))?;
            let real_size = real_size.or_else(|| header.sparse_size());
            let parts = self.read_header_map(header)?;
            self.begin_content(size)?;
            (parts, real_size)
        } else {
            let form = sparse::pax_form(pax).map_err(what_is_wrong)?;
            let real_size = match pax.number("GNU.sparse.realsize") {
                Ok(None) => pax.number("GNU.sparse.size"),
                known => known,
            };
            let real_size = real_size.map_err(|what| self.pax(what))?;
            self.begin_content(size)?;
            match form {
                None => return Ok(size),
                Some(PaxForm::Header(parts)) => (parts, real_size),
                Some(PaxForm::Content) => (self.read_content_map()?, real_size),
            }
        };
        let what_is_wrong = |what| ReadError::Sparse { name: self.current.clone(), what };
        let real_size = real_size.ok_or(what_is_wrong("its size is missing"))?;
        let expansion = Expansion::new(parts, self.content_left, real_size).map_err(what_is_wrong)?;
        self.hole_bytes = self.hole_bytes.saturating_add(expansion.hole_bytes);
        if self.hole_bytes > self.limits.hole_bytes_max {
            return Err(self.limit("bytes in holes of sparse files", self.limits.hole_bytes_max));
        }
        self.expansion = Some(expansion);
        Ok(real_size)
    }

    /// Reads the map of an `S` member: part of it in its header, the rest in blocks between header and content.
    fn read_header_map(&mut self, header: &RawHeader) -> Result<Vec<Part>, ReadError> {
        let damaged = |reader: &Self, what| ReadError::Sparse { name: reader.current.clone(), what };
        let (mut parts, mut has_more) = header.sparse_parts().map_err(|what| damaged(self, what))?;
        while has_more {
            let block = self.read_block()?;
            let block = block.ok_or_else(|| self.cut_short())?;
            let more;
            (more, has_more) = sparse::parts_of_block(&block).map_err(|what| damaged(self, what))?;
            parts.extend(more);
            if parts.len() > self.limits.sparse_parts_max {
                return Err(self.limit("parts of one sparse file", self.limits.sparse_parts_max as u64));
            }
        }
        Ok(parts)
    }

    /// Reads the map at the beginning of a content.
    fn read_content_map(&mut self) -> Result<Vec<Part>, ReadError> {
        let mut lines = MapLines::default();
        let damaged = |reader: &Self, what| ReadError::Sparse { name: reader.current.clone(), what };
        loop {
            if self.content_left < TAR_BLOCK as u64 {
                return Err(damaged(self, "its map is cut short"));
            }
            let block = self.read_block()?.ok_or_else(|| self.cut_short())?;
            self.content_left -= TAR_BLOCK as u64;
            match lines.take(&block, self.limits.sparse_parts_max) {
                Ok(true) => {}
                Ok(false) => return lines.parts().map_err(|what| damaged(self, what)),
                Err(MapProblem::Damaged(what)) => return Err(damaged(self, what)),
                Err(MapProblem::TooMany) => {
                    return Err(self.limit("parts of one sparse file", self.limits.sparse_parts_max as u64));
                }
            }
        }
    }

    fn read_long_name(&mut self, size: u64) -> Result<Vec<u8>, ReadError> {
        let mut name = self.read_body(size, NAME_BYTES_MAX as u64 + 1, "bytes of name")?;
        if let Some(end) = name.iter().position(|byte| *byte == 0) {
            name.truncate(end);
        }
        Ok(name)
    }

    /// Reads a PAX header, one of those that have `total` bytes together.
    fn read_pax(&mut self, size: u64, total: u64) -> Result<Vec<u8>, ReadError> {
        let (what, max) = ("bytes of PAX header", self.limits.pax_bytes_max);
        if total > max {
            return Err(self.limit(what, max));
        }
        self.read_body(size, max, what)
    }

    /// Reads a whole body that describes a member; grows as data arrives, never ahead of it.
    fn read_body(&mut self, size: u64, max: u64, what: &'static str) -> Result<Vec<u8>, ReadError> {
        if size > max {
            return Err(self.limit(what, max));
        }
        self.begin_content(size)?;
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

    fn begin_content(&mut self, size: u64) -> Result<(), ReadError> {
        if size > self.limits.archive_bytes_max {
            return Err(self.limit("bytes", self.limits.archive_bytes_max));
        }
        self.content_left = size;
        self.padding = size.next_multiple_of(TAR_BLOCK as u64) - size;
        Ok(())
    }

    fn skip_content(&mut self) -> Result<(), ReadError> {
        let mut buffer = [0; 8192];
        self.expansion = None;
        self.content_left += std::mem::take(&mut self.padding);
        while self.content_left > 0 {
            self.read_content(&mut buffer)?;
        }
        Ok(())
    }

    pub(crate) fn read_content(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let Some(expansion) = &mut self.expansion else { return self.read_stored(buffer) };
        let count = match expansion.next() {
            None => 0,
            Some(Stretch::Hole(length)) => {
                let count = at_most(length, buffer.len());
                buffer[..count].fill(0);
                count
            }
            Some(Stretch::Data(length)) => {
                let count = at_most(length, buffer.len());
                self.read_stored(&mut buffer[..count])?
            }
        };
        if let Some(expansion) = &mut self.expansion {
            expansion.advance(count as u64);
        }
        Ok(count)
    }

    /// Reads bytes of the current content as they lie in the archive.
    fn read_stored(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let want = at_most(self.content_left, buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let count = self.read_some(&mut buffer[..want])?;
        if count == 0 {
            return Err(self.cut_short());
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
                0 => return Err(self.cut_short()),
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

    fn cut_short(&self) -> ReadError {
        ReadError::CutShort { members: self.members, name: self.current.clone() }
    }

    fn number(&self, field: &'static str) -> ReadError {
        ReadError::Number { name: self.current.clone(), field }
    }

    fn pax(&self, what: &'static str) -> ReadError {
        ReadError::Pax { name: self.current.clone(), what }
    }

    fn unsupported(&self, what: &'static str) -> ReadError {
        ReadError::Unsupported { name: self.current.clone(), what }
    }

    fn limit(&self, what: &'static str, max: u64) -> ReadError {
        ReadError::Limit { name: self.current.clone(), what, max }
    }
}

fn at_most(length: u64, max: usize) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX).min(max)
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
