//! The first byte at which two contents differ, and what stands around it.

use std::io;

use super::hint::hint;

/// Reads some bytes from a place in a content, none behind its end.
pub type ReadAt<'a> = dyn Fn(&mut [u8], u64) -> io::Result<usize> + 'a;

/// How much is read at once.
const BLOCK_BYTES: usize = 1 << 16;
/// How much text is shown before and behind.
const AROUND_BYTES: u64 = 20;

/// Where two contents differ first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstByte {
    /// The offset, counted from zero.
    pub offset: u64,
    /// The sizes of the contents.
    pub sizes: [u64; 2],
    /// The bytes there; `None` behind the end of a content.
    pub bytes: [Option<u8>; 2],
    /// What stands around it, where both are text.
    pub text: Option<[String; 2]>,
    /// What is kept at this place of a well-known format.
    pub hint: Option<&'static str>,
}

/// Finds the first byte at which two contents of these sizes differ. `name` is that of the file, which may say the format.
///
/// # Errors
/// What reading says.
pub fn first_byte(name: &[u8], contents: [&ReadAt<'_>; 2], sizes: [u64; 2]) -> io::Result<Option<FirstByte>> {
    let Some(offset) = first_difference(contents)? else { return Ok(None) };
    let byte = |read: &ReadAt<'_>| {
        let mut byte = [0];
        Ok::<_, io::Error>((fill(read, &mut byte, offset)? == 1).then_some(byte[0]))
    };
    let bytes = [byte(contents[0])?, byte(contents[1])?];
    let text = match [around(contents[0], offset)?, around(contents[1], offset)?] {
        [Some(before), Some(after)] => Some([before, after]),
        _ => None,
    };
    let hint = hint(name, contents, offset)?;
    Ok(Some(FirstByte { offset, sizes, bytes, text, hint }))
}

fn first_difference([before, after]: [&ReadAt<'_>; 2]) -> io::Result<Option<u64>> {
    let (mut left, mut right) = (vec![0; BLOCK_BYTES], vec![0; BLOCK_BYTES]);
    let mut offset = 0;
    loop {
        let (left_count, right_count) = (fill(before, &mut left, offset)?, fill(after, &mut right, offset)?);
        let (left, right) = (&left[..left_count], &right[..right_count]);
        if let Some(place) = left.iter().zip(right).position(|(left, right)| left != right) {
            return Ok(Some(offset + place as u64));
        }
        if left.len() != right.len() {
            return Ok(Some(offset + left.len().min(right.len()) as u64));
        }
        if left.len() < BLOCK_BYTES {
            return Ok(None);
        }
        offset += BLOCK_BYTES as u64;
    }
}

/// Fills a buffer, as far as the content goes.
pub(super) fn fill(read: &ReadAt<'_>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match read(&mut buffer[filled..], offset + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// Returns what stands around a place in its line, if that is plain text.
fn around(read: &ReadAt<'_>, offset: u64) -> io::Result<Option<String>> {
    let begin = offset.saturating_sub(AROUND_BYTES);
    let mut buffer = [0; 2 * AROUND_BYTES as usize];
    let count = fill(read, &mut buffer, begin)?;
    let place = usize::try_from(offset - begin).unwrap_or(usize::MAX).min(count);
    let (before, behind) = buffer[..count].split_at(place);
    let before = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let behind = behind.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = [before, behind].concat();
    let is_plain = line.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    Ok(is_plain.then(|| String::from_utf8_lossy(&line).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, before: &[u8], after: &[u8]) -> Option<FirstByte> {
        let reader = |bytes: &[u8]| {
            let bytes = bytes.to_vec();
            move |buffer: &mut [u8], offset: u64| {
                let rest = bytes.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
                // As few as a reader may give at once.
                let count = rest.len().min(buffer.len()).min(7000);
                buffer[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            }
        };
        let sizes = [before.len() as u64, after.len() as u64];
        first_byte(name.as_bytes(), [&reader(before), &reader(after)], sizes).unwrap()
    }

    #[test]
    fn the_first_byte_is_found_wherever_it_is() {
        let long = vec![7; 3 * BLOCK_BYTES];
        assert_eq!(found("f", &long, &long), None);
        for place in [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, 2 * BLOCK_BYTES + 5, long.len() - 1] {
            let mut other = long.clone();
            other[place] = 9;
            let first = found("f", &long, &other).unwrap();
            assert_eq!((first.offset, first.bytes), (place as u64, [Some(7), Some(9)]));
            let shorter = found("f", &long, &long[..place]).unwrap();
            assert_eq!((shorter.offset, shorter.bytes), (place as u64, [Some(7), None]));
        }
    }

    #[test]
    fn text_is_shown_with_its_line_and_other_bytes_are_not() {
        let first = found("f", b"one\nbuilt at 12:05\nend", b"one\nbuilt at 12:07\nend").unwrap();
        let text = ["built at 12:05", "built at 12:07"].map(str::to_owned);
        assert_eq!(first.text, Some(text));
        assert_eq!(found("f", b"a\x01b", b"a\x01c").unwrap().text, None);
    }

    #[test]
    fn places_of_well_known_formats_have_a_hint() {
        let mut gzip = [0_u8; 30];
        gzip[..2].copy_from_slice(b"\x1f\x8b");
        let archive =
            |time: &str| format!("!<arch>\n{:16}{time:12}{:20}{:10}`\nxx", "a.o/", "", 2).into_bytes();
        let mut tar = vec![0; 1024];
        tar[257..262].copy_from_slice(b"ustar");
        let mut elf = vec![0; 200];
        elf[..4].copy_from_slice(b"\x7fELF");
        elf[100..116].copy_from_slice(b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0");
        let mut zip = vec![0; 60];
        zip[..4].copy_from_slice(b"PK\x03\x04");
        let changed = |bytes: &[u8], place: usize| {
            let mut other = bytes.to_vec();
            other[place] ^= 1;
            other
        };
        for (name, before, after, expected) in [
            ("f", gzip.to_vec(), changed(&gzip, 5), Some("the time in a gzip header")),
            ("f", gzip.to_vec(), changed(&gzip, 9), None),
            ("f", archive("17"), archive("18"), Some("the time of a member of an ar archive")),
            ("f", tar.clone(), changed(&tar, 140), Some("the time in a tar header")),
            (
                "f",
                elf.clone(),
                changed(&elf, 120),
                Some("the ELF build id, which depends on what else differs"),
            ),
            ("f", elf.clone(), changed(&elf, 90), None),
            ("f.pyc", vec![0; 20], changed(&[0; 20], 9), Some("the time of the source in a .pyc")),
            ("f", zip.clone(), changed(&zip, 11), Some("the time of an entry of a zip archive")),
            (
                "f",
                b"at 1700000001".to_vec(),
                b"at 1700000009".to_vec(),
                Some("perhaps a time in seconds since 1970"),
            ),
        ] {
            assert_eq!(found(name, &before, &after).unwrap().hint, expected, "{name} {expected:?}");
        }
    }
}
