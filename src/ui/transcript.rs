//! The whole output of a step that is still running, in case it fails. What is large lies in a file without a name.

use std::fmt;
use std::io::{self, BufWriter, Read, Seek, Write};

use tempfile::SpooledTempFile;

use super::lines::{Lines, clean};
use super::style::Style;

/// Output that is kept in memory, in bytes; more goes to a file.
const MEMORY_MAX: usize = 256 * 1024;

/// Everything that one step printed.
pub(crate) struct Transcript {
    file: SpooledTempFile,
    /// Why the rest could not be kept.
    failed: Option<io::Error>,
}

impl Default for Transcript {
    fn default() -> Self {
        Self { file: SpooledTempFile::new(MEMORY_MAX), failed: None }
    }
}

impl Transcript {
    /// Adds bytes. When they cannot be kept, the end of the transcript says so.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.failed = self.file.write_all(bytes).err();
        }
    }

    /// Hands out everything, in order.
    ///
    /// # Errors
    /// When it cannot be read again.
    pub(crate) fn replay(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        self.file.rewind()?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.file.read(&mut buffer)? {
                0 => break,
                size => take(&buffer[..size]),
            }
        }
        if let Some(error) = &self.failed {
            take(format!("\n(the rest of the output could not be kept: {error})\n").as_bytes());
        }
        Ok(())
    }
}

impl fmt::Debug for Transcript {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Transcript").finish_non_exhaustive()
    }
}

/// Writes all that a failed step printed.
pub(crate) fn replay(out: &mut impl Write, mut transcript: Transcript, name: &str, style: Style) {
    let mut lines = Lines::default();
    let mut out = BufWriter::new(out);
    let mut write = |line: &[u8]| {
        // Nowhere is left to say that the terminal is gone.
        writeln!(out, "{}", clean(line, style.is_coloured())).ok();
    };
    write(format!("output of {name}:").as_bytes());
    let outcome = transcript.replay(|bytes| lines.push(bytes, &mut write));
    lines.finish(&mut write);
    if let Err(error) = outcome {
        write(format!("(the output could not be read again: {error})").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_output_comes_back_whole() {
        let mut transcript = Transcript::default();
        let part = vec![b'x'; 100_000];
        for _ in 0..10 {
            transcript.push(&part);
        }
        let mut size = 0;
        transcript.replay(|bytes| size += bytes.len()).unwrap();
        assert_eq!(size, 1_000_000);
    }
}
