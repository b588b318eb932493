//! Flattens layers into one filesystem: of each layer the whiteouts first, then the entries.

use std::collections::{BTreeMap, HashMap};

use super::layer::{Kind, LayerEntry};

/// What a path of the flattened filesystem shows. Names that share an inode share its index.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// What it is; never a hard link.
    pub(crate) kind: Kind,
    /// Permission bits with set-id and sticky.
    pub(crate) mode: u32,
    /// The owner.
    pub(crate) uid: u64,
    /// The group.
    pub(crate) gid: u64,
    /// Whole seconds.
    pub(crate) mtime: i64,
    /// `security.capability`, in base64.
    pub(crate) capability: Option<String>,
    /// All extended attributes.
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A flattened filesystem.
#[derive(Clone)]
pub(crate) struct Flat {
    inodes: Vec<Node>,
    names: BTreeMap<Vec<u8>, usize>,
}

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What a whiteout entry takes away.
pub(crate) enum Whiteout {
    /// This path and all below it.
    Path(Vec<u8>),
    /// Everything below this directory that older layers brought.
    Opaque(Vec<u8>),
}

/// Returns what an entry of this name takes away, if it is a whiteout.
pub(crate) fn whiteout(path: &[u8]) -> Option<Whiteout> {
    let (parent, name) = split(path);
    if name == OPAQUE {
        return Some(Whiteout::Opaque(parent.to_vec()));
    }
    let hidden = name.strip_prefix(WHITEOUT)?;
    Some(Whiteout::Path(if parent.is_empty() { hidden.to_vec() } else { [parent, b"/", hidden].concat() }))
}

/// Returns the parent (empty for the root) and the last name of a path.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(position) => (&path[..position], &path[position + 1..]),
        None => (b"", path),
    }
}

impl Flat {
    /// Returns a filesystem with nothing but its root.
    pub(crate) fn new() -> Self {
        let mut flat = Self { inodes: Vec::new(), names: BTreeMap::new() };
        flat.set(Vec::new(), missing_directory());
        flat
    }

    /// Lays one layer over what is there.
    pub(crate) fn apply(&mut self, entries: &[LayerEntry]) {
        for entry in entries {
            match whiteout(&entry.path) {
                Some(Whiteout::Path(path)) => self.remove(&path),
                Some(Whiteout::Opaque(path)) => self.remove_below(&path),
                None => {}
            }
        }
        for entry in entries.iter().filter(|entry| whiteout(&entry.path).is_none()) {
            self.put(entry);
        }
    }

    fn put(&mut self, entry: &LayerEntry) {
        self.make_parents(&entry.path);
        let LayerEntry { path, kind, mode, uid, gid, mtime, capability, xattrs } = entry.clone();
        let mut node = Node { kind, mode, uid, gid, mtime, capability, xattrs };
        if let Kind::Hardlink(target) = &node.kind {
            let shown = || String::from_utf8_lossy(&entry.path).into_owned();
            let inode = *self.names.get(target).unwrap_or_else(|| panic!("hard link {} to nothing", shown()));
            // The header of a link counts for the inode; the content is the target's.
            node.kind = self.inodes[inode].kind.clone();
            self.inodes[inode] = node;
            self.names.insert(path, inode);
            return;
        }
        if node.kind != Kind::Directory || self.get(&path).is_some_and(|old| old.kind != Kind::Directory) {
            self.remove(&path);
        }
        self.set(path, node);
    }

    fn make_parents(&mut self, path: &[u8]) {
        for (position, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let parent = &path[..position];
            if self.get(parent).is_none_or(|node| node.kind != Kind::Directory) {
                self.remove(parent);
                self.set(parent.to_vec(), missing_directory());
            }
        }
    }

    fn set(&mut self, path: Vec<u8>, node: Node) {
        self.inodes.push(node);
        self.names.insert(path, self.inodes.len() - 1);
    }

    fn remove(&mut self, path: &[u8]) {
        self.remove_below(path);
        self.names.remove(path);
    }

    fn remove_below(&mut self, path: &[u8]) {
        let prefix = if path.is_empty() { Vec::new() } else { [path, b"/"].concat() };
        let inside = |name: &Vec<u8>| !name.is_empty() && name.starts_with(&prefix);
        let names: Vec<Vec<u8>> = self
            .names
            .range(prefix.clone()..)
            .map(|(name, _)| name)
            .take_while(|name| name.starts_with(&prefix))
            .filter(|name| inside(name))
            .cloned()
            .collect();
        for name in names {
            self.names.remove(&name);
        }
    }

    /// Returns the node at a path without leading slash.
    pub(crate) fn get(&self, path: &[u8]) -> Option<&Node> {
        self.names.get(path).map(|inode| &self.inodes[*inode])
    }

    /// Returns every path with its node and, where several names share the inode, the smallest of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &Node, Option<&[u8]>)> {
        let mut groups: HashMap<usize, (&[u8], usize)> = HashMap::new();
        for (name, inode) in &self.names {
            groups.entry(*inode).or_insert((name, 0)).1 += 1;
        }
        self.names.iter().map(move |(name, inode)| {
            let group = groups.get(inode).filter(|(_, count)| *count > 1).map(|(first, _)| *first);
            (name.as_slice(), &self.inodes[*inode], group)
        })
    }
}

fn missing_directory() -> Node {
    Node {
        kind: Kind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: 0,
        capability: None,
        xattrs: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: Kind, mode: u32) -> LayerEntry {
        LayerEntry {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: 0,
            capability: None,
            xattrs: BTreeMap::new(),
        }
    }

    fn file(path: &str) -> LayerEntry {
        entry(path, Kind::File(0, "e3b0".to_owned(), None), 0o644)
    }

    fn names(flat: &Flat) -> Vec<String> {
        flat.iter().map(|(name, _, _)| String::from_utf8_lossy(name).into_owned()).collect()
    }

    #[test]
    fn whiteouts_come_before_the_entries_of_their_layer() {
        let mut flat = Flat::new();
        flat.apply(&[file("d/old"), file("d/gone"), file("dx")]);
        flat.apply(&[
            file("d/new"),
            entry("d/.wh..wh..opq", Kind::File(0, String::new(), None), 0),
            file("d/.wh.gone"),
        ]);
        assert_eq!(names(&flat), ["", "d", "d/new", "dx"]);
    }

    #[test]
    fn a_file_over_a_directory_hides_what_was_below() {
        let mut flat = Flat::new();
        flat.apply(&[file("d/inside"), file("e/inside")]);
        flat.apply(&[file("d"), entry("e", Kind::Directory, 0o700)]);
        assert_eq!(names(&flat), ["", "d", "e", "e/inside"]);
        assert_eq!(flat.get(b"e").unwrap().mode, 0o700);
    }

    #[test]
    fn hard_links_share_an_inode_and_their_header_counts() {
        let mut flat = Flat::new();
        flat.apply(&[file("b"), entry("a", Kind::Hardlink(b"b".to_vec()), 0o600)]);
        let groups: Vec<_> =
            flat.iter().map(|(_, node, group)| (node.mode, group.map(<[u8]>::to_vec))).collect();
        assert_eq!(groups, [(0o755, None), (0o600, Some(b"a".to_vec())), (0o600, Some(b"a".to_vec()))]);
    }
}
