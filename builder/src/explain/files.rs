//! The files that a step selected of a context, kept small: paths without what they share with the one before, and of contents the
//! first bytes of the digest. The digest of the selection says whether something changed; the list says what.

use std::collections::BTreeMap;

use kiln_layer::{ArchivePath, ContentDigest, Entry, Kind};
use kiln_oci::Digest;
use kiln_store::{Lookup, Store, StoreError};
use serde::{Deserialize, Serialize};

use super::Change;

const SELECTED: &str = "selected";
/// Version of the records' form; another one counts as none.
const FORMAT: u32 = 1;
/// So much of a digest is kept: enough to tell contents apart, which nobody chooses to deceive themselves.
const DIGEST_BYTES: usize = 8;
/// So many files are named.
const NAMED_MAX: usize = 8;

/// The files that a step selected.
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
    kind: String,
    mode: u32,
    owner: (u32, u32),
    /// Of the attributes; zero where there are none.
    attributes: u64,
    value: Vec<u8>,
}

impl FileList {
    /// Lists what a step selected.
    pub fn new(selection: Digest, entries: &[(&ArchivePath, &Entry)]) -> Self {
        let mut before: &[u8] = b"";
        let files = entries.iter().map(|(path, entry)| {
            let path = path.as_bytes();
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

    /// Returns what is another in `after`, in the order of the paths.
    pub fn changes_to(&self, after: &Self) -> Vec<Change> {
        let (before, after) = (self.by_path(), after.by_path());
        let mut changes = Vec::new();
        let gone: Vec<_> = before.iter().filter(|(path, _)| !after.contains_key(*path)).collect();
        let come: Vec<_> = after.iter().filter(|(path, _)| !before.contains_key(*path)).collect();
        if let ([(old, was)], [(new, is)]) = (&gone[..], &come[..])
            && was == is
        {
            changes.push(change("name of file".to_owned(), Some(shown(old)), Some(shown(new))));
        } else {
            changes.extend(gone.iter().map(|(path, file)| change(shown(path), Some(file.noun()), None)));
            changes.extend(come.iter().map(|(path, file)| change(shown(path), None, Some(file.noun()))));
        }
        for (path, was) in &before {
            if let Some(is) = after.get(path) {
                was.changes_to(is, &shown(path), &mut changes);
            }
        }
        let more = changes.len().saturating_sub(NAMED_MAX);
        if more > 0 {
            changes.truncate(NAMED_MAX);
            changes.push(change("files besides".to_owned(), None, Some(format!("{more} more"))));
        }
        changes
    }

    fn by_path(&self) -> BTreeMap<Vec<u8>, &File> {
        let mut path = Vec::new();
        let files = self.files.iter().map(|stored| {
            path.truncate(stored.shared);
            path.extend_from_slice(&stored.rest);
            (path.clone(), &stored.file)
        });
        files.collect()
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
            Kind::File(content) => {
                content.digest.map(|digest| digest.as_bytes()[..DIGEST_BYTES].to_vec()).unwrap_or_default()
            }
            Kind::Symlink(target) => target.to_vec(),
            Kind::CharDevice(device) | Kind::BlockDevice(device) => {
                format!("{}:{}", device.major, device.minor).into_bytes()
            }
            Kind::Directory | Kind::Fifo => Vec::new(),
        };
        Self {
            kind: entry.kind.noun().to_owned(),
            mode: metadata.mode,
            owner: (metadata.uid, metadata.gid),
            attributes: if attributes.is_empty() { 0 } else { number(&attributes) },
            value,
        }
    }

    fn noun(&self) -> String {
        self.kind.clone()
    }

    fn changes_to(&self, after: &Self, path: &str, changes: &mut Vec<Change>) {
        let mut compare = |what: &str, before: String, after: String| {
            if before != after {
                changes.push(change(format!("{path} {what}"), Some(before), Some(after)));
            }
        };
        if self.kind != after.kind {
            return compare("kind", self.noun(), after.noun());
        }
        let what = match self.kind.as_str() {
            "symlink" => "link target",
            "file" => "content",
            _ => "device",
        };
        compare(what, self.shown_value(), after.shown_value());
        compare("mode", format!("{:04o}", self.mode), format!("{:04o}", after.mode));
        let owner = |file: &Self| format!("{}:{}", file.owner.0, file.owner.1);
        compare("owner", owner(self), owner(after));
        if self.attributes != after.attributes {
            changes.push(change(format!("{path} attributes"), None, None));
        }
    }

    fn shown_value(&self) -> String {
        match self.kind.as_str() {
            "file" => {
                let hex: String = self.value.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
                format!("{hex}…")
            }
            _ => shown(&self.value),
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    let digest = ContentDigest::of(bytes);
    let first: [u8; DIGEST_BYTES] = digest.as_bytes()[..DIGEST_BYTES].try_into().expect("a digest is longer");
    u64::from_le_bytes(first)
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
        let many: Vec<Row> =
            ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"].map(|name| (name, "", 0)).to_vec();
        let changes = list(&[]).changes_to(&list(&many));
        assert_eq!(changes.len(), NAMED_MAX + 1);
        assert_eq!(changes.last().unwrap().to_string(), "files besides added: 2 more");
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
