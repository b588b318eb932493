//! The files that a step selected of a context, kept small: paths without what they share with the one before, and of contents the
//! first bytes of the digest. The digest of the selection says whether something changed; the list says what.
//!
//! A list is in the order of its paths' bytes, so two of them are compared side by side, in one pass and without a map: there may
//! be a hundred thousand files, of which one changed.

use std::cmp::Ordering;

use kiln_layer::{ArchivePath, ContentDigest, Entry, Kind};
use kiln_oci::Digest;
use kiln_store::{Lookup, Store, StoreError};
use serde::{Deserialize, Serialize};

use super::Change;

const SELECTED: &str = "selected";
/// Version of the records' form; another one counts as none.
const FORMAT: u32 = 2;
/// So much of a digest is kept: enough to tell contents apart, which nobody chooses to deceive themselves.
const DIGEST_BYTES: usize = 8;
/// So much of it is shown.
const SHOWN_BYTES: usize = 4;
/// So many files are named.
const NAMED_MAX: usize = 8;

/// The files that a step selected, in the order of their paths' bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileList {
    format: u32,
    selection: Digest,
    files: Vec<Stored>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    shared: usize,
    rest: Vec<u8>,
    file: File,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct File {
    value: Value,
    mode: u32,
    owner: (u32, u32),
    /// Of the attributes; zero where there are none.
    attributes: u64,
}

/// What a file is, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Value {
    /// The first bytes of its digest; nothing of a file that nobody has read.
    File(Option<[u8; DIGEST_BYTES]>),
    Directory,
    Symlink(Vec<u8>),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
}

impl FileList {
    /// Lists what a step selected.
    pub fn new(selection: Digest, entries: &[(&ArchivePath, &Entry)]) -> Self {
        let mut entries: Vec<(&[u8], &Entry)> =
            entries.iter().map(|(path, entry)| (path.as_bytes(), *entry)).collect();
        // It mostly is in order, which costs next to nothing then.
        entries.sort_by_key(|(path, _)| *path);
        entries.dedup_by_key(|(path, _)| *path);
        let mut before: &[u8] = b"";
        let files = entries.into_iter().map(|(path, entry)| {
            let shared = before.iter().zip(path).take_while(|(one, other)| one == other).count();
            before = path;
            Stored { shared, rest: path[shared..].to_vec(), file: File::of(entry) }
        });
        Self { format: FORMAT, selection, files: files.collect() }
    }

    /// Keeps the list under a key.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn keep(&self, store: &Store, key: &Digest) -> Result<(), StoreError> {
        let payload = postcard::to_stdvec(self).expect("records serialize to memory");
        store.records().put(SELECTED, key, &payload, &[])
    }

    /// Returns the list under a key, if it is still that of a selection.
    pub fn of(store: &Store, key: &Digest, selection: Digest) -> Option<Self> {
        // What cannot be read is not remembered.
        let record = store.records().get(SELECTED, key).ok().and_then(Lookup::hit)?;
        let list: Self = postcard::from_bytes(&record.payload).ok()?;
        (list.format == FORMAT && list.selection == selection).then_some(list)
    }

    /// Returns what is another in `after`: what is gone, what came, and what changed, each in the order of the paths.
    pub fn changes_to(&self, after: &Self) -> Vec<Change> {
        let (mut gone, mut come, mut changed, mut unnamed) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let (mut one, mut other) = (Walk::new(self), Walk::new(after));
        loop {
            let order = match (one.file(), other.file()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(was), Some(is)) => {
                    let order = one.path.cmp(&other.path);
                    match order == Ordering::Equal && was != is {
                        true if changed.len() < NAMED_MAX => {
                            changed.extend(was.changes_to(is, &shown(&one.path)));
                        }
                        true => unnamed += 1,
                        false => {}
                    }
                    order
                }
            };
            if order.is_lt() {
                gone.extend(one.here());
            }
            if order.is_gt() {
                come.extend(other.here());
            }
            if order.is_le() {
                one.step();
            }
            if order.is_ge() {
                other.step();
            }
        }
        let mut changes = Vec::new();
        if let ([(old, was)], [(new, is)]) = (&gone[..], &come[..])
            && was == is
        {
            changes.push(change("name of file".to_owned(), Some(shown(old)), Some(shown(new))));
        } else {
            changes.extend(gone.iter().map(|(path, file)| change(shown(path), Some(file.noun()), None)));
            changes.extend(come.iter().map(|(path, file)| change(shown(path), None, Some(file.noun()))));
        }
        changes.extend(changed);
        let more = unnamed + changes.len().saturating_sub(NAMED_MAX);
        if more > 0 {
            changes.truncate(NAMED_MAX);
            changes.push(change("files besides".to_owned(), None, Some(format!("{more} more"))));
        }
        changes
    }
}

