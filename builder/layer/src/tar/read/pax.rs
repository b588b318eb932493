//! PAX extended headers: `length key=value\n`, again and again.

use crate::entry::Timestamp;

/// What PAX records say about a member. Keys that are not here (comments, access times, names of owners) say nothing kiln keeps.
#[derive(Debug, Clone, Default)]
pub(super) struct PaxValues {
    pub(super) path: Option<Vec<u8>>,
    pub(super) linkpath: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Timestamp>,
    pub(super) sparse: bool,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
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
        self.path = None;
        self.linkpath = None;
        self.size = None;
    }

    /// What holds for a member: its own values, else the global ones.
    pub(super) fn overlaid_by(&self, own: Self) -> Self {
        let mut xattrs = self.xattrs.clone();
        xattrs.extend(own.xattrs);
        Self {
            path: own.path,
            linkpath: own.linkpath,
            size: own.size,
            uid: own.uid.or(self.uid),
            gid: own.gid.or(self.gid),
            mtime: own.mtime.or(self.mtime),
            sparse: own.sparse || self.sparse,
            xattrs,
        }
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let number = |value: &[u8]| {
            std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or("a number is malformed")
        };
        match key {
            b"path" => self.path = filled(value),
            b"linkpath" => self.linkpath = filled(value),
            // An empty value takes an earlier one back.
            b"size" | b"uid" | b"gid" | b"mtime" if value.is_empty() => {}
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(number(value)?),
            b"gid" => self.gid = Some(number(value)?),
            b"mtime" => self.mtime = Some(time(value).ok_or("a time is malformed")?),
            _ if key.starts_with(b"GNU.sparse.") => self.sparse = true,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.").filter(|name| !name.is_empty()) {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

fn filled(value: &[u8]) -> Option<Vec<u8>> {
    (!value.is_empty()).then(|| value.to_vec())
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
}
