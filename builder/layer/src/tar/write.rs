//! The only maker of tar headers. Every byte of a layer besides contents is decided here; changing any is a change of
//! [`TAR_FORMAT`], which is part of every key.
//!
//! | Field | Value |
//! |---|---|
//! | format | ustar; a PAX header before it when a value does not fit; GNU never |
//! | name | relative, no `./` in front, `/` at the end of directories; raw bytes. PAX `path` when longer than ustar's two fields hold, or not ASCII |
//! | mode | permission, set-id and sticky bits, seven octal digits; 0777 for symlinks; 0 for whiteouts |
//! | uid, gid | numbers; PAX from 2,097,152 on (the field is then 0) |
//! | uname, gname | empty |
//! | size | of regular files, else 0; PAX from 8 GiB on (the field is then 0) |
//! | mtime | the layer's time in whole seconds; when times are preserved, the entry's, with PAX `mtime` for a fraction, before 1970 or beyond ustar |
//! | atime, ctime | never |
//! | type | `0` file, `1` hard link, `2` symlink, `3` `4` devices, `5` directory, `6` fifo |
//! | linkname | raw bytes; PAX `linkpath` when longer than 100 or not ASCII |
//! | devmajor, devminor | of devices, else 0 |
//! | xattrs | PAX `SCHILY.xattr.<name>`, raw bytes |
//! | PAX records | sorted by key; their own header: name `PaxHeaders.0`, 0644, 0:0, time 0 |
//! | end | two blocks of zeros, no further padding |

use crate::entry::{Device, Entry, Kind, Metadata, Timestamp};
use crate::path::{ArchivePath, escape};

/// The number of this form of headers; part of every key.
pub const TAR_FORMAT: u32 = 1;

/// The unit of a tar archive.
pub const TAR_BLOCK: usize = 512;
/// So many zeros are the end of an archive.
pub const END_BYTES: usize = 2 * TAR_BLOCK;

/// What a whiteout's name begins with.
pub const WHITEOUT_PREFIX: &[u8] = b".wh.";

/// The marker that hides what lower layers have in its directory.
pub const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";

const NAME_MAX: usize = 100;
const PREFIX_MAX: usize = 155;
const ID_MAX: u32 = 0o7_777_777;
const SIZE_MAX: u64 = 0o77_777_777_777;

/// What cannot be said in a tar header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// PAX separates names from values by `=`.
    #[error("extended attribute `{name}` of `{path}` cannot be stored in a layer: its name contains `=`")]
    XattrName {
        /// The entry.
        path: ArchivePath,
        /// The attribute.
        name: String,
    },
    /// A character device that overlayfs takes for a deletion.
    #[error("character device `{path}` cannot be stored in a layer: its number 0:0 marks deletions")]
    WhiteoutDevice {
        /// The entry.
        path: ArchivePath,
    },
    /// A device number beyond seven octal digits.
    #[error("device `{path}` has the number {major}:{minor}, which a layer cannot store")]
    DeviceNumber {
        /// The entry.
        path: ArchivePath,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
}

/// One member to write a header for.
#[derive(Debug, Clone, Copy)]
pub enum Member<'a> {
    /// An entry; a file's content follows the header.
    Entry(&'a Entry),
    /// Another name of an entry before.
    HardLink(&'a Entry, &'a ArchivePath),
    /// An empty file that removes a name below.
    Whiteout,
}

struct Fields<'a> {
    name: Vec<u8>,
    link: &'a [u8],
    typeflag: u8,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: Timestamp,
    device: Device,
}

/// Appends the header of `member`, with a PAX header where one is needed.
///
/// # Errors
/// What the format cannot say; never for what a directory can usually hold.
pub fn append_header(
    out: &mut Vec<u8>,
    path: &ArchivePath,
    member: Member<'_>,
    mtime: Timestamp,
) -> Result<(), HeaderError> {
    let fields = fields_of(path, member, mtime);
    if fields.typeflag == b'3' && fields.device.major == 0 && fields.device.minor == 0 {
        return Err(HeaderError::WhiteoutDevice { path: path.clone() });
    }
    if fields.device.major > ID_MAX || fields.device.minor > ID_MAX {
        let Device { major, minor } = fields.device;
        return Err(HeaderError::DeviceNumber { path: path.clone(), major, minor });
    }
    let records = pax_records(path, member, &fields)?;
    if !records.is_empty() {
        append_pax(out, &records);
    }
    append_ustar(out, &fields);
    Ok(())
}

