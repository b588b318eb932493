//! [`ArchivePath`]: the name of an entry in a tree, a layer or an archive.
//!
//! A value of this type is always relative, made of raw bytes, and free of empty, `.` and `..` components; so joining it to a
//! directory cannot leave that directory by its text alone. Unaware of what the name stands for.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// The longest name, in bytes, that a layer may hold: far above what a kernel accepts in one call, far below what hurts.
pub const PATH_BYTES_MAX: usize = 64 * 1024;

/// A relative path of raw bytes without empty, `.` or `..` components; the empty path is the root.
///
/// The order is bytewise by components, so a directory stands right before everything below it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ArchivePath(Arc<[u8]>);

/// Says yes or no to a path, of which it is also told whether it is a directory's. Called from several threads.
pub type PathMatcher<'a> = dyn Fn(&ArchivePath, bool) -> bool + Sync + 'a;

/// A name that is not an [`ArchivePath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A `..` component that would leave the root, or any where none may be.
    #[error("name `{name}` climbs out of its directory by `..`")]
    Climbs {
        /// The name as given, escaped.
        name: String,
    },
    /// An absolute name where a relative one is needed, or an empty or `.` component.
    #[error("name `{name}` is not in its plain form")]
    NotPlain {
        /// The name as given, escaped.
        name: String,
    },
    /// A NUL byte.
    #[error("name `{name}` contains a NUL byte")]
    Nul {
        /// The name as given, escaped.
        name: String,
    },
    /// Longer than [`PATH_BYTES_MAX`].
    #[error("name beginning with `{beginning}` is {length} bytes long, more than {PATH_BYTES_MAX}")]
    TooLong {
        /// The first bytes, escaped.
        beginning: String,
        /// How long it is.
        length: usize,
    },
}

impl ArchivePath {
    /// Returns the root, the empty path.
    pub fn root() -> Self {
        Self(Arc::from(&[][..]))
    }

