//! Archives of documents and blobs: every header has the same owner, mode and time.

use std::io::{self, Read, Write};

use kiln_layer::tar::write::{self, Member};
use kiln_layer::{ArchivePath, Content, Entry, Metadata, Origin, Timestamp};
use kiln_oci::Digest;

use super::ExportError;
use super::transfer::{Failed, transfer};
use crate::request::DEFAULT_EPOCH;

/// Writes one archive.
pub(super) struct Archive<'a> {
    out: &'a mut (dyn Write + Send),
    failed: &'a dyn Fn(io::Error) -> ExportError,
}

impl<'a> Archive<'a> {
    /// Begins an archive; `failed` names the destination.
    pub(super) fn new(out: &'a mut (dyn Write + Send), failed: &'a dyn Fn(io::Error) -> ExportError) -> Self {
        Self { out, failed }
    }

    /// Writes a directory.
    pub(super) fn directory(&mut self, name: &str) -> Result<(), ExportError> {
        self.header(name, &Entry::directory(Metadata::with_mode(0o755)))
    }

    /// Writes a small file.
    pub(super) fn document(&mut self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        self.header(name, &file_of(bytes.len() as u64))?;
        self.raw(bytes)?;
        self.padding(bytes.len() as u64)
    }

    /// Writes a blob, whose reader checks it.
    pub(super) fn blob(
        &mut self,
        name: &str,
        digest: Digest,
        size: u64,
        mut reader: impl Read + Send,
    ) -> Result<(), ExportError> {
        let damaged = |source| ExportError::ReadBlob { digest, source };
        self.header(name, &file_of(size))?;
        let written = transfer(&mut reader, self.out).map_err(|error| match error {
            Failed::Read(source) => damaged(source),
            Failed::Write(source) => (self.failed)(source),
        })?;
        if written != size {
            return Err(damaged(io::Error::other(format!("it has {written} bytes instead of {size}"))));
        }
        self.padding(size)
    }

    /// Writes the end.
    pub(super) fn end(mut self) -> Result<(), ExportError> {
        let mut end = Vec::new();
        write::append_end(&mut end);
        self.raw(&end)
    }

    fn header(&mut self, name: &str, entry: &Entry) -> Result<(), ExportError> {
        let path = ArchivePath::parse(name.as_bytes()).expect("names in archives are plain");
        let mut header = Vec::new();
        write::append_header(
            &mut header,
            &path,
            Member::Entry(entry),
            Timestamp::from_seconds(DEFAULT_EPOCH),
        )?;
        self.raw(&header)
    }

    fn padding(&mut self, size: u64) -> Result<(), ExportError> {
        let mut padding = Vec::new();
        write::append_padding(&mut padding, size);
        self.raw(&padding)
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.out.write_all(bytes).map_err(self.failed)
    }
}

/// Returns a file of a size, for its header alone.
fn file_of(size: u64) -> Entry {
    let origin = Origin::Inline(Vec::new().into());
    let content = Content { origin, path: ArchivePath::root(), size, digest: None, identity: None };
    Entry::file(Metadata::with_mode(0o644), content)
}
