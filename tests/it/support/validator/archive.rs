//! Reads an archive byte by byte, allowing exactly what POSIX says of `ustar` and `pax` and kiln promises of its own layers.
//!
//! Where an ordinary reader is generous (blanks in numbers, GNU's forms, junk in unused fields), this one refuses: two archives
//! that mean the same must be the same.

use std::collections::BTreeMap;
use std::io::Read;

use ring::digest::{Context, SHA256};

use crate::support::sha256::hex;

const BLOCK: usize = 512;
const PAX_BYTES_MAX: u64 = 4 << 20;

/// One entry with everything its headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// The name as meant, with the final slash of a directory.
    pub(crate) name: Vec<u8>,
    /// The type flag.
    pub(crate) flag: u8,
    /// Permission bits with set-id and sticky.
    pub(crate) mode: u64,
    /// The owner.
    pub(crate) uid: u64,
    /// The group.
    pub(crate) gid: u64,
    /// How many bytes of content follow.
    pub(crate) size: u64,
    /// The time as the header says it, in seconds; with its fraction where there is one.
    pub(crate) mtime: String,
    /// The target of a link.
    pub(crate) link: Vec<u8>,
    /// Major and minor number.
    pub(crate) device: (u64, u64),
    /// Every record of the extended header.
    pub(crate) pax: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The digest of a file's content in hex.
    pub(crate) content: String,
}

/// Reads a whole archive.
///
/// # Errors
/// What is not as it has to be, and at which entry.
pub(crate) fn read(reader: &mut dyn Read) -> Result<Vec<Member>, String> {
    let mut members: Vec<Member> = Vec::new();
    let mut pax = BTreeMap::new();
    loop {
        let place = || {
            let last = members.last().map_or("the beginning".to_owned(), |last| shown(&last.name));
            format!("header {} (after {last})", members.len())
        };
        let header = block(reader)?.ok_or_else(|| format!("{}: no end marker", place()))?;
        if header == [0; BLOCK] {
            if !pax.is_empty() {
                return Err(format!("{}: an extended header for nothing", place()));
            }
            return read_end(reader).map(|()| members);
        }
        let header = Header(header);
        header.check().map_err(|error| format!("{}: {error}", place()))?;
        if header.flag() == b'x' {
            if !pax.is_empty() {
                return Err(format!("{}: two extended headers", place()));
            }
            pax = read_pax(&header, reader).map_err(|error| format!("{}: {error}", place()))?;
            continue;
        }
        let member = member(&header, std::mem::take(&mut pax), reader);
        members.push(member.map_err(|error| format!("{}: {error}", place()))?);
    }
}

/// Returns a name for messages.
pub(crate) fn shown(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}

fn block(reader: &mut dyn Read) -> Result<Option<[u8; BLOCK]>, String> {
    let (mut bytes, mut filled) = ([0; BLOCK], 0);
    while filled < BLOCK {
        match reader.read(&mut bytes[filled..]).map_err(|error| error.to_string())? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(format!("the archive ends within a block, after {filled} bytes of it")),
            count => filled += count,
        }
    }
    Ok(Some(bytes))
}

fn read_end(reader: &mut dyn Read) -> Result<(), String> {
    match (block(reader)?, block(reader)?) {
        (Some(second), None) if second == [0; BLOCK] => Ok(()),
        (_, after) => Err(format!(
            "the end is not exactly two blocks of zeros ({})",
            if after.is_some() { "more follows" } else { "one block" }
        )),
    }
}

struct Header([u8; BLOCK]);

impl Header {
    fn flag(&self) -> u8 {
        self.0[156]
    }

    /// The bytes of a text field, which ends at its first zero; only zeros may follow.
    fn text(&self, at: usize, width: usize) -> Result<&[u8], String> {
        let field = &self.0[at..at + width];
        let end = field.iter().position(|byte| *byte == 0).unwrap_or(width);
        match field[end..].iter().all(|byte| *byte == 0) {
            true => Ok(&field[..end]),
            false => Err(format!("junk after the text at {at}")),
        }
    }

    /// A number: octal digits that fill the field but for its last byte, a zero.
    fn number(&self, at: usize, width: usize) -> Result<u64, String> {
        let field = &self.0[at..at + width];
        let digits = &field[..width - 1];
        if field[width - 1] != 0 || !digits.iter().all(|digit| (b'0'..=b'7').contains(digit)) {
            return Err(format!("{:?} at {at} is no number", field.escape_ascii().to_string()));
        }
        Ok(digits.iter().fold(0, |value, digit| value * 8 + u64::from(digit - b'0')))
    }

