//! The values of `RUN --mount` and `RUN --device`: comma-separated `key=value`. Values of a mount may contain variables, so
//! a mount is parsed in two steps: [`source_stage`] when the file is read, [`parse_mount`] when the step is made.

mod fields;

use std::ops::Range;

use thiserror::Error;

use crate::diagnostic::Diagnostic;
use crate::expand::{ExpandError, Misread};
use crate::source::Word;
use crate::suggest;
use crate::words;
use fields::fields;

/// A mount of a RUN after expansion, as written: defaults that depend on the rest of the build are not filled in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mount {
    /// `type`
    pub kind: MountKind,
    /// `from`: a stage, an image or a named context.
    pub from: Option<String>,
    /// `source`
    pub source: Option<String>,
    /// `target`
    pub target: Option<String>,
    /// `readonly` or `readwrite`; without either, bind, secret and ssh are read-only.
    pub is_read_only: bool,
    /// `size`, of tmpfs, in bytes.
    pub size_bytes_max: Option<u64>,
    /// `id`, of cache, secret and ssh.
    pub id: Option<String>,
    /// `sharing`, of cache.
    pub sharing: Option<Sharing>,
    /// `required`, of secret and ssh.
    pub is_required: bool,
    /// `env`, of secret; may be empty, which means "named like the id".
    pub env: Option<String>,
    /// `mode`, of cache, secret and ssh.
    pub mode: Option<u32>,
    /// `uid`, of cache, secret and ssh.
    pub uid: Option<u32>,
    /// `gid`, of cache, secret and ssh.
    pub gid: Option<u32>,
}

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MountKind {
    /// Part of a stage, image or context.
    #[default]
    Bind,
    /// A directory that survives builds.
    Cache,
    /// An empty directory in memory.
    Tmpfs,
    /// A secret as a file or variable.
    Secret,
    /// The socket of an ssh agent.
    Ssh,
}

const KINDS: [(&str, MountKind); 5] = [
    ("bind", MountKind::Bind),
    ("cache", MountKind::Cache),
    ("tmpfs", MountKind::Tmpfs),
    ("secret", MountKind::Secret),
    ("ssh", MountKind::Ssh),
];

impl MountKind {
    /// Returns the name as it is written in Dockerfiles.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("bind", |(name, _)| name)
    }
}

/// Who may use a cache at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Everyone.
    Shared,
    /// One at a time; others get a cache of their own.
    Private,
    /// One at a time; others wait.
    Locked,
}

const SHARINGS: [(&str, Sharing); 3] =
    [("shared", Sharing::Shared), ("private", Sharing::Private), ("locked", Sharing::Locked)];

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

