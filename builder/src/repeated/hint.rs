//! What is kept at a place of a well-known format: where builds differ most often, it is a time.
//!
//! | Format | Known by | Place |
//! |---|---|---|
//! | gzip (RFC 1952) | `1f 8b` | bytes 4 to 7 |
//! | ar | `!<arch>` | bytes 16 to 27 of a member's header |
//! | tar (POSIX ustar) | `ustar` at 257 | bytes 136 to 147 of a header |
//! | ELF | `7f ELF` | the note of type `NT_GNU_BUILD_ID` |
//! | `.pyc` (PEP 552) | the name, flags of zero | bytes 8 to 11 |
//! | zip, jar | `PK` before the place | bytes 10 to 13 of a local header |
//! | text | ten digits | |

use std::io;

use super::first_byte::{ReadAt, fill};

/// How much of the beginning is looked at: notes of ELF files are there.
const HEAD_BYTES: usize = 1 << 16;
/// Members of an archive that are looked through.
const MEMBERS_MAX: usize = 1 << 16;
const TAR_BLOCK: u64 = 512;

/// Returns what is kept at `offset`, the first place at which two contents differ.
pub(super) fn hint(name: &[u8], contents: [&ReadAt<'_>; 2], offset: u64) -> io::Result<Option<&'static str>> {
    let mut head = vec![0; HEAD_BYTES];
    let count = fill(contents[0], &mut head, 0)?;
    let head = &head[..count];
    let found = if head.starts_with(b"\x1f\x8b") {
        (4..8).contains(&offset).then_some("the time in a gzip header")
    } else if head.starts_with(b"!<arch>\n") {
        let in_time = in_member(contents[0], 8, ar_member, 16..28, offset)?;
        in_time.then_some("the time of a member of an ar archive")
    } else if head.get(257..262) == Some(b"ustar") {
        let in_time = in_member(contents[0], 0, tar_member, 136..148, offset)?;
        in_time.then_some("the time in a tar header")
    } else if head.starts_with(b"\x7fELF") {
        in_build_id(head, offset).then_some("the ELF build id, which depends on what else differs")
    } else if name.ends_with(b".pyc") && head.get(4..8) == Some(&[0; 4]) {
        (8..12).contains(&offset).then_some("the time of the source in a .pyc")
    } else {
        in_zip_time(contents[0], offset)?.then_some("the time of an entry of a zip archive")
    };
    let in_number = found.is_none() && in_seconds(contents[0], offset)? && in_seconds(contents[1], offset)?;
    Ok(found.or(in_number.then_some("perhaps a time in seconds since 1970")))
}

/// Says whether a place is in `field` of the header of some member. `member` returns how many bytes header and content take.
fn in_member(
    read: &ReadAt<'_>,
    first: u64,
    member: fn(&[u8]) -> Option<u64>,
    field: std::ops::Range<u64>,
    offset: u64,
) -> io::Result<bool> {
    let mut at = first;
    let mut header = [0; TAR_BLOCK as usize];
    for _ in 0..MEMBERS_MAX {
        if at > offset {
            return Ok(false);
        }
        if field.contains(&(offset - at)) {
            return Ok(true);
        }
        let count = fill(read, &mut header, at)?;
        let Some(next) = member(&header[..count]).and_then(|length| at.checked_add(length)) else { break };
        at = next;
    }
    Ok(false)
}

fn ar_member(header: &[u8]) -> Option<u64> {
    let size: u64 = std::str::from_utf8(header.get(48..58)?).ok()?.trim().parse().ok()?;
    // Members begin at even places.
    Some(60 + size.checked_add(size % 2)?)
}

fn tar_member(header: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(header.get(124..136)?).ok()?;
    let size = text.trim_matches(|letter| letter == ' ' || letter == '\0');
    let size = if size.is_empty() { 0 } else { u64::from_str_radix(size, 8).ok()? };
    Some(TAR_BLOCK + size.div_ceil(TAR_BLOCK) * TAR_BLOCK)
}

fn in_build_id(head: &[u8], offset: u64) -> bool {
    // Type 3, and the name; the sizes of name and value are before it. Numbers of the other byte order are not looked for.
    const NOTE: &[u8] = b"\x03\0\0\0GNU\0";
    let Some(place) = head.windows(NOTE.len()).position(|window| window == NOTE) else { return false };
    let size =
        place.checked_sub(4).and_then(|at| head.get(at..place)?.try_into().ok()).map(u32::from_le_bytes);
    let begin = (place + NOTE.len()) as u64;
    size.is_some_and(|size| (begin..begin + u64::from(size)).contains(&offset))
}

fn in_zip_time(read: &ReadAt<'_>, offset: u64) -> io::Result<bool> {
    const HEADER: &[u8] = b"PK\x03\x04";
    for distance in 10..14 {
        let Some(at) = offset.checked_sub(distance) else { continue };
        let mut found = [0; 4];
        if fill(read, &mut found, at)? == HEADER.len() && found == HEADER {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a place is in a number of ten digits, as the seconds since 1970 have from 2001 to 2286.
fn in_seconds(read: &ReadAt<'_>, offset: u64) -> io::Result<bool> {
    const DIGITS: usize = 10;
    let begin = offset.saturating_sub(DIGITS as u64);
    let mut buffer = [0; 2 * DIGITS + 1];
    let count = fill(read, &mut buffer, begin)?;
    let place = usize::try_from(offset - begin).unwrap_or(usize::MAX).min(count);
    let (before, behind) = buffer[..count].split_at(place);
    let is_digit = |byte: &&u8| byte.is_ascii_digit();
    let digits =
        before.iter().rev().take_while(is_digit).count() + behind.iter().take_while(is_digit).count();
    Ok(digits == DIGITS)
}
