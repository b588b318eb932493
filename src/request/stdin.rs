//! A context on standard input: an archive, perhaps compressed, or a Dockerfile.

use std::io::{self, Read};

/// What came on standard input.
pub(crate) enum Input<R> {
    /// An archive: everything, from its first byte.
    Archive(io::Chain<io::Cursor<Vec<u8>>, R>),
    /// The text of a Dockerfile.
    Dockerfile(Vec<u8>),
}

/// Why standard input cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// It could not be read.
    #[error("cannot read standard input")]
    Read(#[source] io::Error),
    /// Nothing came.
    #[error("standard input is empty: neither an archive nor a Dockerfile")]
    Empty,
    /// It is no archive, and too large for a Dockerfile.
    #[error("standard input is no archive, and larger than a Dockerfile of {DOCKERFILE_SIZE_MAX} bytes")]
    TooLarge,
}

/// Largest Dockerfile that is read from standard input.
const DOCKERFILE_SIZE_MAX: u64 = 16 << 20;

/// Bytes that tell an archive: one tar header.
const HEADER_SIZE: usize = 512;

/// Looks at the first bytes of `input` and tells what it is. Reads a Dockerfile whole, an archive not at all.
///
/// # Errors
/// [`InputError`].
pub(crate) fn look<R: Read>(mut input: R) -> Result<Input<R>, InputError> {
    let mut head = Vec::with_capacity(HEADER_SIZE);
    input.by_ref().take(HEADER_SIZE as u64).read_to_end(&mut head).map_err(InputError::Read)?;
    if head.is_empty() {
        return Err(InputError::Empty);
    }
    if is_archive(&head) {
        return Ok(Input::Archive(io::Cursor::new(head).chain(input)));
    }
    text(head, input).map(Input::Dockerfile)
}

/// Reads a Dockerfile from `input`.
///
/// # Errors
/// [`InputError`].
pub(crate) fn dockerfile(input: impl Read) -> Result<Vec<u8>, InputError> {
    text(Vec::new(), input)
}

fn text(mut head: Vec<u8>, input: impl Read) -> Result<Vec<u8>, InputError> {
    input.take(DOCKERFILE_SIZE_MAX + 1).read_to_end(&mut head).map_err(InputError::Read)?;
    match head.len() as u64 {
        0 => Err(InputError::Empty),
        size if size > DOCKERFILE_SIZE_MAX => Err(InputError::TooLarge),
        _ => Ok(head),
    }
}

/// First bytes of gzip, bzip2, xz and zstd.
const MAGICS: [&[u8]; 4] = [b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];

fn is_archive(head: &[u8]) -> bool {
    MAGICS.iter().any(|magic| head.starts_with(magic)) || is_tar_header(head)
}

/// Whether the checksum of a tar header is right; an archive of nothing begins with a block of zeros.
fn is_tar_header(head: &[u8]) -> bool {
    const CHECKSUM: std::ops::Range<usize> = 148..156;
    if head.len() < HEADER_SIZE {
        return false;
    }
    if head.iter().all(|byte| *byte == 0) {
        return true;
    }
    let digits = head[CHECKSUM].iter().filter(|byte| byte.is_ascii_digit());
    let said = digits.fold(0u64, |sum, digit| sum * 8 + u64::from(digit - b'0'));
    let blank = CHECKSUM.len() as u64 * u64::from(b' ');
    let others = head.iter().enumerate().filter(|(at, _)| !CHECKSUM.contains(at));
    said == others.map(|(_, byte)| u64::from(*byte)).sum::<u64>() + blank
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &[u8]) -> Vec<u8> {
        let mut block = vec![0u8; HEADER_SIZE];
        block[..name.len()].copy_from_slice(name);
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    #[test]
    fn archives_and_dockerfiles_are_told_apart_by_their_first_bytes() {
        let long = b"FROM scratch\n".repeat(100);
        for (input, is_archive) in [
            (header(b"file"), true),
            (vec![0; 1024], true),
            (b"\x1f\x8b\x08more".to_vec(), true),
            (b"BZh9".to_vec(), true),
            (b"\xfd7zXZ\0".to_vec(), true),
            (b"\x28\xb5\x2f\xfd".to_vec(), true),
            (b"FROM scratch".to_vec(), false),
            (long, false),
        ] {
            let whole = match look(input.as_slice()).unwrap() {
                Input::Archive(mut reader) => {
                    assert!(is_archive);
                    let mut whole = Vec::new();
                    reader.read_to_end(&mut whole).unwrap();
                    whole
                }
                Input::Dockerfile(text) => {
                    assert!(!is_archive);
                    text
                }
            };
            assert_eq!(whole, input);
        }
    }

    #[test]
    fn empty_and_endless_inputs_are_errors() {
        assert!(matches!(look(io::empty()), Err(InputError::Empty)));
        assert!(matches!(dockerfile(io::empty()), Err(InputError::Empty)));
        assert!(matches!(look(io::repeat(b'#')), Err(InputError::TooLarge)));
    }
}