    /// Takes `bytes` that are already in plain form.
    ///
    /// # Errors
    /// Says what is not plain: absolute, empty component, `.`, `..`, NUL, too long.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        check_bytes(bytes)?;
        if bytes.is_empty() {
            return Ok(Self::root());
        }
        for component in bytes.split(|byte| *byte == b'/') {
            match component {
                b".." => return Err(PathError::Climbs { name: escape(bytes) }),
                b"" | b"." => return Err(PathError::NotPlain { name: escape(bytes) }),
                _ => {}
            }
        }
        Ok(Self(Arc::from(bytes)))
    }

    /// Cleans the name of an archive member: leading `/`, `.` and repeated `/` go, `a/../b` becomes `b`.
    ///
    /// # Errors
    /// [`PathError::Climbs`] when `..` would leave the root.
    pub fn clean(bytes: &[u8]) -> Result<Self, PathError> {
        normalize(bytes, |_| Err(PathError::Climbs { name: escape(bytes) }))
    }

    /// Cleans a path written by a user: like [`Self::clean`], but `..` at the root stays at the root, as a kernel has it.
    ///
    /// # Errors
    /// A NUL byte or an absurd length.
    pub fn clamp(bytes: &[u8]) -> Result<Self, PathError> {
        normalize(bytes, |_| Ok(()))
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the path for file system calls *beneath a directory handle*. The root is `.`.
    pub fn as_path(&self) -> &Path {
        if self.is_root() { Path::new(".") } else { Path::new(OsStr::from_bytes(&self.0)) }
    }

    /// Tells whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the last component; none for the root.
    pub fn file_name(&self) -> Option<&[u8]> {
        self.0.rsplit(|byte| *byte == b'/').next().filter(|name| !name.is_empty())
    }

    /// Returns the directory this lies in; none for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(Arc::from(&self.0[..end])))
    }

    /// Returns all ancestors, the root first, this path not included.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> + '_ {
        let root = (!self.is_root()).then(Self::root);
        let slashes = self.0.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        root.into_iter().chain(slashes.map(|(end, _)| Self(Arc::from(&self.0[..end]))))
    }

    /// Returns the components in order.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|component| !component.is_empty())
    }

    /// Appends one component.
    ///
    /// # Errors
    /// When `name` is not one plain component.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        check_component(name)?;
        Ok(self.concat(name))
    }

    /// Appends a component that [`check_component`] found good.
    pub(crate) fn join_checked(&self, component: &[u8]) -> Self {
        self.concat(component)
    }

    /// Appends another path.
    pub fn join_path(&self, other: &Self) -> Self {
        if other.is_root() { self.clone() } else { self.concat(&other.0) }
    }

    /// Tells whether this is `ancestor` or lies below it.
    pub fn is_within(&self, ancestor: &Self) -> bool {
        ancestor.is_root()
            || self.0.strip_prefix(&*ancestor.0).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    }

    /// Tells whether this lies directly in `directory`.
    pub fn is_child_of(&self, directory: &Self) -> bool {
        let rest = if directory.is_root() {
            Some(&*self.0)
        } else {
            self.0.strip_prefix(&*directory.0).and_then(|rest| rest.strip_prefix(b"/"))
        };
        rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(&b'/'))
    }

    /// Returns the rest of this path below `ancestor`, or none when it does not lie there. The rest of `ancestor` is the root.
    pub fn strip_prefix(&self, ancestor: &Self) -> Option<Self> {
        if ancestor.is_root() {
            return Some(self.clone());
        }
        self.bytes_below(ancestor).map(|rest| Self(Arc::from(rest)))
    }

    /// Returns the bytes of [`Self::strip_prefix`].
    pub fn bytes_below(&self, ancestor: &Self) -> Option<&[u8]> {
        if ancestor.is_root() {
            return Some(&self.0);
        }
        match self.0.strip_prefix(&*ancestor.0)? {
            b"" => Some(b""),
            [b'/', rest @ ..] => Some(rest),
            _ => None,
        }
    }

    fn concat(&self, rest: &[u8]) -> Self {
        if self.is_root() {
            return Self(Arc::from(rest));
        }
        // Usual names are put together on the stack, so that there is one allocation and not two.
        let mut short = [0; 256];
        let length = self.0.len() + 1 + rest.len();
        let mut long = Vec::new();
        let bytes = if length <= short.len() {
            &mut short[..length]
        } else {
            long.resize(length, 0);
            &mut long[..]
        };
        bytes[..self.0.len()].copy_from_slice(&self.0);
        bytes[self.0.len()] = b'/';
        bytes[self.0.len() + 1..].copy_from_slice(rest);
        Self(Arc::from(&*bytes))
    }
}

/// Tells whether `name` can be a component of a path.
pub(crate) fn check_component(name: &[u8]) -> Result<(), PathError> {
    check_bytes(name)?;
    if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') {
        return Err(PathError::NotPlain { name: escape(name) });
    }
    Ok(())
}

fn check_bytes(bytes: &[u8]) -> Result<(), PathError> {
    if bytes.len() > PATH_BYTES_MAX {
        return Err(PathError::TooLong { beginning: escape(&bytes[..80]), length: bytes.len() });
    }
    if bytes.contains(&0) {
        return Err(PathError::Nul { name: escape(bytes) });
    }
    Ok(())
}

fn normalize(
    bytes: &[u8],
    at_root: impl Fn(&[u8]) -> Result<(), PathError>,
) -> Result<ArchivePath, PathError> {
    check_bytes(bytes)?;
    let mut plain: Vec<u8> = Vec::with_capacity(bytes.len());
    for component in bytes.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." if plain.is_empty() => at_root(component)?,
            b".." => plain.truncate(plain.iter().rposition(|byte| *byte == b'/').unwrap_or(0)),
            name => {
                if !plain.is_empty() {
                    plain.push(b'/');
                }
                plain.extend_from_slice(name);
            }
        }
    }
    Ok(ArchivePath(Arc::from(plain)))
}