/// Returns how many zeros follow a content of `size` bytes.
pub fn padding_of(size: u64) -> usize {
    let over = (size % TAR_BLOCK as u64) as usize;
    if over > 0 { TAR_BLOCK - over } else { 0 }
}

/// Appends the zeros after a content of `size` bytes.
pub fn append_padding(out: &mut Vec<u8>, size: u64) {
    out.resize(out.len() + padding_of(size), 0);
}

/// Appends the end of the archive.
pub fn append_end(out: &mut Vec<u8>) {
    out.resize(out.len() + END_BYTES, 0);
}

fn fields_of<'a>(path: &ArchivePath, member: Member<'a>, mtime: Timestamp) -> Fields<'a> {
    let mut fields = Fields {
        name: path.as_bytes().to_vec(),
        link: b"",
        typeflag: b'0',
        mode: 0,
        uid: 0,
        gid: 0,
        size: 0,
        mtime,
        device: Device { major: 0, minor: 0 },
    };
    let (entry, hard_link) = match member {
        Member::Whiteout => return fields,
        Member::Entry(entry) => (entry, None),
        Member::HardLink(entry, target) => (entry, Some(target)),
    };
    let Metadata { mode, uid, gid, .. } = entry.metadata;
    (fields.mode, fields.uid, fields.gid) = (mode, uid, gid);
    if let Some(target) = hard_link {
        fields.typeflag = b'1';
        fields.link = target.as_bytes();
        return fields;
    }
    match &entry.kind {
        Kind::File(content) => fields.size = content.size,
        Kind::Symlink(target) => {
            (fields.typeflag, fields.link, fields.mode) = (b'2', target, 0o777);
        }
        Kind::CharDevice(device) => (fields.typeflag, fields.device) = (b'3', *device),
        Kind::BlockDevice(device) => (fields.typeflag, fields.device) = (b'4', *device),
        Kind::Directory => {
            fields.typeflag = b'5';
            fields.name.extend_from_slice(if path.is_root() { b"./" } else { b"/" });
        }
        Kind::Fifo => fields.typeflag = b'6',
    }
    fields
}

/// Key and value of one PAX record.
type Record = (Vec<u8>, Vec<u8>);

fn pax_records(
    path: &ArchivePath,
    member: Member<'_>,
    fields: &Fields<'_>,
) -> Result<Vec<Record>, HeaderError> {
    let mut records: Vec<Record> = Vec::new();
    let mut record = |key: &[u8], value: Vec<u8>| records.push((key.to_vec(), value));
    if !fields.name.is_ascii() || split_name(&fields.name).is_none() {
        record(b"path", fields.name.clone());
    }
    if !fields.link.is_ascii() || fields.link.len() > NAME_MAX {
        record(b"linkpath", fields.link.to_vec());
    }
    if fields.uid > ID_MAX {
        record(b"uid", fields.uid.to_string().into_bytes());
    }
    if fields.gid > ID_MAX {
        record(b"gid", fields.gid.to_string().into_bytes());
    }
    if fields.size > SIZE_MAX {
        record(b"size", fields.size.to_string().into_bytes());
    }
    if ustar_time(fields.mtime).is_none() {
        record(b"mtime", pax_time(fields.mtime).into_bytes());
    }
    if let Member::Entry(entry) = member {
        for (name, value) in entry.metadata.xattrs.iter() {
            if name.contains(&b'=') {
                return Err(HeaderError::XattrName { path: path.clone(), name: escape(name) });
            }
            record(&[b"SCHILY.xattr.", name].concat(), value.to_vec());
        }
    }
    records.sort();
    Ok(records)
}

fn ustar_time(time: Timestamp) -> Option<u64> {
    let seconds = u64::try_from(time.seconds).ok()?;
    (time.nanoseconds == 0 && seconds <= SIZE_MAX).then_some(seconds)
}

