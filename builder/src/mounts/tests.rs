use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kiln_layer::ContentDigest;
use kiln_layer::compress::zstd_frame;
use kiln_oci::{Descriptor, Digest};
use kiln_store::{Patience, Sharing};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::chunks::Packer;
use super::document::{Chunk, Document, Pack, Stream};
use super::{Directory, FarMounts, MountsError, Replace, entry_name, export, import};
use crate::workshop::{Workshop, WorkshopOptions};

const ID: &str = "/objects";

/// A store of its own, and a far place.
struct Space {
    folder: tempfile::TempDir,
    far: Directory,
}

impl Space {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let far = Directory::open(&folder.path().join("far")).unwrap();
        fs::create_dir(folder.path().join("outside")).unwrap();
        Self { folder, far }
    }

    fn workshop(&self, name: &str) -> Workshop {
        Workshop::open(WorkshopOptions {
            store: self.folder.path().join(name),
            registry: Default::default(),
            identity: Err("this process runs no steps".to_owned()),
            resolv_conf: None,
            git: Default::default(),
            roots: Default::default(),
            jobs: 1,
            started_ns: 0,
        })
        .unwrap()
    }

    /// Puts a stream into the far place, as whoever may write there can.
    fn send(&mut self, stream: &[u8]) {
        let mut packer = Packer::new(&mut self.far, document(), None);
        let files = packer.stream(stream).unwrap();
        packer.finish(&entry_name(ID), files, None).unwrap();
    }

    fn put(&mut self, document: &Document) {
        let blobs: Vec<Descriptor> = document.packs.iter().map(Pack::blob).collect();
        self.far.put(&entry_name(ID), document.encode().unwrap(), &blobs).unwrap();
    }

    fn import(&mut self, workshop: &Workshop) -> Result<(), MountsError> {
        let imported = import(workshop, &entry_name(ID), &mut self.far, Replace::No)?;
        assert_eq!(imported.unwrap().id, ID);
        Ok(())
    }
}

fn document() -> Document {
    Document::new(ID, 1, ContentDigest::of(b"outline"))
}

/// The directory of the mount in a store.
fn mount(workshop: &Workshop) -> Option<PathBuf> {
    let slots = workshop.store.mount_slots().unwrap();
    slots.into_iter().find(|slot| slot.id == ID).map(|slot| slot.path)
}

/// What is left in scratch.
fn scratch(workshop: &Workshop) -> usize {
    fs::read_dir(workshop.store.path().join("scratch")).unwrap().count()
}

/// One member of a tar: a name, its type, what a link leads to, and its content.
type Member<'a> = (&'a [u8], u8, &'a [u8], &'a [u8]);