/// Why a mount or a device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MountError {
    /// Quotes in the wrong places.
    #[error("failed to parse csv: {0}")]
    Csv(&'static str),
    /// A variable in a value did not expand.
    #[error(transparent)]
    Expand(#[from] ExpandError),
    /// A variable in `from`.
    #[error("'from' doesn't support variable expansion, define alias stage instead")]
    VariableInFrom,
    /// A word without `=` that needs one.
    #[error("invalid field '{0}' must be a key=value pair")]
    NotAPair(String),
    /// An unknown type.
    #[error("unsupported mount type \"{value}\"")]
    Kind {
        /// As written.
        value: String,
        /// Something similar.
        near: Option<&'static str>,
    },
    /// An unknown `sharing`.
    #[error("unsupported sharing value \"{value}\"")]
    Sharing {
        /// As written.
        value: String,
        /// Something similar.
        near: Option<&'static str>,
    },
    /// An unknown key.
    #[error("unexpected key '{key}' in '{field}'")]
    Key {
        /// The key.
        key: String,
        /// The whole field.
        field: String,
        /// Something similar.
        near: Option<&'static str>,
    },
    /// A key that this type of mount does not have.
    #[error("unexpected key '{key}' for mount type '{}'", .kind.name())]
    KeyOfOtherKind {
        /// The key.
        key: String,
        /// The type.
        kind: MountKind,
        /// The types that have it.
        kinds: &'static [MountKind],
    },
    /// A value that is none of its key.
    #[error("invalid value for {key}: {value}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// Something similar.
        near: Option<&'static str>,
    },
    /// A combination that makes no sense.
    #[error("{0}")]
    Combination(&'static str),
    /// A device with two names.
    #[error("device name already set to {0}")]
    SecondName(String),
}

/// What is wrong with a mount or a device, and which bytes of its value that is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{error}")]
pub struct MountProblem {
    /// What is wrong.
    pub error: MountError,
    /// The part that it concerns.
    pub range: Range<usize>,
}

impl MountProblem {
    /// Returns the finding about the value of a flag.
    pub fn diagnostic(&self, code: &'static str, value: &Word) -> Diagnostic {
        let found = Diagnostic::error(code, value.part(self.range.clone()), self.error.to_string());
        match &self.error {
            MountError::Kind { near, .. }
            | MountError::Sharing { near, .. }
            | MountError::Key { near, .. }
            | MountError::Value { near, .. } => found.with_suggestion(near.map(ToOwned::to_owned)),
            MountError::KeyOfOtherKind { key, kinds, .. } => {
                let kinds: Vec<String> = kinds.iter().map(|kind| format!("`type={}`", kind.name())).collect();
                found.with_help(format!("`{key}` is for {}", kinds.join(" and ")))
            }
            MountError::VariableInFrom => found
                .with_help("define a stage with FROM using an ARG from global scope, and name that stage"),
            MountError::Expand(_)
            | MountError::Csv(_)
            | MountError::NotAPair(_)
            | MountError::Combination(_)
            | MountError::SecondName(_) => found,
        }
    }
}

/// Returns the `from` of a mount before expansion, and the bytes in which it stands.
///
/// # Errors
/// For wrong quotes and for a variable in `from`; everything else is for [`parse_mount`].
pub fn source_stage(text: &str) -> Result<Option<(String, Range<usize>)>, MountProblem> {
    let mut from = None;
    for field in fields(text)? {
        let (key, Some(value)) = field.cut() else { continue };
        if words::lower(key) == "from" {
            let range = field.value_range();
            if value.find('$').is_some_and(|at| at + 1 != value.len()) {
                return Err(MountProblem { error: MountError::VariableInFrom, range });
            }
            from = Some((value.to_owned(), range));
        }
    }
    Ok(from.filter(|(from, _)| !from.is_empty()))
}

/// Parses the value of `--mount`; `expand` is applied to the value of every key.
///
/// # Errors
/// For the first thing that is wrong.
pub fn parse_mount(
    text: &str,
    expand: &mut dyn FnMut(&str) -> Result<String, Misread>,
) -> Result<Mount, MountProblem> {
    let mut mount = Mount::default();
    let mut read_only = None;
    let mut places: Vec<(String, Range<usize>)> = Vec::new();
    for field in fields(text)? {
        let (key, value) = field.cut();
        let key = words::lower(key);
        let value = value.map(|value| expand(value).map_err(|misread| field.misread(misread))).transpose()?;
        let result = match (key.as_str(), value) {
            ("readonly" | "ro", value) => flag(&key, value).map(|on| read_only = Some(on)),
            ("readwrite" | "rw", value) => flag(&key, value).map(|on| read_only = Some(!on)),
            ("required", value) => only_for(&key, mount.kind, &[MountKind::Secret, MountKind::Ssh])
                .and_then(|()| flag(&key, value))
                .map(|on| mount.is_required = on),
            (_, None) => Err(MountError::NotAPair(field.text.clone())),
            (_, Some(value)) => mount.set(&key, value, &field.text),
        };
        result.map_err(|error| field.problem(error))?;
        places.push((key, field.key_range()));
    }
    let usually_read_only = !matches!(mount.kind, MountKind::Cache | MountKind::Tmpfs);
    mount.is_read_only = read_only.unwrap_or(usually_read_only);
    mount.check().map_err(|error| {
        let named = match &error {
            MountError::KeyOfOtherKind { key, .. } => places.iter().rev().find(|(known, _)| known == key),
            _ => None,
        };
        let range = named.map_or(0..text.len(), |(_, range)| range.clone());
        MountProblem { error, range }
    })?;
    Ok(mount)
}

impl Mount {
    fn set(&mut self, key: &str, value: String, field: &str) -> Result<(), MountError> {
        let filled = |value: String| Some(value).filter(|value| !value.is_empty());
        match key {
            "type" => self.kind = kind(value)?,
            "from" => self.from = filled(value),
            "source" | "src" => self.source = filled(value),
            "target" | "dst" | "destination" => self.target = filled(value),
            "size" => {
                only_for(key, self.kind, &[MountKind::Tmpfs])?;
                self.size_bytes_max = Some(size(&value).ok_or_else(|| wrong(key, &value))?);
            }
            "id" => self.id = filled(value),
            "sharing" => self.sharing = Some(sharing(value)?),
            "mode" => self.mode = Some(number(&value, 8).ok_or_else(|| wrong(key, &value))?),
            "uid" => self.uid = Some(number(&value, 10).ok_or_else(|| wrong(key, &value))?),
            "gid" => self.gid = Some(number(&value, 10).ok_or_else(|| wrong(key, &value))?),
            "env" => self.env = Some(value),
            _ => {
                let near = suggest::nearest(key, KEYS);
                return Err(MountError::Key { key: key.to_owned(), field: field.to_owned(), near });
            }
        }
        Ok(())
    }

    /// Checks what can be seen only at the end, as keys may stand in any order.
    fn check(&self) -> Result<(), MountError> {
        let owners = [("mode", self.mode), ("uid", self.uid), ("gid", self.gid)];
        for (key, value) in owners {
            if value.is_some() {
                only_for(key, self.kind, &[MountKind::Secret, MountKind::Ssh, MountKind::Cache])?;
            }
        }
        if self.kind == MountKind::Secret {
            self.check_secret()?;
        }
        if self.sharing.is_some() {
            only_for("sharing", self.kind, &[MountKind::Cache])?;
        }
        if self.env.is_some() {
            only_for("env", self.kind, &[MountKind::Secret])?;
        }
        Ok(())
    }

    fn check_secret(&self) -> Result<(), MountError> {
        let problem = if self.from.is_some() {
            "secret mount should not have a from"
        } else if self.sharing.is_some() {
            "secret mount should not define sharing"
        } else if self.source.is_none() && self.target.is_none() && self.id.is_none() {
            "invalid secret mount. one of source, target required"
        } else if self.source.is_some() && self.id.is_some() {
            "both source and id can't be set"
        } else {
            return Ok(());
        };
        Err(MountError::Combination(problem))
    }
}

/// Parses the value of `--device`: its name, and whether it is required.
///
/// # Errors
/// For the first thing that is wrong.
pub fn parse_device(text: &str) -> Result<(String, bool), MountProblem> {
    let mut name: Option<String> = None;
    let mut is_required = false;
    for field in fields(text)? {
        let (key, value) = field.cut();
        let (key, value) = (words::lower(key), value.map(ToOwned::to_owned));
        let result = match (key.as_str(), value, &name) {
            ("required", value, _) => flag("required", value).map(|on| is_required = on),
            ("name", Some(value), None) => {
                name = Some(value);
                Ok(())
            }
            ("name", Some(_), Some(name)) => Err(MountError::SecondName(name.clone())),
            (_, _, None) => {
                name = Some(field.text.clone());
                Ok(())
            }
            (_, None, Some(_)) => Err(MountError::NotAPair(field.text.clone())),
            (_, Some(_), Some(_)) => {
                let near = suggest::nearest(&key, ["name", "required"]);
                Err(MountError::Key { key, field: field.text.clone(), near })
            }
        };
        result.map_err(|error| field.problem(error))?;
    }
    Ok((name.unwrap_or_default(), is_required))
}

fn only_for(key: &str, kind: MountKind, kinds: &'static [MountKind]) -> Result<(), MountError> {
    if kinds.contains(&kind) {
        return Ok(());
    }
    Err(MountError::KeyOfOtherKind { key: key.to_owned(), kind, kinds })
}

fn wrong(key: &str, value: &str) -> MountError {
    MountError::Value { key: key.to_owned(), value: value.to_owned(), near: None }
}

fn kind(value: String) -> Result<MountKind, MountError> {
    let lower = words::lower(&value);
    let known = KINDS.iter().find(|(name, _)| *name == lower);
    let near = suggest::nearest(&value, KINDS.map(|(name, _)| name));
    known.map(|(_, kind)| *kind).ok_or(MountError::Kind { value, near })
}

fn sharing(value: String) -> Result<Sharing, MountError> {
    let lower = words::lower(&value);
    let known = SHARINGS.iter().find(|(name, _)| *name == lower);
    let near = suggest::nearest(&value, SHARINGS.map(|(name, _)| name));
    known.map(|(_, sharing)| *sharing).ok_or(MountError::Sharing { value, near })
}

/// Reads a boolean as Go's `strconv.ParseBool`; no value means yes.
fn flag(key: &str, value: Option<String>) -> Result<bool, MountError> {
    match value.as_deref() {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => {
            let near = suggest::nearest(other, ["true", "false"]);
            Err(MountError::Value { key: key.to_owned(), value: other.to_owned(), near })
        }
    }
}

fn number(value: &str, radix: u32) -> Option<u32> {
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| u32::from_str_radix(value, radix).ok())?
}

/// Reads a size such as `10m`, `1.5GiB` or `512`; units count in steps of 1024.
fn size(text: &str) -> Option<u64> {
    let last = text.rfind(|c: char| c.is_ascii_digit() || matches!(c, '.' | ' '))?;
    let suffix = text[last + 1..].to_lowercase();
    let number: f64 = text[..=last].strip_suffix(' ').unwrap_or(&text[..=last]).parse().ok()?;
    let mut letters = suffix.chars();
    let unit = letters.next();
    let rest = letters.as_str();
    let power = match unit {
        None | Some('b') => 0,
        Some('k') => 1,
        Some('m') => 2,
        Some('g') => 3,
        Some('t') => 4,
        Some('p') => 5,
        Some(_) => return None,
    };
    let is_complete = match unit {
        None | Some('b') => rest.is_empty(),
        _ => matches!(rest, "" | "b" | "ib"),
    };
    let bytes = number * 1024f64.powi(power);
    if !is_complete || !(0.0..9.2e18).contains(&bytes) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked above")]
    Some(bytes as u64)
}

#[cfg(test)]
mod tests;
