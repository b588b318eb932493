//! Archives in files: contents are passed over without reading them.

use std::io::{Read, Seek, SeekFrom};

use super::{ReadError, TarReader};
use crate::tar::write::TAR_BLOCK;

impl<R: Read + Seek> TarReader<R> {
    /// Skips what is left of the current member without reading it. That it is there is seen all the same.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn seek_past_content(&mut self) -> Result<(), ReadError> {
        let left = self.content_left + self.padding;
        // The last bytes are read, which shows an end that comes too early.
        let sought = left.saturating_sub(TAR_BLOCK as u64);
        if self.bytes.saturating_add(sought) > self.limits.archive_bytes_max {
            return Err(self.limit("bytes", self.limits.archive_bytes_max));
        }
        let offset = i64::try_from(sought).unwrap_or(i64::MAX);
        let moved = self.inner.seek(SeekFrom::Current(offset));
        moved.map_err(|source| ReadError::Read { members: self.members, source })?;
        self.bytes += sought;
        self.content_left = left - sought;
        self.padding = 0;
        self.skip_content()
    }
}