fn tar(members: &[Member<'_>]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, kind, link, content) in members {
        archive.extend(header(name, *kind, link, format!("{:011o}", content.len()).as_bytes()));
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn header(name: &[u8], kind: u8, link: &[u8], size: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    let fields: [(usize, &[u8]); 10] = [
        (0, name),
        (100, b"0004755"),
        (108, b"0030071"),
        (116, b"0030071"),
        (124, size),
        (136, b"00000000001"),
        (148, b"        "),
        (157, link),
        (257, b"ustar\x0000"),
        (329, b"0000001\x000000003"),
    ];
    for (at, bytes) in fields {
        block[at..at + bytes.len()].copy_from_slice(bytes);
    }
    block[156] = kind;
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

/// A header of further fields, for the member after it.
fn pax(key: &str, value: &str) -> Vec<u8> {
    let line = format!(" {key}={value}\n");
    let length = (line.len()..).find(|length| length.to_string().len() + line.len() == *length).unwrap();
    format!("{length}{line}").into_bytes()
}

/// A stream, and what the refusal says; none where it is taken, with all that it names inside.
type Hostile = (&'static str, Vec<u8>, Option<&'static str>);

fn hostile(outside: &Path) -> Vec<Hostile> {
    let away = outside.as_os_str().as_encoded_bytes();
    let device = pax("SCHILY.xattr.user.kiln.device", "c 1:3");
    let owner = pax("SCHILY.xattr.user.kiln.owner", "0:0");
    let deep: Vec<u8> = b"d/".repeat(45);
    let file: Member<'_> = (b"file", b'0', b"", b"x");
    let mut endless = header(b"file", b'0', b"", &[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]);
    endless.extend_from_slice(&[0; 2048]);
    vec![
        ("the directory above", tar(&[(b"../outside/x", b'0', b"", b"x")]), Some("")),
        ("an absolute name", tar(&[(&[away, b"/x"].concat(), b'0', b"", b"x")]), None),
        ("through a link", tar(&[(b"l", b'2', away, b""), (b"l/x", b'0', b"", b"x")]), None),
        ("through a link above", tar(&[(b"l", b'2', b"../..", b""), (b"l/x", b'0', b"", b"x")]), None),
        ("a hard link away", tar(&[(b"x", b'1', &[away, b"/secret"].concat(), b"")]), Some("")),
        (
            "a file through a file",
            tar(&[file, (b"file/x", b'0', b"", b"x")]),
            Some("is a file, not a directory"),
        ),
        ("one name twice", tar(&[file, (b"file", b'2', away, b""), file]), None),
        ("set-id and another's", tar(&[file]), None),
        ("a NUL", tar(&[(b"PaxHeaders.0", b'x', b"", &pax("path", "a\0b")), file]), Some("")),
        ("a device", tar(&[(b"null", b'3', b"", b"")]), Some("is a device")),
        ("what stands for a device", tar(&[(b"P", b'x', b"", &device), file]), Some("stands for a device")),
        ("what stands for an owner", tar(&[(b"P", b'x', b"", &owner), file]), Some("another owner")),
        ("a deletion", tar(&[(b".wh.x", b'0', b"", b"")]), Some("the mark of a deletion")),
        ("2^63 bytes", endless, Some("")),
        ("a deep tree", tar(&[(&deep, b'5', b"", b"")]), None),
        ("no tar", vec![b'x'; 4096], Some("")),
        ("cut short", tar(&[(b"file", b'0', b"", &[b'x'; 2000])])[..1024].to_vec(), Some("")),
    ]
}

#[test]
fn nothing_hostile_leaves_the_mount_and_what_is_refused_leaves_none() {
    let mut space = Space::new();
    let outside = space.folder.path().join("outside");
    fs::write(outside.join("secret"), "secret").unwrap();
    for (number, (what, stream, refusal)) in hostile(&outside).into_iter().enumerate() {
        let workshop = space.workshop(&format!("store-{number}"));
        space.send(&stream);
        let outcome = space.import(&workshop);
        let said = outcome.as_ref().err().map(|error| crate::cache::told(error));
        match (refusal, &said) {
            (None, None) => assert!(mount(&workshop).is_some(), "{what}"),
            (Some(says), Some(said)) => {
                assert!(said.contains(says), "{what}: {said}");
                assert_eq!(mount(&workshop), None, "{what}");
            }
            (_, said) => panic!("{what}: {said:?}"),
        }
        assert_eq!(scratch(&workshop), 0, "{what}");
        let names: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["secret"], "{what}");
    }
}

#[test]
fn a_document_that_cannot_be_true_is_refused() {
    let digest = ContentDigest::of(b"x");
    let blob = Digest::of(b"pack");
    let chunk = |pack, offset, length| Chunk { digest, pack, offset, length };
    let with = |chunks: Vec<Chunk>, numbers: Vec<u32>, pack: Pack| {
        let mut document = document();
        (document.chunks, document.packs, document.files) = (chunks, vec![pack], Stream(numbers));
        document
    };
    let pack = || Pack::new(&blob, 1, 1 << 20);
    let mut foreign = Document::new("/other", 1, digest);
    foreign.chunks = Vec::new();
    let bomb = with(vec![chunk(0, 0, 1 << 20)], vec![0; 1 << 20], pack());
    for (document, says) in [
        (foreign, "belongs to another id"),
        (with(vec![chunk(0, 0, 1)], vec![1], pack()), "does not exist"),
        (with(vec![chunk(1, 0, 1)], vec![0], pack()), "lies in no pack"),
        (with(vec![chunk(0, 1 << 20, 1)], vec![0], pack()), "lies in no pack"),
        (with(vec![chunk(0, u32::MAX, u32::MAX)], vec![0], pack()), "lies in no pack"),
        (with(vec![chunk(0, 0, 0)], vec![0], pack()), "lies in no pack"),
        (with(vec![], vec![], Pack::new(&blob, 1, 9 << 20)), "too large"),
        (with(vec![], vec![], Pack::new(&blob, 9 << 20, 1)), "too large"),
        (bomb, "much larger than its packs"),
    ] {
        let mut space = Space::new();
        let workshop = space.workshop("store");
        space.put(&document);
        let said = space.import(&workshop).unwrap_err().to_string();
        assert!(said.contains(says), "{said}");
        assert_eq!((mount(&workshop), scratch(&workshop)), (None, 0), "{says}");
    }
}

/// A far place that counts what is fetched.
struct Counted<'a> {
    far: &'a mut Directory,
    fetched: Vec<Digest>,
}

impl FarMounts for Counted<'_> {
    fn get(&mut self, name: &str) -> io::Result<Option<Bytes>> {
        self.far.get(name)
    }

    fn put(&mut self, name: &str, bytes: Vec<u8>, blobs: &[Descriptor]) -> io::Result<()> {
        self.far.put(name, bytes, blobs)
    }

    fn has(&mut self, blob: &Descriptor) -> io::Result<bool> {
        self.far.has(blob)
    }

    fn send(&mut self, blob: &Descriptor, bytes: Vec<u8>) -> io::Result<()> {
        self.far.send(blob, bytes)
    }

    fn fetch(&mut self, blob: &Descriptor) -> io::Result<Bytes> {
        self.fetched.push(blob.digest);
        self.far.fetch(blob)
    }
}

