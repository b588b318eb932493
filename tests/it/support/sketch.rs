//! Trees written in lines: put on disk, or into an archive that says what only root could put on disk.
//!
//! ```text
//! d/ @1777                  a directory, with a mode
//! f: text\n                 a file with a text;      f:: 70000   with so many bytes that do not compress well
//! s~ 5000000                a sparse file of zeros
//! l -> target               a symbolic link;         h = f       another name of a file before it
//! p|                        a named pipe;            c%1:3       a character device;    b&8:0  a block device
//! f: text @4755,7,3000000   mode, owner and group
//! f: text +user.a=b         an attribute; several may follow
//! ```
//!
//! `\n`, `\s` (a blank), `\\` and `\xNN` stand for bytes; `{x*120}` for so many of a letter. Parents come first.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// One line of a sketch.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// The name.
    pub(crate) path: Vec<u8>,
    /// What it is.
    pub(crate) kind: Kind,
    mode: Option<u32>,
    owner: (u64, u64),
    xattrs: Vec<(String, Vec<u8>)>,
}

impl Node {
    fn mode(&self) -> u32 {
        self.mode.unwrap_or(match self.kind {
            Kind::Directory => 0o755,
            Kind::Symlink(_) => 0o777,
            _ => 0o644,
        })
    }
}

/// What a line stands for.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// A directory.
    Directory,
    /// A file.
    File(Vec<u8>),
    /// A file of so many zeros.
    Sparse(u64),
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// Another name.
    Link(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A device: whether it is a character device, major, minor.
    Device(bool, u32, u32),
}

/// Reads lines; empty ones and those that begin with `#` are left out.
pub(crate) fn parse(text: &str) -> Vec<Node> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(node).collect()
}

fn node(line: &str) -> Node {
    let mut words = line.split(" +");
    let body = words.next().unwrap();
    let xattrs =
        words.map(|word| word.split_once('=').unwrap()).map(|(name, value)| (name.to_owned(), bytes(value)));
    let (body, tail) = body.split_once(" @").map_or((body, None), |(body, tail)| (body, Some(tail)));
    let numbers: Vec<&str> = tail.map(|tail| tail.split(',').collect()).unwrap_or_default();
    let owner = |at: usize| numbers.get(at).map_or(0, |number| number.parse().unwrap());
    let (path, kind) = kind(body);
    Node {
        path: bytes(path),
        kind,
        mode: numbers.first().map(|mode| u32::from_str_radix(mode, 8).unwrap()),
        owner: (owner(1), owner(2)),
        xattrs: xattrs.collect(),
    }
}

fn kind(body: &str) -> (&str, Kind) {
    let device = |is_character: bool, number: &str| {
        let (major, minor) = number.split_once(':').unwrap();
        Kind::Device(is_character, major.parse().unwrap(), minor.parse().unwrap())
    };
    if let Some((path, target)) = body.split_once(" -> ") {
        (path, Kind::Symlink(bytes(target)))
    } else if let Some((path, other)) = body.split_once(" = ") {
        (path, Kind::Link(bytes(other)))
    } else if let Some((path, size)) = body.split_once(":: ") {
        (path, Kind::File(noise(size.parse().unwrap())))
    } else if let Some((path, text)) = body.split_once(": ") {
        (path, Kind::File(bytes(text)))
    } else if let Some((path, size)) = body.split_once("~ ") {
        (path, Kind::Sparse(size.parse().unwrap()))
    } else if let Some((path, number)) = body.split_once('%') {
        (path, device(true, number))
    } else if let Some((path, number)) = body.split_once('&') {
        (path, device(false, number))
    } else if let Some(path) = body.strip_suffix('/') {
        (path, Kind::Directory)
    } else if let Some(path) = body.strip_suffix('|') {
        (path, Kind::Fifo)
    } else {
        panic!("a line that means nothing: {body}")
    }
}

/// Letters and digits without a pattern, the same each time.
fn noise(size: usize) -> Vec<u8> {
    let mut state: u32 = 7;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b"abcdefghijklmnopqrstuvwxyz012345"[(state >> 27) as usize]
    };
    (0..size).map(|_| next()).collect()
}

