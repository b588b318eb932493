//! Do other programs see in kiln's images what kiln meant? umoci unpacks, GNU tar lists, gzip and zstd test, skopeo copies
//! and inspects every image of `tests/golden`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::golden::{self, Golden, members_of};
use crate::support::flatten::Node;
use crate::support::image::{self, Image};
use crate::support::layer::Kind;
use crate::support::validator::archive::Member;
use crate::support::validator::foreign;
use crate::support::{peers, requires, sha256};

/// One path of a filesystem, as far as two readers can agree.
type Tree = BTreeMap<Vec<u8>, String>;

/// Calls a check with every image of the golden cases: the case, the layout, the image.
fn every_image(check: &dyn Fn(&Golden, &Path, &Image)) {
    for golden in golden::all() {
        // The last variant exports in another way what the ones before built.
        for (number, flags) in
            golden.variants().iter().enumerate().filter(|(_, flags)| !flags.contains("$OUT"))
        {
            let layout = golden.build(number, flags);
            check(&golden, &layout, &image::read_one(&layout));
        }
    }
}

#[test]
fn umoci_unpacks_the_files_that_were_meant() {
    requires!("root", "busybox", "umoci", "skopeo");
    every_image(&|golden, layout, image| {
        let (place, copied) = (layout.with_extension("bundle"), layout.with_extension("gzip"));
        let mut source = format!("{}:1", layout.display());
        if image.manifest.to_string().contains("tar+zstd") {
            // umoci does not know zstd; skopeo does, and writes gzip.
            let gzip = format!("oci:{}:1", copied.display());
            let words = ["--insecure-policy", "copy", "--quiet", "--dest-compress-format", "gzip"];
            peers::run("skopeo", words.into_iter().chain([format!("oci:{source}").as_str(), &gzip]));
            source = format!("{}:1", copied.display());
        }
        let words = [OsStr::new("unpack"), OsStr::new("--image"), OsStr::new(&source), place.as_os_str()];
        peers::run("umoci", words);
        let (found, meant) = (on_disk(&place.join("rootfs")), meant(image));
        assert_eq!(differences(&found, &meant), Vec::<String>::new(), "{} {}", golden.name, layout.display());
    });
}

/// Returns what differs, both sides.
fn differences(found: &Tree, meant: &Tree) -> Vec<String> {
    let names = found.keys().chain(meant.keys()).collect::<std::collections::BTreeSet<_>>();
    let differing = names.into_iter().filter(|name| found.get(*name) != meant.get(*name));
    differing
        .map(|name| format!("{}: {:?}, meant is {:?}", name.escape_ascii(), found.get(name), meant.get(name)))
        .collect()
}

/// What the layers say, flattened.
fn meant(image: &Image) -> Tree {
    let flat = image.flatten();
    let mut tree = Tree::new();
    for (path, node, group) in flat.iter().filter(|(path, ..)| !path.is_empty()) {
        let Node { kind, mode, uid, gid, mtime, xattrs, .. } = node;
        let what = match kind {
            Kind::File(size, digest, _) => format!("file {size} {digest}"),
            Kind::Directory => "directory".to_owned(),
            Kind::Symlink(target) => format!("link {}", target.escape_ascii()),
            Kind::Fifo => "fifo".to_owned(),
            Kind::Char(major, minor) => format!("character device {major}:{minor}"),
            Kind::Block(major, minor) => format!("block device {major}:{minor}"),
            Kind::Hardlink(_) => panic!("resolved by flattening"),
        };
        let group = group.map(|group| group.escape_ascii().to_string());
        tree.insert(path.to_vec(), shown(&what, *mode, (*uid, *gid), *mtime, group, xattrs));
    }
    tree
}

fn shown(
    what: &str,
    mode: u32,
    (uid, gid): (u64, u64),
    mtime: i64,
    group: Option<String>,
    xattrs: &BTreeMap<Vec<u8>, Vec<u8>>,
) -> String {
    let xattrs: Vec<String> = xattrs
        .iter()
        .map(|(name, value)| format!("{}={}", name.escape_ascii(), value.escape_ascii()))
        .collect();
    format!("{what} {mode:o} {uid}:{gid} at {mtime}, one with {group:?}, {xattrs:?}")
}

/// What an unpacker put on disk.
fn on_disk(root: &Path) -> Tree {
    let mut found: Vec<(Vec<u8>, fs::Metadata)> = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                folders.push(path.clone());
            }
            found.push((path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec(), metadata));
        }
    }
    found.sort_by(|left, right| left.0.cmp(&right.0));
    let mut first: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut tree = Tree::new();
    for (name, metadata) in found {
        let path = root.join(OsStr::from_bytes(&name));
        let is_shared = !metadata.is_dir() && metadata.nlink() > 1;
        let group = is_shared.then(|| first.entry(metadata.ino()).or_insert_with(|| name.clone()).clone());
        let group = group.map(|group| group.escape_ascii().to_string());
        let (mode, owner) = (metadata.mode() & 0o7777, (metadata.uid().into(), metadata.gid().into()));
        let what = what(&path, &metadata);
        tree.insert(name, shown(&what, mode, owner, metadata.mtime(), group, &xattrs(&path)));
    }
    tree
}

fn what(path: &Path, metadata: &fs::Metadata) -> String {
    let kind = metadata.file_type();
    let number = format!("{}:{}", rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
    match kind {
        kind if kind.is_dir() => "directory".to_owned(),
        kind if kind.is_symlink() => {
            format!("link {}", fs::read_link(path).unwrap().as_os_str().as_bytes().escape_ascii())
        }
        kind if kind.is_fifo() => "fifo".to_owned(),
        kind if kind.is_char_device() => format!("character device {number}"),
        kind if kind.is_block_device() => format!("block device {number}"),
        _ => format!("file {} {}", metadata.len(), sha256::of_file(path)),
    }
}

/// The attributes of a file but those by which umoci remembers owners.
fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 1 << 16];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value[..length].to_vec()
    };
    names.map(|name| (name.to_vec(), value(name))).collect()
}