/// Cuts a stream so that each of many packs has every so-manieth chunk, and is needed again after all others.
fn scattered(far: &mut Directory, stream: &[u8], packs: usize) -> Document {
    let mut document = document();
    let pieces: Vec<&[u8]> = stream.chunks(stream.len().div_ceil(3 * packs)).collect();
    let mut contents = vec![Vec::new(); packs];
    for (number, piece) in pieces.iter().enumerate() {
        let content = &mut contents[number % packs];
        document.chunks.push(Chunk {
            digest: ContentDigest::of(piece),
            pack: (number % packs) as u32,
            offset: content.len() as u32,
            length: piece.len() as u32,
        });
        content.extend_from_slice(piece);
        document.files.0.push(number as u32);
    }
    for content in contents {
        let packed = zstd_frame(&content).unwrap();
        let pack = Pack::new(&Digest::of(&packed), packed.len(), content.len());
        far.send(&pack.blob(), packed).unwrap();
        document.packs.push(pack);
    }
    document
}

#[test]
fn each_pack_is_fetched_once_however_its_chunks_are_scattered() {
    let mut space = Space::new();
    let workshop = space.workshop("store");
    let content: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let document = scattered(&mut space.far, &tar(&[(b"file", b'0', b"", &content)]), 20);
    space.put(&document);
    let mut far = Counted { far: &mut space.far, fetched: Vec::new() };
    let imported = import(&workshop, &entry_name(ID), &mut far, Replace::No).unwrap().unwrap();
    let sizes: u64 = document.packs.iter().map(|pack| u64::from(pack.size)).sum();
    assert_eq!((far.fetched.len(), imported.fetched_bytes), (20, sizes));
    assert_eq!(fs::read(mount(&workshop).unwrap().join("file")).unwrap(), content);
    assert_eq!(scratch(&workshop), 0);
}

#[test]
fn a_chunk_or_pack_with_other_bytes_leaves_no_mount() {
    let stream = tar(&[(b"file", b'0', b"", &[b'x'; 3000])]);
    let lies: [fn(&mut Document); 3] = [
        |document| document.chunks[2].digest = ContentDigest::of(b"other"),
        |document| document.packs[1].unpacked += 1,
        |document| document.packs[0].size -= 1,
    ];
    for lie in lies {
        let mut space = Space::new();
        let workshop = space.workshop("store");
        let mut document = scattered(&mut space.far, &stream, 2);
        lie(&mut document);
        space.put(&document);
        assert!(space.import(&workshop).is_err());
        assert_eq!((mount(&workshop), scratch(&workshop)), (None, 0));
    }
}

fn fill(directory: &Path) -> io::Result<()> {
    let path = |name: &str| directory.join(name);
    fs::create_dir_all(path("folder/below"))?;
    fs::write(path("file"), "content")?;
    fs::set_permissions(path("file"), fs::Permissions::from_mode(0o2751))?;
    rustix::fs::setxattr(path("file"), "user.note", b"\0x", rustix::fs::XattrFlags::empty())?;
    fs::hard_link(path("file"), path("folder/linked"))?;
    symlink("../nowhere\n", path("folder/symlink"))?;
    mknodat(CWD, path("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0)?;
    let sparse = fs::File::create(path("sparse"))?;
    sparse.set_len(8 << 20)?;
    sparse.write_all_at(b"end", (8 << 20) - 3)?;
    fs::write(path("na\nme \u{e9}"), "")?;
    fs::set_permissions(path("folder"), fs::Permissions::from_mode(0o1711))?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o750))
}

