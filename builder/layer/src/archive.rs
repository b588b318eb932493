//! ADD's archives: an archive file → a [`Tree`] whose contents lie in a scratch directory.
//!
//! What is an archive is decided by its bytes, never by its name: gzip, bzip2, xz, zstd (also behind skippable frames) or plain
//! tar, with at least one member. Contents are written to numbered files, so no name from the archive is ever used on disk.
//! Members follow tar's rules: later ones win, parents that are symlinks of the archive are followed inside it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use crate::compress::{decompress, detect};
use crate::content::{Content, DirectoryOrigin, Origin};
use crate::content_digest::ContentHasher;
use crate::entry::{Entry, Kind};
use crate::holes::HoleWriter;
use crate::path::{ArchivePath, PathError};
use crate::tar::read::{Limits, Member, MemberKind, ReadError, TarReader};
use crate::tar::write::{TAR_BLOCK, WHITEOUT_PREFIX};
use crate::tree::{ResolveError, Tree, TreeError};

const BUFFER_BYTES: usize = 128 * 1024;

/// Why an archive cannot be extracted.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file cannot be read, or its compression cannot be started.
    #[error("cannot open the archive")]
    Open {
        /// What was said.
        #[source]
        source: io::Error,
    },
    /// The archive is damaged or hostile.
    #[error(transparent)]
    Archive(#[from] ReadError),
    /// A member lies below something that is no directory.
    #[error("member cannot be placed")]
    Place(#[from] ResolveError),
    /// A hard link without a target.
    #[error("member cannot be linked")]
    Link(#[from] TreeError),
    /// A name that would read back from a layer as a deletion.
    #[error("member `{path}` cannot be stored in a layer: names beginning with `.wh.` mark deletions")]
    ReservedName {
        /// The member.
        path: ArchivePath,
    },
    /// A name that is no path.
    #[error("member cannot be placed")]
    Name(#[from] PathError),
    /// A content cannot be read.
    #[error("cannot read the content of member `{path}`")]
    ReadContent {
        /// The member.
        path: ArchivePath,
        /// What the stream said.
        #[source]
        source: io::Error,
    },
    /// A content cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file in the scratch directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Tells whether the bytes are an archive: a compression that is known, or none, and in it a tar header.
///
/// # Errors
/// When the first bytes cannot be read. What turns out not to decode is no archive.
pub fn is_archive(reader: impl Read + Send) -> io::Result<bool> {
    let mut reader = BufReader::new(reader);
    let how = detect(reader.fill_buf()?);
    // Whatever a decoder objects to here only says that this is something else.
    let Ok(mut plain) = decompress(reader, how) else { return Ok(false) };
    let mut block = Vec::new();
    let Ok(_) = plain.by_ref().take(TAR_BLOCK as u64).read_to_end(&mut block) else { return Ok(false) };
    if block.len() < TAR_BLOCK || block.iter().all(|byte| *byte == 0) {
        return Ok(false);
    }
    // The header alone must make sense; what is wrong further on is an error of extraction.
    let mut header = TarReader::new(block.chain(plain), Limits::default());
    Ok(!matches!(header.next_member(), Ok(None) | Err(ReadError::NoHeader { members: 0 })))
}

/// Extracts an archive. Directories that no member describes are missing in the tree; a member for the root itself is ignored.
///
/// # Errors
/// When the archive is damaged, hostile or over a limit, or the scratch directory refuses.
pub fn extract_archive(
    reader: impl Read + Send,
    scratch: &Arc<DirectoryOrigin>,
    limits: Limits,
) -> Result<Tree, ArchiveError> {
    let open = |source| ArchiveError::Open { source };
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, reader);
    let how = detect(reader.fill_buf().map_err(open)?);
    let plain = decompress(reader, how).map_err(open)?;
    let mut tar = TarReader::new(plain, limits);
    let mut extraction = Extraction { scratch, tree: Tree::new(), files: 0, buffer: vec![0; BUFFER_BYTES] };
    while let Some(member) = tar.next_member()? {
        extraction.member(member, &mut tar)?;
    }
    tar.drain()?;
    Ok(extraction.tree)
}

struct Extraction<'a> {
    scratch: &'a Arc<DirectoryOrigin>,
    tree: Tree,
    files: u64,
    buffer: Vec<u8>,
}

impl Extraction<'_> {
    fn member<R: Read>(&mut self, member: Member, tar: &mut TarReader<R>) -> Result<(), ArchiveError> {
        let Some(name) = member.path.file_name() else { return Ok(()) };
        let path = self.parent_of(&member.path)?.join(name)?;
        if path.components().any(|name| name.starts_with(WHITEOUT_PREFIX)) {
            return Err(ArchiveError::ReservedName { path: member.path });
        }
        let kind = match member.kind {
            MemberKind::HardLink(target) => {
                let Some(name) = target.file_name() else {
                    return Err(TreeError::LinkToDirectory { path, target }.into());
                };
                let target = self.parent_of(&target)?.join(name)?;
                if target != path && target.is_within(&path) {
                    // The link takes the place of the directory that its target is in.
                    return Err(TreeError::NoLinkTarget { path, target }.into());
                }
                let inode = self.tree.link(path, &target)?;
                self.tree.dress(inode, member.metadata);
                return Ok(());
            }
            MemberKind::File(size) => Kind::File(self.content(&path, size, tar)?),
            MemberKind::Symlink(target) => Kind::Symlink(target),
            MemberKind::Directory => Kind::Directory,
            MemberKind::CharDevice(device) => Kind::CharDevice(device),
            MemberKind::BlockDevice(device) => Kind::BlockDevice(device),
            MemberKind::Fifo => Kind::Fifo,
        };
        self.tree.insert(path, Entry { metadata: member.metadata, kind });
        Ok(())
    }

    /// Follows symlinks of the archive, within it.
    fn parent_of(&self, path: &ArchivePath) -> Result<ArchivePath, ArchiveError> {
        let parent = path.parent().unwrap_or_else(ArchivePath::root);
        let place = self.tree.resolve(&parent)?.path;
        match self.tree.get(&place) {
            Some(entry) if !entry.is_directory() => {
                let noun = entry.kind.noun();
                Err(ResolveError::NotADirectory { path: path.clone(), obstacle: place, noun }.into())
            }
            _ => Ok(place),
        }
    }

    fn content<R: Read>(
        &mut self,
        member: &ArchivePath,
        size: u64,
        tar: &mut TarReader<R>,
    ) -> Result<Content, ArchiveError> {
        let path = ArchivePath::parse(self.files.to_string().as_bytes())?;
        self.files += 1;
        let write = |source| ArchiveError::Write { path: self.scratch.display(&path), source };
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&**self.scratch, path.as_path(), flags, Mode::from_raw_mode(0o600));
        let file = file.map(File::from).map_err(|error| write(error.into()))?;
        let mut writer = HoleWriter::new(&file);
        let mut hasher = ContentHasher::new();
        let mut content = tar.content();
        loop {
            let count = match content.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(ArchiveError::ReadContent { path: member.clone(), source }),
            };
            hasher.update(&self.buffer[..count]);
            writer.write(&self.buffer[..count]).map_err(write)?;
        }
        writer.finish().map_err(write)?;
        let origin = Origin::Directory(Arc::clone(self.scratch));
        Ok(Content { origin, path, size, digest: Some(hasher.finish()), identity: None })
    }
}
