//! Archives made to do harm: each is refused with its reason, or contained. Nothing outside the directory changes.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use kiln_layer::tar::read::Limits;
use kiln_layer::{
    Devices, DirectoryOrigin, OverlayMarks, Ownership, UnpackForm, UnpackOptions, extract_archive,
    read_listing, unpack,
};

/// One member, header field by field.
#[derive(Clone)]
struct Raw {
    name: Vec<u8>,
    typeflag: u8,
    link: Vec<u8>,
    size_field: Vec<u8>,
    body: Vec<u8>,
    mode: Vec<u8>,
    device: [u8; 2],
}

fn raw(name: &str, typeflag: u8) -> Raw {
    Raw {
        name: name.into(),
        typeflag,
        link: Vec::new(),
        size_field: Vec::new(),
        body: Vec::new(),
        mode: b"0000644".to_vec(),
        device: *b"01",
    }
}

fn file(name: &str, body: &str) -> Raw {
    Raw { body: body.into(), ..raw(name, b'0') }
}

fn link(name: &str, typeflag: u8, target: &str) -> Raw {
    Raw { link: target.into(), ..raw(name, typeflag) }
}

fn pax(body: &str) -> Raw {
    Raw { body: body.into(), ..raw("pax", b'x') }
}

impl Raw {
    fn bytes(&self) -> Vec<u8> {
        let mut header = [0_u8; 512];
        header[..self.name.len()].copy_from_slice(&self.name);
        header[100..107].copy_from_slice(&self.mode);
        header[108..115].copy_from_slice(b"0000000");
        header[116..123].copy_from_slice(b"0000000");
        let size = if self.size_field.is_empty() {
            format!("{:011o}", self.body.len()).into_bytes()
        } else {
            self.size_field.clone()
        };
        header[124..124 + size.len()].copy_from_slice(&size);
        header[136..147].copy_from_slice(b"00000000000");
        header[148..156].copy_from_slice(b"        ");
        header[156] = self.typeflag;
        header[157..157 + self.link.len()].copy_from_slice(&self.link);
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[335] = self.device[0];
        header[343] = self.device[1];
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let mut bytes = header.to_vec();
        bytes.extend_from_slice(&self.body);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

fn archive(members: &[Raw]) -> Vec<u8> {
    let mut bytes: Vec<u8> = members.iter().flat_map(Raw::bytes).collect();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn limits() -> Limits {
    Limits {
        members_max: 1000,
        held_bytes_max: 1 << 20,
        pax_bytes_max: 4096,
        xattr_bytes_max: 100,
        archive_bytes_max: 1 << 20,
        hole_bytes_max: 1 << 20,
        sparse_parts_max: 100,
    }
}

/// Unpacks in every way into a fresh directory with traps around it; returns the message, which must always be the same.
fn attack(bytes: &[u8]) -> Result<(), String> {
    let mut results = Vec::new();
    for form in [UnpackForm::Flat, UnpackForm::Overlay(OverlayMarks::User)] {
        let space = tempfile::tempdir().unwrap();
        let (inside, outside) = (space.path().join("in"), space.path().join("out"));
        fs::create_dir(&inside).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("victim"), "safe").unwrap();
        let directory = DirectoryOrigin::open(&inside).unwrap();
        let ownership = Ownership::Recorded;
        let options =
            UnpackOptions { form, ownership, devices: Devices::Record, lower: None, limits: limits() };
        results.push(unpack(bytes, &directory, options).map(|_| ()).map_err(|error| chain(&error)));
        assert_eq!(fs::read_to_string(outside.join("victim")).unwrap(), "safe");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(fs::read_dir(space.path()).unwrap().count(), 2);
    }
    results.push(read_listing(bytes, limits()).map(|_| ()).map_err(|error| chain(&error)));
    let space = tempfile::tempdir().unwrap();
    let scratch = Arc::new(DirectoryOrigin::open(space.path()).unwrap());
    let extracted = extract_archive(bytes, &scratch, limits());
    assert!(results[0].is_err() || extracted.is_ok() || bytes.windows(4).any(|window| window == b".wh."));
    assert_eq!(results[0], results[1]);
    results.swap_remove(0)
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

#[test]
fn names_that_climb_are_refused() {
    for name in ["../x", "a/../../x", "..", "/../x", "a/../../../etc/passwd"] {
        let message = attack(&archive(&[file(name, "x")])).unwrap_err();
        assert!(message.contains("climbs out"), "{name}: {message}");
    }
    let message = attack(&archive(&[pax("20 path=../../../xy\n"), file("ok", "x")])).unwrap_err();
    assert!(message.contains("climbs out"), "{message}");
    let message = attack(&archive(&[file("a", "x"), link("b", b'1', "../out/victim")])).unwrap_err();
    assert!(message.contains("climbs out"), "{message}");
}

#[test]
fn names_that_only_look_dangerous_stay_inside() {
    for members in [
        vec![file("/etc/passwd", "x")],
        vec![file("a/./b//../c", "x")],
        vec![link("l", b'2', "../out"), file("l/victim", "x")],
        vec![link("l", b'2', "/"), file("l/victim", "x")],
        vec![link("l", b'2', "/etc"), link("l/m", b'2', "../.."), file("l/m/x", "x")],
        vec![link("l", b'2', "../out/victim"), file("l", "x")],
        vec![raw("d/", b'5'), file("d/f", "x"), link("d", b'2', "../out"), file("d/victim", "x")],
        vec![file("d", "x"), raw("d/", b'5'), file("d/f", "x")],
        vec![file("f", "x"), file("f", "y")],
        vec![link("l", b'2', "../out/victim"), link("h", b'1', "l")],
    ] {
        let names: Vec<String> =
            members.iter().map(|raw| String::from_utf8_lossy(&raw.name).into_owned()).collect();
        assert_eq!(attack(&archive(&members)), Ok(()), "{names:?}");
    }
}

#[test]
fn members_without_a_place_are_refused() {
    for (members, says) in [
        (vec![file("f", "x"), file("f/g", "x")], "not a directory"),
        (vec![link("l", b'2', "l"), file("l/x", "x")], "symlinks"),
        (vec![link("a", b'2', "b"), link("b", b'2', "a"), file("a/x", "x")], "symlinks"),
        (vec![link("h", b'1', "gone")], ""),
        (vec![raw("d/", b'5'), link("h", b'1', "d")], "is a directory"),
        (vec![link("h", b'1', "/")], "is a directory"),
    ] {
        let bytes = archive(&members);
        let message = if says.is_empty() {
            // A listing alone cannot know what lies below.
            attack_disk_only(&bytes)
        } else {
            attack(&bytes).unwrap_err()
        };
        assert!(message.contains(says), "{message}");
    }
}

fn attack_disk_only(bytes: &[u8]) -> String {
    let space = tempfile::tempdir().unwrap();
    let directory = DirectoryOrigin::open(space.path()).unwrap();
    let options = UnpackOptions {
        form: UnpackForm::Overlay(OverlayMarks::User),
        ownership: Ownership::Recorded,
        devices: Devices::Record,
        lower: None,
        limits: limits(),
    };
    let message = chain(&unpack(bytes, &directory, options).unwrap_err());
    assert!(message.contains("does not exist"), "{message}");
    message
}

#[test]
fn headers_that_lie_are_refused() {
    let with = |change: fn(&mut Raw)| {
        let mut member = file("victim", "hello");
        change(&mut member);
        archive(&[member])
    };
    for (bytes, says) in [
        (with(|raw| raw.size_field = b"77777777777".to_vec()), "more than 1048576 bytes"),
        (with(|raw| raw.size_field = [&[0x80][..], &[0xff; 11]].concat()), "size is no number"),
        (with(|raw| raw.size_field = vec![0xff; 12]), "size is no number"),
        (with(|raw| raw.size_field = b"00000000009".to_vec()), "size is no number"),
        (with(|raw| raw.mode = b"abcdefg".to_vec()), "mode is no number"),
        (with(|raw| raw.typeflag = b'S'), "map names another amount"),
        (with(|raw| raw.typeflag = b'M'), "multi-volume"),
        (with(|raw| raw.typeflag = b'?'), "unknown type 0x3f"),
        (with(|raw| (raw.typeflag, raw.device) = (b'3', *b"00")), "marks deletions"),
        (archive(&[pax("99 path=x\n"), file("f", "")]), "PAX header"),
        (archive(&[pax("13 size=9x9x\n"), file("f", "")]), "number is malformed"),
        (archive(&[pax("22 GNU.sparse.major=1\n"), file("f", "")]), "unknown version"),
        (archive(&[file(".wh.", "")]), "names nothing"),
        (archive(&[file(".wh...", "")]), "names nothing"),
        (archive(&[file("./", "")]), ""),
        (vec![b'x'; 512], "no tar header"),
        (archive(&[file("f", "x")])[..700].to_vec(), "cut short"),
    ] {
        let result = attack(&bytes);
        assert_eq!(result.is_ok(), says.is_empty(), "{says}: {result:?}");
        assert!(result.err().unwrap_or_default().contains(says), "{says}");
    }
}

#[test]
fn bombs_meet_a_limit() {
    let long_name = Raw { size_field: b"00077777777".to_vec(), ..raw("long", b'L') };
    let big_pax = Raw { size_field: b"00000100000".to_vec(), ..raw("pax", b'x') };
    let value = "v".repeat(200);
    let record = format!("{} SCHILY.xattr.user.a={value}\n", 25 + 200);
    for (bytes, says) in [
        (archive(&vec![file("f", ""); 1001]), "more than 1000 members"),
        (archive(&vec![file("f", &"x".repeat(100_000)); 11]), "more than 1048576 bytes"),
        (archive(&[long_name]), "bytes of name"),
        (archive(&[big_pax]), "bytes of PAX header"),
        (archive(&[pax(&record), file("f", "")]), "bytes of one attribute"),
    ] {
        let message = attack(&bytes).unwrap_err();
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn symlinks_already_in_a_flat_root_are_not_followed() {
    let space = tempfile::tempdir().unwrap();
    let (inside, outside) = (space.path().join("in"), space.path().join("out"));
    fs::create_dir(&inside).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("victim"), "safe").unwrap();
    symlink("../out", inside.join("l")).unwrap();
    symlink("../out/victim", inside.join("v")).unwrap();
    let members = [
        file("l/victim", "bad"),
        file("v", "bad"),
        file(".wh.m", ""),
        raw("m/", b'5'),
        file("n/.wh..wh..opq", ""),
    ];
    symlink("../out", inside.join("n")).unwrap();
    let options = UnpackOptions {
        form: UnpackForm::Flat,
        ownership: Ownership::Recorded,
        devices: Devices::Record,
        lower: None,
        limits: limits(),
    };
    unpack(&archive(&members)[..], &DirectoryOrigin::open(&inside).unwrap(), options).unwrap();
    assert_eq!(fs::read_to_string(outside.join("victim")).unwrap(), "safe");
    assert_eq!(fs::read_to_string(inside.join("l/victim")).unwrap(), "bad");
    assert_eq!(fs::read_to_string(inside.join("v")).unwrap(), "bad");
}