/// A way through a list that knows whole paths.
struct Walk<'a> {
    left: std::slice::Iter<'a, Stored>,
    path: Vec<u8>,
}

impl<'a> Walk<'a> {
    fn new(list: &'a FileList) -> Self {
        let mut walk = Self { left: list.files.iter(), path: Vec::new() };
        walk.look();
        walk
    }

    /// The file that it is at.
    fn file(&self) -> Option<&'a File> {
        self.left.as_slice().first().map(|stored| &stored.file)
    }

    /// The same with its path.
    fn here(&self) -> Option<(Vec<u8>, &'a File)> {
        Some((self.path.clone(), self.file()?))
    }

    fn step(&mut self) {
        self.left.next();
        self.look();
    }

    fn look(&mut self) {
        if let Some(stored) = self.left.as_slice().first() {
            self.path.truncate(stored.shared);
            self.path.extend_from_slice(&stored.rest);
        }
    }
}

impl File {
    fn of(entry: &Entry) -> Self {
        let metadata = &entry.metadata;
        let mut attributes = Vec::new();
        for (name, value) in metadata.xattrs.iter() {
            for part in [name, value] {
                attributes.extend_from_slice(&(part.len() as u64).to_le_bytes());
                attributes.extend_from_slice(part);
            }
        }
        let value = match &entry.kind {
            Kind::File(content) => Value::File(content.digest.as_ref().map(first_bytes)),
            Kind::Symlink(target) => Value::Symlink(target.to_vec()),
            Kind::CharDevice(device) => Value::CharDevice(device.major, device.minor),
            Kind::BlockDevice(device) => Value::BlockDevice(device.major, device.minor),
            Kind::Directory => Value::Directory,
            Kind::Fifo => Value::Fifo,
        };
        Self {
            value,
            mode: metadata.mode,
            owner: (metadata.uid, metadata.gid),
            attributes: match attributes.as_slice() {
                [] => 0,
                attributes => u64::from_le_bytes(first_bytes(&ContentDigest::of(attributes))),
            },
        }
    }

    fn noun(&self) -> String {
        self.value.noun().to_owned()
    }

    fn changes_to(&self, after: &Self, path: &str) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut add = |what: &str, before: String, after: String| {
            changes.push(change(format!("{path} {what}"), Some(before), Some(after)));
        };
        if self.value.noun() != after.value.noun() {
            add("kind", self.noun(), after.noun());
            return changes;
        }
        if self.value != after.value {
            let what = match self.value {
                Value::Symlink(_) => "link target",
                Value::File(_) => "content",
                _ => "device",
            };
            add(what, self.value.shown(), after.value.shown());
        }
        if self.mode != after.mode {
            add("mode", format!("{:04o}", self.mode), format!("{:04o}", after.mode));
        }
        if self.owner != after.owner {
            let owner = |(user, group): (u32, u32)| format!("{user}:{group}");
            add("owner", owner(self.owner), owner(after.owner));
        }
        if self.attributes != after.attributes {
            changes.push(change(format!("{path} attributes"), None, None));
        }
        changes
    }
}