    fn check(&self) -> Result<(), String> {
        if &self.0[257..265] != b"ustar\x0000" {
            return Err("not ustar".to_owned());
        }
        if self.0[265..329] != [0; 64] {
            return Err("names of owners are written".to_owned());
        }
        if self.0[500..] != [0; 12] {
            return Err("junk after the fields".to_owned());
        }
        let counted = |at: usize| if (148..156).contains(&at) { b' ' } else { self.0[at] };
        let sum: u64 = (0..BLOCK).map(|at| u64::from(counted(at))).sum();
        match self.number(148, 7)? == sum && self.0[155] == b' ' {
            true => Ok(()),
            false => Err(format!("the checksum is not {sum}")),
        }
    }

    fn name(&self) -> Result<Vec<u8>, String> {
        let (prefix, name) = (self.text(345, 155)?, self.text(0, 100)?);
        Ok(if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() })
    }
}

/// Reads the records of an extended header: `LENGTH KEY=VALUE\n`, sorted by key, each once.
fn read_pax(header: &Header, reader: &mut dyn Read) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, String> {
    let size = header.number(124, 12)?;
    let fields = [header.number(100, 8)?, header.number(108, 8)?, header.number(116, 8)?];
    if header.name()? != b"PaxHeaders.0" || fields != [0o644, 0, 0] || header.number(136, 12)? != 0 {
        return Err("the extended header's own fields are not the usual ones".to_owned());
    }
    if size == 0 || size > PAX_BYTES_MAX {
        return Err(format!("an extended header of {size} bytes"));
    }
    let mut body = Vec::new();
    content(reader, size, &mut |bytes| body.extend_from_slice(bytes))?;
    let mut records = BTreeMap::new();
    let mut rest = body.as_slice();
    while !rest.is_empty() {
        let blank = rest.iter().position(|byte| *byte == b' ').ok_or("a record without a length")?;
        let digits = std::str::from_utf8(&rest[..blank]).map_err(|error| error.to_string())?;
        let length: usize = digits.parse().map_err(|_| format!("{digits:?} is no length"))?;
        let record = rest.get(blank + 1..length).filter(|_| digits == length.to_string());
        let record = record.and_then(|record| record.strip_suffix(b"\n")).ok_or("a length that is wrong")?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or("a record without a value")?;
        let (key, value) = (record[..equals].to_vec(), record[equals + 1..].to_vec());
        if records.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return Err(format!("records are not in order at {}", shown(&key)));
        }
        records.insert(key, value);
        rest = &rest[length..];
    }
    Ok(records)
}

fn member(header: &Header, pax: BTreeMap<Vec<u8>, Vec<u8>>, reader: &mut dyn Read) -> Result<Member, String> {
    let said = |key: &str| pax.get(key.as_bytes());
    let text = |key: &str, field: Vec<u8>| said(key).cloned().unwrap_or(field);
    let number = |key: &str, at: usize, width: usize| -> Result<u64, String> {
        let field = header.number(at, width)?;
        let Some(value) = said(key) else { return Ok(field) };
        let value = std::str::from_utf8(value).map_err(|error| error.to_string())?;
        let value: u64 = value.parse().map_err(|_| format!("{key} is {value:?}"))?;
        match field == 0 && value >= 8_u64.pow(u32::try_from(width - 1).unwrap()) {
            true => Ok(value),
            false => Err(format!("{key} is said twice: {field} and {value}")),
        }
    };
    let seconds = header.number(136, 12)?.to_string();
    let mtime = said("mtime").map_or(seconds, |value| String::from_utf8_lossy(value).into_owned());
    let mut member = Member {
        name: text("path", header.name()?),
        flag: header.flag(),
        mode: header.number(100, 8)?,
        uid: number("uid", 108, 8)?,
        gid: number("gid", 116, 8)?,
        size: number("size", 124, 12)?,
        mtime,
        link: text("linkpath", header.text(157, 100)?.to_vec()),
        device: (header.number(329, 8)?, header.number(337, 8)?),
        content: String::new(),
        pax,
    };
    if member.flag == b'0' {
        let mut context = Context::new(&SHA256);
        content(reader, member.size, &mut |bytes| context.update(bytes))?;
        member.content = hex(context.finish().as_ref());
    } else if member.size != 0 {
        return Err(format!("{} has a size and is no file", shown(&member.name)));
    }
    Ok(member)
}

/// Passes on so many bytes, and reads the zeros that fill the last block.
fn content(reader: &mut dyn Read, size: u64, take: &mut dyn FnMut(&[u8])) -> Result<(), String> {
    let mut buffer = vec![0; 1 << 16];
    let mut left = size;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = reader.read(&mut buffer[..want]).map_err(|error| error.to_string())?;
        if count == 0 {
            return Err(format!("the archive ends {left} bytes before its content"));
        }
        take(&buffer[..count]);
        left -= count as u64;
    }
    let padding = size.next_multiple_of(BLOCK as u64) - size;
    let padding = &mut buffer[..usize::try_from(padding).unwrap()];
    reader.read_exact(padding).map_err(|error| error.to_string())?;
    match padding.iter().all(|byte| *byte == 0) {
        true => Ok(()),
        false => Err("a content is followed by something else than zeros".to_owned()),
    }
}
