//! PAX extended headers: `length key=value\n`, again and again.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::entry::Timestamp;

/// Keys that are looked at. Others (comments, access times, names of owners, `hdrcharset`, since names are bytes anyway) say
/// nothing kiln keeps.
const KEYS: [&str; 13] = [
    "path",
    "linkpath",
    "size",
    "uid",
    "gid",
    "mtime",
    "GNU.sparse.major",
    "GNU.sparse.minor",
    "GNU.sparse.name",
    "GNU.sparse.realsize",
    "GNU.sparse.size",
    "GNU.sparse.map",
    "SCHILY.realsize",
];

/// Keys that a global header may set; the others make sense for single members only.
const GLOBAL_KEYS: [&str; 3] = ["uid", "gid", "mtime"];

/// What PAX records say about a member.
#[derive(Debug, Clone, Default)]
pub(super) struct PaxValues {
    /// Values by key. An empty one takes back what a global header says.
    values: BTreeMap<&'static str, Vec<u8>>,
    /// Offsets and lengths of the oldest sparse form, whose keys repeat.
    pub(super) sparse_numbers: Vec<u64>,
    /// Extended attributes.
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl PaxValues {
    /// Adds the records of one header; later ones win.
    pub(super) fn add(&mut self, mut body: &[u8]) -> Result<(), &'static str> {
        while !body.is_empty() && body.iter().any(|byte| *byte != 0) {
            let (key, value, rest) = record(body)?;
            self.set(key, value)?;
            body = rest;
        }
        Ok(())
    }

    /// Forgets what a global header must not say about single members.
    pub(super) fn keep_global(&mut self) {
        self.values.retain(|key, _| GLOBAL_KEYS.contains(key));
        self.sparse_numbers.clear();
        self.xattrs.clear();
    }

    /// What holds for a member: its own values, else the global ones.
    pub(super) fn overlaid_by(&self, mut own: Self) -> Self {
        for (key, value) in &self.values {
            own.values.entry(key).or_insert_with(|| value.clone());
        }
        own
    }

    /// Returns the value of a key, unless it is empty.
    pub(super) fn text(&self, key: &str) -> Option<&[u8]> {
        self.values.get(key).map(Vec::as_slice).filter(|value| !value.is_empty())
    }

    /// Returns the value of a key as a number.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, &'static str> {
        let parse = |value: &[u8]| std::str::from_utf8(value).ok()?.parse().ok();
        self.text(key).map(|value| parse(value).ok_or("a number is malformed")).transpose()
    }

    /// Returns the time of the last change.
    pub(super) fn mtime(&self) -> Result<Option<Timestamp>, &'static str> {
        self.text("mtime").map(|value| time(value).ok_or("a time is malformed")).transpose()
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if let Some(known) = KEYS.iter().find(|known| known.as_bytes() == key) {
            self.values.insert(known, value.to_vec());
        } else if let Some(name) = key.strip_prefix(b"SCHILY.xattr.").filter(|name| !name.is_empty()) {
            self.xattrs.insert(name.to_vec(), value.to_vec());
        } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.").filter(|name| !name.is_empty()) {
            // bsdtar writes both forms; the other one has the bytes as they are.
            let value = BASE64.decode(value).map_err(|_| "an attribute is not in base64")?;
            self.xattrs.entry(percent_decoded(name)).or_insert(value);
        } else if key == b"GNU.sparse.offset" || key == b"GNU.sparse.numbytes" {
            let is_offset = self.sparse_numbers.len().is_multiple_of(2);
            if is_offset != key.ends_with(b"offset") {
                return Err("the parts of a sparse file are out of order");
            }
            let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            self.sparse_numbers.push(number.ok_or("a number is malformed")?);
        }
        Ok(())
    }
}

/// libarchive writes no padding; others may.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

fn percent_decoded(name: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match (first, digits.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

/// Key, value and what follows.
type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn record(body: &[u8]) -> Result<Record<'_>, &'static str> {
    let blank = body.iter().take(12).position(|byte| *byte == b' ').ok_or("a record has no length")?;
    let digits = std::str::from_utf8(&body[..blank]).map_err(|_| "a length is no number")?;
    let length: usize = digits.parse().map_err(|_| "a length is no number")?;
    if length <= blank + 1 || length > body.len() {
        return Err("a record is longer than its header");
    }
    let (record, rest) = body.split_at(length);
    let pair = record[blank + 1..].strip_suffix(b"\n").ok_or("a record does not end in a line feed")?;
    let equals = pair.iter().position(|byte| *byte == b'=').ok_or("a record has no `=`")?;
    Ok((&pair[..equals], &pair[equals + 1..], rest))
}

/// Decimal seconds, perhaps negative, perhaps with a fraction of which nanoseconds are kept.
fn time(value: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(value).ok()?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    Some(match (negative, nanoseconds) {
        (false, _) => Timestamp { seconds, nanoseconds },
        (true, 0) => Timestamp::from_seconds(-seconds),
        (true, _) => Timestamp { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_may_be_negative_and_fractional() {
        for (text, expected) in [
            ("1.5", Some((1, 500_000_000))),
            ("-0.75", Some((-1, 250_000_000))),
            ("-3", Some((-3, 0))),
            ("12.0000000019", Some((12, 1))),
            ("", None),
            ("1e3", None),
            ("1.2.3", None),
            ("99999999999999999999", None),
        ] {
            let expected = expected.map(|(seconds, nanoseconds)| Timestamp { seconds, nanoseconds });
            assert_eq!(time(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn records_that_lie_about_their_length_are_refused() {
        for body in
            ["5 a=b\n", "99 a=b\n", "x a=b\n", "6 ab\n", "0 \n", "6 a=bc", "4294967297 a=b\n", "5 a=\n"]
        {
            let result = PaxValues::default().add(body.as_bytes());
            assert_eq!(result.is_ok(), body == "5 a=\n", "{body:?}");
        }
    }

    fn with(pairs: &[&str]) -> Result<PaxValues, &'static str> {
        let mut values = PaxValues::default();
        for pair in pairs {
            // Two digits and a blank before the pair, a line feed behind it.
            values.add(format!("{:02} {pair}\n", pair.len() + 4).as_bytes())?;
        }
        Ok(values)
    }

    #[test]
    fn an_empty_value_takes_back_what_is_global_and_only_owners_and_times_are() {
        let mut global = with(&["uid=12", "gid=13", "path=abc", "SCHILY.xattr.user.a=x"]).unwrap();
        global.keep_global();
        let both = global.overlaid_by(with(&["uid="]).unwrap());
        let (uid, gid) = (both.number("uid"), both.number("gid"));
        assert_eq!((uid, gid, both.text("path")), (Ok(None), Ok(Some(13)), None));
        assert!(both.xattrs.is_empty());
    }

    #[test]
    fn attributes_are_read_in_both_forms_and_the_plain_one_wins() {
        let values = with(&[
            "LIBARCHIVE.xattr.user.a=AAH/",
            "LIBARCHIVE.xattr.user.b%3d=eA",
            "SCHILY.xattr.user.a=y",
            "LIBARCHIVE.xattr.user.a=eHh4",
            "SCHILY.xattr.user.empty=",
        ]);
        let expected = [("user.a", "y"), ("user.b=", "x"), ("user.empty", "")];
        let expected = expected.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        assert_eq!(values.unwrap().xattrs.into_iter().collect::<Vec<_>>(), expected);
        assert!(with(&["LIBARCHIVE.xattr.user.a=***"]).is_err());
    }
}