impl Value {
    fn noun(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Directory => "directory",
            Self::Symlink(_) => "symlink",
            Self::CharDevice(..) => "character device",
            Self::BlockDevice(..) => "block device",
            Self::Fifo => "fifo",
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::File(digest) => {
                let bytes = digest.iter().flat_map(|digest| &digest[..SHOWN_BYTES]);
                format!("{}…", bytes.map(|byte| format!("{byte:02x}")).collect::<String>())
            }
            Self::Symlink(target) => shown(target),
            Self::CharDevice(major, minor) | Self::BlockDevice(major, minor) => format!("{major}:{minor}"),
            Self::Directory | Self::Fifo => String::new(),
        }
    }
}

fn first_bytes(digest: &ContentDigest) -> [u8; DIGEST_BYTES] {
    digest.as_bytes()[..DIGEST_BYTES].try_into().expect("a digest is longer")
}

fn shown(path: &[u8]) -> String {
    if path.is_empty() { "/".to_owned() } else { kiln_layer::escape(path) }
}

fn change(what: String, before: Option<String>, after: Option<String>) -> Change {
    Change { what, before, after }
}

#[cfg(test)]
mod tests {
    use kiln_layer::{Content, Metadata};

    use super::*;

    /// A file that two lists may have: its path, content and mode.
    type Row = (&'static str, &'static str, u32);

    fn list(rows: &[Row]) -> FileList {
        let entries: Vec<(ArchivePath, Entry)> = rows
            .iter()
            .map(|(path, text, mode)| {
                let mut content = Content::inline(text.as_bytes().to_vec());
                content.digest = Some(ContentDigest::of(text.as_bytes()));
                let path = ArchivePath::parse(path.as_bytes()).unwrap();
                (path, Entry::file(Metadata::with_mode(*mode), content))
            })
            .collect();
        let entries: Vec<_> = entries.iter().map(|(path, entry)| (path, entry)).collect();
        FileList::new(Digest::of(b"selection"), &entries)
    }

    #[test]
    fn files_that_differ_are_named_and_of_many_the_first() {
        let base = [("a/b", "1", 0o644), ("a/c", "2", 0o644)];
        for (after, expected) in [
            (&[("a/b", "1", 0o644), ("a/c", "2", 0o755)][..], "a/c mode 0644→0755"),
            (&[("a/b", "1", 0o644)], "a/c removed: it was file"),
            (&[("a/b", "1", 0o644), ("a/c", "2", 0o644), ("d\ne", "3", 0o644)], "d\\x0ae added: file"),
            (&[("a/b", "1", 0o644), ("x", "2", 0o644)], "name of file a/c→x"),
            (&base, ""),
        ] {
            let changes = list(&base).changes_to(&list(after));
            assert_eq!(changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "), expected);
        }
        let many = |mode| -> Vec<Row> {
            ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"].map(|name| (name, "", mode)).to_vec()
        };
        for before in [&[][..], &many(1)] {
            let changes = list(before).changes_to(&list(&many(0)));
            assert_eq!(changes.len(), NAMED_MAX + 1);
            assert_eq!(changes.last().unwrap().to_string(), "files besides added: 2 more");
        }
    }

    #[test]
    fn the_order_of_a_selection_does_not_matter() {
        // In a tree `a/b` stands before `a.b`, and in the order of bytes after it.
        let (one, other): (&[Row], &[Row]) =
            (&[("a/b", "1", 0), ("a/c", "1", 0), ("a.b", "1", 0)], &[("a.b", "1", 0), ("a/c", "1", 0)]);
        assert_eq!(list(one).changes_to(&list(other))[0].to_string(), "a/b removed: it was file");
        assert_eq!(list(other).changes_to(&list(one))[0].to_string(), "a/b added: file");
        assert_eq!(list(one).changes_to(&list(&[one[2], one[0], one[1], one[0]])), []);
    }

    #[test]
    fn a_list_is_kept_for_its_selection_only() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (kept, key) = (list(&[("a/b", "1", 0o644), ("a/c", "2", 0o644)]), Digest::of(b"key"));
        kept.keep(&store, &key).unwrap();
        assert_eq!(FileList::of(&store, &key, Digest::of(b"selection")), Some(kept));
        assert_eq!(FileList::of(&store, &key, Digest::of(b"another")), None);
    }
}