/// Undoes the escapes.
fn bytes(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, tail)) = rest.split_first() {
        rest = match (first, tail) {
            (b'\\', [b'n', ..]) => (out.push(b'\n'), &tail[1..]).1,
            (b'\\', [b's', ..]) => (out.push(b' '), &tail[1..]).1,
            (b'\\', [b'x', high, low, ..]) => {
                let digits = [*high, *low];
                out.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                &tail[3..]
            }
            (b'\\', [other, ..]) => (out.push(*other), &tail[1..]).1,
            (b'{', [letter, b'*', count @ ..]) => {
                let end = count.iter().position(|byte| *byte == b'}').unwrap();
                let times: usize = std::str::from_utf8(&count[..end]).unwrap().parse().unwrap();
                out.resize(out.len() + times, *letter);
                &count[end + 1..]
            }
            _ => (out.push(*first), tail).1,
        };
    }
    out
}

/// Puts a sketch on disk below `root`, which is made. Modes do not depend on this process's umask.
pub(crate) fn put(nodes: &[Node], root: &Path) {
    fs::create_dir_all(root).unwrap();
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    let place = |path: &[u8]| -> PathBuf { root.join(OsStr::from_bytes(path)) };
    for node in nodes {
        let path = place(&node.path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match &node.kind {
            Kind::Directory => fs::create_dir_all(&path).unwrap(),
            Kind::File(content) => fs::write(&path, content).unwrap(),
            Kind::Sparse(size) => fs::File::create(&path).unwrap().set_len(*size).unwrap(),
            Kind::Symlink(target) => symlink(OsStr::from_bytes(target), &path).unwrap(),
            Kind::Link(other) => fs::hard_link(place(other), &path).unwrap(),
            Kind::Fifo => {
                super::peers::run("mkfifo", [path.as_os_str()]);
            }
            Kind::Device(..) => panic!("devices belong into archives"),
        }
        for (name, value) in &node.xattrs {
            rustix::fs::lsetxattr(&path, name.as_str(), value, rustix::fs::XattrFlags::empty()).unwrap();
        }
        if !matches!(node.kind, Kind::Symlink(_) | Kind::Link(_)) {
            fs::set_permissions(&path, fs::Permissions::from_mode(node.mode())).unwrap();
        }
    }
}

/// Returns a sketch as an archive.
pub(crate) fn archive(nodes: &[Node]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for node in nodes {
        let records = records(node);
        let records = records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        builder.append_pax_extensions(records).unwrap();
        let content: &[u8] = if let Kind::File(bytes) = &node.kind { bytes } else { &[] };
        builder.append(&header(node, content.len() as u64), content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Returns bytes compressed as the ending of a file name says.
pub(crate) fn compressed(name: &str, bytes: &[u8]) -> Vec<u8> {
    match name.rsplit('.').next() {
        Some("gz") => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Some("zst") => zstd::encode_all(bytes, 3).unwrap(),
        _ => bytes.to_vec(),
    }
}

fn header(node: &Node, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(match node.kind {
        Kind::Directory => tar::EntryType::Directory,
        Kind::File(_) => tar::EntryType::Regular,
        Kind::Symlink(_) => tar::EntryType::Symlink,
        Kind::Link(_) => tar::EntryType::Link,
        Kind::Fifo => tar::EntryType::Fifo,
        Kind::Device(true, ..) => tar::EntryType::Char,
        Kind::Device(false, ..) => tar::EntryType::Block,
        Kind::Sparse(_) => panic!("sparse files belong on disk"),
    });
    if let Kind::Device(_, major, minor) = node.kind {
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
    }
    header.set_mode(node.mode());
    header.set_mtime(1_600_000_000);
    header.set_size(size);
    header.set_cksum();
    header
}

/// Everything that may not fit a header goes into records.
fn records(node: &Node) -> Vec<(String, Vec<u8>)> {
    let slash: &[u8] = if matches!(node.kind, Kind::Directory) { b"/" } else { b"" };
    let mut records = vec![
        ("path".to_owned(), [&node.path, slash].concat()),
        ("uid".to_owned(), node.owner.0.to_string().into_bytes()),
        ("gid".to_owned(), node.owner.1.to_string().into_bytes()),
    ];
    if let Kind::Symlink(target) | Kind::Link(target) = &node.kind {
        records.push(("linkpath".to_owned(), target.clone()));
    }
    let attributes = node.xattrs.iter();
    records.extend(attributes.map(|(name, value)| (format!("SCHILY.xattr.{name}"), value.clone())));
    records
}