/// Decimal seconds with a fraction. A time before 1970 counts backwards: -1 s + 0.25 s is `-0.75`.
fn pax_time(time: Timestamp) -> String {
    let total = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
    let sign = if total < 0 { "-" } else { "" };
    let (seconds, fraction) = (total.unsigned_abs() / 1_000_000_000, total.unsigned_abs() % 1_000_000_000);
    let text = format!("{sign}{seconds}.{fraction:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn append_pax(out: &mut Vec<u8>, records: &[Record]) {
    let mut body = Vec::new();
    for (key, value) in records {
        body.extend_from_slice(record_length(key.len() + value.len() + 3).to_string().as_bytes());
        body.push(b' ');
        body.extend_from_slice(key);
        body.push(b'=');
        body.extend_from_slice(value);
        body.push(b'\n');
    }
    let fields = Fields {
        name: b"PaxHeaders.0".to_vec(),
        link: b"",
        typeflag: b'x',
        mode: 0o644,
        uid: 0,
        gid: 0,
        size: body.len() as u64,
        mtime: Timestamp::default(),
        device: Device { major: 0, minor: 0 },
    };
    append_ustar(out, &fields);
    out.extend_from_slice(&body);
    append_padding(out, body.len() as u64);
}

/// The length of a record, which includes the digits of the length itself.
fn record_length(rest: usize) -> usize {
    let mut length = rest + rest.to_string().len();
    if length.to_string().len() > rest.to_string().len() {
        length += 1;
    }
    length
}

/// The prefix and name fields of ustar, when `name` fits them.
fn split_name(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= NAME_MAX {
        return Some((b"", name));
    }
    // The shortest prefix that leaves a name that fits; a directory's final slash belongs to the name.
    let earliest = name.len().saturating_sub(NAME_MAX + 1);
    let end = name.len() - 1;
    let slash = (earliest..end.min(PREFIX_MAX + 1)).find(|at| name[*at] == b'/')?;
    (slash > 0).then(|| (&name[..slash], &name[slash + 1..]))
}

fn append_ustar(out: &mut Vec<u8>, fields: &Fields<'_>) {
    let mut header = [0_u8; TAR_BLOCK];
    let cut = &fields.name[..fields.name.len().min(NAME_MAX)];
    let (prefix, name) = split_name(&fields.name).unwrap_or((b"", cut));
    put(&mut header, 0, name);
    octal(&mut header, 100, 8, u64::from(fields.mode));
    octal(&mut header, 108, 8, if fields.uid > ID_MAX { 0 } else { u64::from(fields.uid) });
    octal(&mut header, 116, 8, if fields.gid > ID_MAX { 0 } else { u64::from(fields.gid) });
    octal(&mut header, 124, 12, if fields.size > SIZE_MAX { 0 } else { fields.size });
    let whole = u64::try_from(fields.mtime.seconds).unwrap_or(0).min(SIZE_MAX);
    octal(&mut header, 136, 12, ustar_time(fields.mtime).unwrap_or(whole));
    header[156] = fields.typeflag;
    put(&mut header, 157, &fields.link[..fields.link.len().min(NAME_MAX)]);
    put(&mut header, 257, b"ustar\x0000");
    octal(&mut header, 329, 8, u64::from(fields.device.major));
    octal(&mut header, 337, 8, u64::from(fields.device.minor));
    put(&mut header, 345, prefix);
    put(&mut header, 148, b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    octal(&mut header, 148, 7, sum.into());
    out.extend_from_slice(&header);
}

fn put(header: &mut [u8; TAR_BLOCK], at: usize, bytes: &[u8]) {
    header[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Octal digits that fill `width` bytes but the last, which is NUL.
fn octal(header: &mut [u8; TAR_BLOCK], at: usize, width: usize, value: u64) {
    let mut rest = value;
    for place in header[at..at + width - 1].iter_mut().rev() {
        *place = b'0' + (rest & 7) as u8;
        rest >>= 3;
    }
    assert!(rest == 0, "values that do not fit go into PAX records");
    header[at + width - 1] = 0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_where_ustar_can_hold_them() {
        let long = |count: usize| vec![b'x'; count];
        assert_eq!(split_name(b"a"), Some((&b""[..], &b"a"[..])));
        assert_eq!(split_name(&long(101)), None);
        let name = [&long(60)[..], b"/", &long(60)].concat();
        assert_eq!(split_name(&name), Some((&name[..60], &name[61..])));
        let deep = [&long(156)[..], b"/", &long(50)].concat();
        assert_eq!(split_name(&deep), None);
        let directory = [&long(100)[..], b"/"].concat();
        assert_eq!(split_name(&directory), None);
    }

    #[test]
    fn a_record_counts_its_own_digits() {
        for rest in [3, 7, 8, 9, 96, 97, 98, 99, 995, 996, 997, 10_000] {
            let length = record_length(rest);
            assert_eq!(length, rest + length.to_string().len(), "{rest}");
        }
    }

    #[test]
    fn times_are_decimal_seconds() {
        for (seconds, nanoseconds, text) in
            [(1, 500_000_000, "1.5"), (-1, 250_000_000, "-0.75"), (-3, 0, "-3"), (7, 1, "7.000000001")]
        {
            assert_eq!(pax_time(Timestamp { seconds, nanoseconds }), text);
        }
    }
}
