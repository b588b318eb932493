//! One 512-byte header, field by field.

use super::sparse::Part;
use crate::entry::{Device, Timestamp};
use crate::tar::write::TAR_BLOCK;

/// Bytes of one part of a sparse map: offset and length, twelve each.
pub(super) const SPARSE_PART_BYTES: usize = 24;
/// Where the map of an `S` member is in its header, and how many parts are there.
const SPARSE_MAP: std::ops::Range<usize> = 386..482;

/// A block whose checksum is right.
pub(super) struct RawHeader([u8; TAR_BLOCK]);

impl RawHeader {
    pub(super) fn new(block: [u8; TAR_BLOCK]) -> Option<Self> {
        let stored = number(&block[148..156])?;
        let blanked = |at: usize, byte: u8| if (148..156).contains(&at) { b' ' } else { byte };
        let unsigned: u64 = block.iter().enumerate().map(|(at, byte)| u64::from(blanked(at, *byte))).sum();
        // Some old writers summed signed characters.
        let signed: i64 =
            block.iter().enumerate().map(|(at, byte)| i64::from(blanked(at, *byte).cast_signed())).sum();
        (stored == unsigned || i64::try_from(stored) == Ok(signed)).then_some(Self(block))
    }

    pub(super) fn typeflag(&self) -> u8 {
        self.0[156]
    }

    pub(super) fn name(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = match (self.is_ustar(), self.is_star()) {
            (true, false) => text(&self.0[345..500]),
            // star has times behind a shorter prefix.
            (true, true) => text(&self.0[345..476]),
            (false, _) => &[],
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub(super) fn link(&self) -> Vec<u8> {
        text(&self.0[157..257]).to_vec()
    }

    pub(super) fn size(&self) -> Option<u64> {
        number(&self.0[124..136])
    }

    /// The permission bits; file type bits that some writers add are dropped.
    pub(super) fn mode(&self) -> Option<u32> {
        number(&self.0[100..108]).map(|mode| (mode & 0o7777) as u32)
    }

    pub(super) fn uid(&self) -> Option<u32> {
        id(&self.0[108..116])
    }

    pub(super) fn gid(&self) -> Option<u32> {
        id(&self.0[116..124])
    }

    pub(super) fn mtime(&self) -> Option<Timestamp> {
        signed_number(&self.0[136..148]).map(Timestamp::from_seconds)
    }

    pub(super) fn device(&self) -> Option<Device> {
        let major = u32::try_from(number(&self.0[329..337])?).ok()?;
        let minor = u32::try_from(number(&self.0[337..345])?).ok()?;
        Some(Device { major, minor })
    }

    /// The parts of an `S` member that its header has, and whether a block with more follows.
    pub(super) fn sparse_parts(&self) -> Result<(Vec<Part>, bool), &'static str> {
        let fields = self.0[SPARSE_MAP].chunks_exact(SPARSE_PART_BYTES);
        let parts = fields.map_while(|field| sparse_part(field).transpose()).collect::<Result<_, _>>()?;
        Ok((parts, self.0[482] != 0))
    }

    /// The size of an `S` member with its holes.
    pub(super) fn sparse_size(&self) -> Option<u64> {
        number(&self.0[483..495])
    }

    /// star marks its format at the end of the header.
    fn is_star(&self) -> bool {
        &self.0[508..512] == b"tar\0"
    }

    /// POSIX has a prefix field; GNU's older format has times and sparse maps in its place.
    fn is_ustar(&self) -> bool {
        &self.0[257..263] == b"ustar\0"
    }
}

/// One part of a sparse map; none where the map ends.
pub(super) fn sparse_part(field: &[u8]) -> Result<Option<Part>, &'static str> {
    let (offset, length) = field.split_at(SPARSE_PART_BYTES / 2);
    if length[0] == 0 {
        return Ok(None);
    }
    match (number(offset), number(length)) {
        (Some(offset), Some(length)) => Ok(Some(Part { offset, length })),
        _ => Err("its map is no list of numbers"),
    }
}

/// An owner. Some writers store those beyond 2^31 as negative numbers; that of all bits is no owner to any kernel.
fn id(field: &[u8]) -> Option<u32> {
    let value = signed_number(field)?;
    let id = u32::try_from(value).ok().or_else(|| i32::try_from(value).ok().map(i32::cast_unsigned))?;
    (id != u32::MAX).then_some(id)
}

fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

fn number(field: &[u8]) -> Option<u64> {
    signed_number(field).and_then(|value| u64::try_from(value).ok())
}

/// Octal digits among blanks and NULs, or base-256 with the first bit set.
fn signed_number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        return base_256(field);
    }
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !is_blank(byte)).unwrap_or(field.len());
    let end = field[start..].iter().position(is_blank).map_or(field.len(), |length| start + length);
    let mut value: i64 = 0;
    for digit in &field[start..end] {
        if !matches!(digit, b'0'..=b'7') {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(i64::from(digit - b'0'))?;
    }
    Some(value)
}

/// Two's complement, big-endian; the first bit is a mark, the second the sign.
fn base_256(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let mut value: i64 = if negative { -1 } else { 0 };
    for (at, byte) in field.iter().enumerate() {
        let byte = match (at, negative) {
            (0, false) => byte & 0x7f,
            _ => *byte,
        };
        value = value.checked_mul(256)?.checked_add(i64::from(byte))?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"99999999", None),
            (b"0000-10\0", None),
            (&[0x80, 0, 0, 0, 0, 0x20, 0, 0], Some(0x20_0000)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe], Some(-2)),
            (&[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], None),
        ] {
            assert_eq!(signed_number(field), value, "{field:?}");
        }
    }
}