/// What can be seen of each name below a directory.
fn seen(directory: &Path) -> Vec<String> {
    let walk = walkdir::WalkDir::new(directory).sort_by_file_name().into_iter().map(Result::unwrap);
    let line = |entry: walkdir::DirEntry| {
        let (path, found) = (entry.path(), entry.metadata().unwrap());
        let size = if found.is_dir() { 0 } else { found.size() };
        let links = if found.is_dir() { 0 } else { found.nlink() };
        let content = found.is_file().then(|| Digest::of(&fs::read(path).unwrap()));
        let mut note = [0; 8];
        let note = rustix::fs::lgetxattr(path, "user.note", &mut note[..]).ok();
        format!(
            "{:?} {:o} {}:{} {size} {links} {}.{} {content:?} {note:?} {:?}",
            path.strip_prefix(directory).unwrap(),
            found.mode(),
            found.uid(),
            found.gid(),
            found.mtime(),
            found.mtime_nsec(),
            fs::read_link(path).ok(),
        )
    };
    walk.map(line).collect()
}

#[test]
fn all_kinds_of_files_arrive_as_they_were() {
    let mut space = Space::new();
    let (here, there) = (space.workshop("here"), space.workshop("there"));
    drop(here.store.cache_mount(ID, Sharing::Shared, &mut fill).unwrap());
    let first = export(&here, ID, Patience::None, &mut space.far).unwrap();
    assert_eq!((first.names, first.left_out, first.is_same), (9, 0, false));
    space.import(&there).unwrap();
    let arrived = mount(&there).unwrap();
    assert_eq!(seen(&arrived), seen(&mount(&here).unwrap()));
    assert!(fs::metadata(arrived.join("sparse")).unwrap().blocks() < 8 << 10, "holes stay holes");
    let again = export(&there, ID, Patience::None, &mut space.far).unwrap();
    assert!(again.is_same, "{again:?}");
    // It is here, and stays; one with nothing in it is in nobody's way.
    assert!(matches!(space.import(&there), Err(MountsError::AlreadyHere { .. })));
    let empty = space.workshop("empty");
    drop(empty.store.cache_mount(ID, Sharing::Shared, &mut |_| Ok(())).unwrap());
    space.import(&empty).unwrap();
    assert_eq!(seen(&mount(&empty).unwrap()), seen(&arrived));
}

#[test]
fn bytes_that_changed_under_an_old_time_arrive() {
    let mut space = Space::new();
    let (here, there) = (space.workshop("here"), space.workshop("there"));
    drop(here.store.cache_mount(ID, Sharing::Shared, &mut fill).unwrap());
    export(&here, ID, Patience::None, &mut space.far).unwrap();
    for (number, workshop) in [&here, &there].into_iter().enumerate() {
        if number > 0 {
            space.import(workshop).unwrap();
        }
        let path = mount(workshop).unwrap().join("file");
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, format!("CONTEN{number}")).unwrap();
        fs::File::open(&path).unwrap().set_modified(modified).unwrap();
        let exported = export(workshop, ID, Patience::None, &mut space.far).unwrap();
        assert!(!exported.is_same && exported.sent_bytes > 0, "{exported:?}");
        let again = export(workshop, ID, Patience::None, &mut space.far).unwrap();
        assert!(again.is_same && again.sent_bytes == 0, "{again:?}");
    }
    let arrived = space.workshop("arrived");
    space.import(&arrived).unwrap();
    assert_eq!(seen(&mount(&arrived).unwrap()), seen(&mount(&there).unwrap()));
}

#[test]
fn a_state_that_nobody_remembers_is_read_and_nothing_is_sent() {
    let mut space = Space::new();
    let here = space.workshop("here");
    drop(here.store.cache_mount(ID, Sharing::Shared, &mut fill).unwrap());
    export(&here, ID, Patience::None, &mut space.far).unwrap();
    for entry in here.store.records().list("mount-states").unwrap() {
        here.store.records().put("mount-states", &entry.key, b"something else", &[]).unwrap();
    }
    let again = export(&here, ID, Patience::None, &mut space.far).unwrap();
    assert!(again.is_same && again.sent_bytes == 0, "{again:?}");
}

#[test]
fn a_mount_in_use_neither_leaves_nor_comes() {
    let mut space = Space::new();
    let (here, there) = (space.workshop("here"), space.workshop("there"));
    let used = here.store.cache_mount(ID, Sharing::Shared, &mut fill).unwrap();
    let refused = export(&here, ID, Patience::None, &mut space.far);
    assert!(matches!(refused, Err(MountsError::InUse { .. })), "{refused:?}");
    assert_eq!(space.far.get(&entry_name(ID)).unwrap(), None);
    drop(used);
    export(&here, ID, Patience::None, &mut space.far).unwrap();
    let _used = there.store.cache_mount(ID, Sharing::Locked, &mut |_| Ok(())).unwrap();
    assert!(matches!(space.import(&there), Err(MountsError::InUse { .. })));
}
