//! Writing files so that runs of zeros take no space: they are left out, and read back as zeros.
//!
//! It makes no difference to anyone who reads the file. A sparse file of an archive stays sparse on the disk, and an archive of
//! zeros that were well compressed does not fill it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;

/// Zeros are left out in units of what file systems allocate.
const UNIT_BYTES: usize = 4096;
const BUFFER_BYTES: usize = 128 * 1024;

/// Writes a new file from its beginning.
#[derive(Debug)]
pub(crate) struct HoleWriter<'f> {
    file: &'f File,
    /// How many bytes were given.
    length: u64,
    /// Where the file is written next; zeros between here and `length` were left out.
    position: u64,
}

impl<'f> HoleWriter<'f> {
    /// Begins an empty file.
    pub(crate) fn new(file: &'f File) -> Self {
        Self { file, length: 0, position: 0 }
    }

    /// Adds bytes.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let to_boundary = UNIT_BYTES - (self.length % UNIT_BYTES as u64) as usize;
            let zeros = whole_units(bytes, to_boundary, is_zero);
            if zeros > 0 {
                self.length += zeros as u64;
                bytes = &bytes[zeros..];
                continue;
            }
            let data =
                whole_units(bytes, to_boundary, |unit| !is_zero(unit)).max(to_boundary.min(bytes.len()));
            if self.position != self.length {
                self.file.seek(SeekFrom::Start(self.length))?;
            }
            self.file.write_all(&bytes[..data])?;
            self.length += data as u64;
            self.position = self.length;
            bytes = &bytes[data..];
        }
        Ok(())
    }

    /// Gives the file its length.
    pub(crate) fn finish(self) -> io::Result<u64> {
        if self.position != self.length {
            self.file.set_len(self.length)?;
        }
        Ok(self.length)
    }
}

/// How many bytes there are in units that begin `bytes` and fit; the first ends at a boundary, the last with the bytes.
fn whole_units(bytes: &[u8], first: usize, fits: impl Fn(&[u8]) -> bool) -> usize {
    let (head, rest) = bytes.split_at(first.min(bytes.len()));
    if !fits(head) {
        return 0;
    }
    head.len() + rest.chunks(UNIT_BYTES).take_while(|unit| fits(unit)).map(<[u8]>::len).sum::<usize>()
}

fn is_zero(bytes: &[u8]) -> bool {
    // Nearly always the first bytes tell.
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| *word == [0; 16]) && rest.iter().all(|byte| *byte == 0)
}

/// Copies a file into a new one; returns how many bytes that has: no more than the file had at first, should it grow meanwhile. Holes
/// stay holes. Where the file system can, both share their blocks until one is written to.
pub(crate) fn copy_file(source: &File, mut target: &File) -> io::Result<u64> {
    let metadata = source.metadata()?;
    // Refused by file systems that cannot, and between two of them; that costs next to nothing.
    if metadata.size() > 0 && rustix::fs::ioctl_ficlone(target, source).is_ok() {
        return Ok(target.metadata()?.size());
    }
    let mut bytes = source.take(metadata.size());
    if metadata.blocks() * 512 >= metadata.size() {
        // From file to file, so that the kernel can share or copy the bytes itself.
        return io::copy(&mut bytes, &mut target);
    }
    let mut writer = HoleWriter::new(target);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match bytes.read(&mut buffer) {
            Ok(0) => return writer.finish(),
            Ok(count) => writer.write(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_left_out_and_everything_reads_back() {
        let space = tempfile::tempdir().unwrap();
        let mut bytes = vec![0; 1 << 20];
        bytes[5000] = 1;
        bytes[400_000..500_000].fill(2);
        for (number, tail) in [0, 1, 4095, 4097].into_iter().enumerate() {
            let bytes = &bytes[..bytes.len() - tail];
            for piece in [bytes.len(), 70_001, 4096, 513] {
                let path = space.path().join(format!("{number}-{piece}"));
                let file = File::create(&path).unwrap();
                let mut writer = HoleWriter::new(&file);
                bytes.chunks(piece).for_each(|chunk| writer.write(chunk).unwrap());
                assert_eq!(writer.finish().unwrap(), bytes.len() as u64);
                assert!(std::fs::read(&path).unwrap() == bytes, "{piece}");
                let blocks = file.metadata().unwrap().blocks();
                assert!(blocks * 512 <= 200_000, "{piece}: {blocks} blocks");
                let copy = space.path().join(format!("{number}-{piece}-copy"));
                let (source, target) = (File::open(&path).unwrap(), File::create(&copy).unwrap());
                assert_eq!(copy_file(&source, &target).unwrap(), bytes.len() as u64);
                assert!(std::fs::read(&copy).unwrap() == bytes, "{piece}");
                assert!(target.metadata().unwrap().blocks() * 512 <= 200_000, "{piece}");
            }
        }
    }
}