#[test]
fn gnu_tar_lists_what_was_meant_and_decompressors_are_content() {
    requires!("root", "busybox", "tar", "gzip", "zstd");
    every_image(&|golden, layout, image| {
        for descriptor in image.manifest["layers"].as_array().unwrap() {
            let digest = descriptor["digest"].as_str().unwrap();
            if foreign::is_foreign(digest) {
                continue;
            }
            let blob = layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
            let tester = match descriptor["mediaType"].as_str().unwrap() {
                "application/vnd.oci.image.layer.v1.tar+gzip" => "gzip",
                "application/vnd.oci.image.layer.v1.tar+zstd" => "zstd",
                _ => "",
            };
            if !tester.is_empty() {
                // Both read standard input, since they know files by their suffix.
                peers::run("sh", ["-c", &format!("{tester} -t < {}", blob.display())]);
            }
            let words = [
                "--list",
                "--verbose",
                "--numeric-owner",
                "--full-time",
                "--utc",
                "--quoting-style=escape",
                "--file",
            ];
            let listed = peers::run("tar", words.map(OsStr::new).into_iter().chain([blob.as_os_str()]));
            let found: Vec<String> =
                listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
            let meant: Vec<String> = members_of(&blob).iter().map(gnu_line).collect();
            let differing: Vec<_> =
                found.iter().zip(&meant).filter(|(found, meant)| found != meant).collect();
            assert!(differing.is_empty() && found.len() == meant.len(), "{}: {differing:#?}", golden.name);
        }
    });
}

/// The line that GNU tar prints of an entry, its columns one blank apart.
fn gnu_line(member: &Member) -> String {
    let letter = match member.flag {
        b'0' => '-',
        b'1' => 'h',
        b'2' => 'l',
        b'3' => 'c',
        b'4' => 'b',
        b'5' => 'd',
        _ => 'p',
    };
    let size = match member.flag {
        b'3' | b'4' => format!("{},{}", member.device.0, member.device.1),
        _ => member.size.to_string(),
    };
    let seconds: i64 = member.mtime.parse().unwrap();
    let link = match member.flag {
        b'1' => format!(" link to {}", escaped(&member.link)),
        b'2' => format!(" -> {}", escaped(&member.link)),
        _ => String::new(),
    };
    let Member { uid, gid, name, mode, .. } = member;
    format!("{letter}{} {uid}/{gid} {size} {} {}{link}", permissions(*mode), instant(seconds), escaped(name))
}

fn permissions(mode: u64) -> String {
    let triple = |shift: u32, special: u64, letter: char| {
        let bits = mode >> shift & 7;
        let execute = match (bits & 1 == 1, mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        };
        [if bits & 4 == 4 { 'r' } else { '-' }, if bits & 2 == 2 { 'w' } else { '-' }, execute]
    };
    let all = [triple(6, 0o4000, 's'), triple(3, 0o2000, 's'), triple(0, 0o1000, 't')];
    all.concat().iter().collect()
}

/// The instants of the golden cases, as `date` has them.
fn instant(seconds: i64) -> &'static str {
    match seconds {
        315_532_800 => "1980-01-01 00:00:00",
        1_000_000_000 => "2001-09-09 01:46:40",
        4_102_444_800 => "2100-01-01 00:00:00",
        other => panic!("a time that no golden case has: {other}"),
    }
}

/// As GNU's `escape` style has it.
fn escaped(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    if text.contains('\u{fffd}') {
        return name.iter().map(|byte| escaped_byte(*byte)).collect();
    }
    text.chars()
        .map(|letter| if letter.is_ascii() { escaped_byte(letter as u8) } else { letter.to_string() })
        .collect()
}

fn escaped_byte(byte: u8) -> String {
    match byte {
        b'\n' => "\\n".to_owned(),
        b'\\' => "\\\\".to_owned(),
        0x20..=0x7e => char::from(byte).to_string(),
        _ => format!("\\{byte:03o}"),
    }
}

#[test]
fn skopeo_copies_the_image_unchanged_and_reads_what_it_is() {
    requires!("root", "busybox", "skopeo");
    every_image(&|golden, layout, image| {
        let (source, copied) = (format!("oci:{}:1", layout.display()), layout.with_extension("dir"));
        let words = ["--insecure-policy", "copy", "--quiet", "--preserve-digests"];
        let target = format!("dir:{}", copied.display());
        peers::run("skopeo", words.into_iter().chain([source.as_str(), &target]));
        let manifest = copied.join("manifest.json");
        assert_eq!(format!("sha256:{}", sha256::of_file(&manifest)), image.digest, "{}", golden.name);
        let inspected = peers::skopeo_inspect(&source);
        assert_eq!(inspected["Digest"], image.digest.as_str());
        let layers = image.manifest["layers"].as_array().unwrap().iter().map(|layer| layer["digest"].clone());
        assert_eq!(inspected["Layers"], serde_json::Value::Array(layers.collect()));
        let text = peers::run("skopeo", ["inspect", "--config", &source]);
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        for part in ["os", "architecture", "rootfs"] {
            assert_eq!(config[part], image.config[part], "{}: {part}", golden.name);
        }
        let count = |config: &serde_json::Value| config["history"].as_array().map(Vec::len);
        assert_eq!(count(&config), count(&image.config));
    });
}