impl Ord for ArchivePath {
    fn cmp(&self, other: &Self) -> Ordering {
        // `/` sorts below every other byte, which makes plain comparison a comparison by components.
        let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
        let (left, right) = (&*self.0, &*other.0);
        let at = common_length(left, right);
        match (left.get(at), right.get(at)) {
            (Some(left), Some(right)) => rank(*left).cmp(&rank(*right)),
            _ => left.len().cmp(&right.len()),
        }
    }
}

/// How many bytes both begin with; eight at a time, because trees compare names all day.
fn common_length(left: &[u8], right: &[u8]) -> usize {
    let ((left_words, _), (right_words, _)) = (left.as_chunks::<8>(), right.as_chunks::<8>());
    let mut at = 0;
    for (left, right) in left_words.iter().zip(right_words) {
        let different = u64::from_le_bytes(*left) ^ u64::from_le_bytes(*right);
        if different != 0 {
            return at + different.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = left[at..].iter().zip(&right[at..]);
    at + rest.take_while(|(left, right)| left == right).count()
}

impl PartialOrd for ArchivePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ArchivePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&if self.is_root() { ".".to_owned() } else { escape(&self.0) })
    }
}

impl fmt::Debug for ArchivePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{self}`")
    }
}

/// Returns `bytes` as text for people: UTF-8 as it is, control characters and stray bytes as `\xNN`.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                text.extend(character.to_string().bytes().map(|byte| format!("\\x{byte:02x}")));
            } else {
                text.push(character);
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ArchivePath {
        ArchivePath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn only_plain_relative_names_are_paths() {
        for bad in ["/", "/a", "a//b", "a/", "./a", "a/.", "..", "a/..", "../a", "a\0b"] {
            assert!(ArchivePath::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        for good in ["", "a", "a/b", "...", "a/..b", "\u{fc}", " "] {
            assert_eq!(path(good).as_bytes(), good.as_bytes());
        }
    }

    #[test]
    fn names_in_archives_are_cleaned_and_may_not_climb() {
        for (raw, plain) in
            [("/abs/file", "abs/file"), ("./", ""), (".//b", "b"), ("./c/../d", "d"), ("a/b/../../c", "c")]
        {
            assert_eq!(ArchivePath::clean(raw.as_bytes()).unwrap(), path(plain), "{raw}");
        }
        for raw in ["..", "../a", "a/../../b", "/.."] {
            assert!(matches!(ArchivePath::clean(raw.as_bytes()), Err(PathError::Climbs { .. })), "{raw}");
            assert!(ArchivePath::clamp(raw.as_bytes()).is_ok());
        }
        assert_eq!(ArchivePath::clamp(b"/x/../../up").unwrap(), path("up"));
    }

    #[test]
    fn a_directory_stands_right_before_what_is_below_it() {
        let mut names = ["a-b", "a/b/c", "a", "a/b", "b", "a.b", "", "a/b-c"].map(path);
        names.sort();
        assert_eq!(
            names.map(|name| name.to_string()),
            [".", "a", "a/b", "a/b/c", "a/b-c", "a-b", "a.b", "b"]
        );
    }

    #[test]
    fn parts_fit_together() {
        assert_eq!(path("a/b/c").ancestors().collect::<Vec<_>>(), [path(""), path("a"), path("a/b")]);
        assert_eq!(path("").ancestors().count(), 0);
        assert_eq!(path("a/b").strip_prefix(&path("a")), Some(path("b")));
        assert_eq!(path("ab").strip_prefix(&path("a")), None);
        assert_eq!(path("a").parent(), Some(path("")));
        assert_eq!(path("a/b").file_name(), Some(&b"b"[..]));
    }

    #[test]
    fn strange_bytes_are_shown_escaped() {
        assert_eq!(escape(b"a\nb\xffc"), "a\\x0ab\\xffc");
    }
}
