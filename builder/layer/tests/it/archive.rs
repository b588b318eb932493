//! What ADD makes of an archive's members.

use std::io::{Cursor, Read};
use std::sync::Arc;

use kiln_layer::tar::read::{Limits, ReadError, TarReader};
use kiln_layer::tar::write::{Member, append_end, append_header};
use kiln_layer::{DirectoryOrigin, Entry, Metadata, Timestamp, extract_archive};

use crate::support::{path, show};

/// A header of a V7 archive: name, mode, owner, type and link.
fn member(name: &str, mode: u32, uid: u32, kind: u8, link: &str) -> [u8; 512] {
    let mut header = [0_u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
    header[108..115].copy_from_slice(format!("{uid:07o}").as_bytes());
    header[116..123].copy_from_slice(b"0000000");
    header[124..135].copy_from_slice(b"00000000000");
    header[136..147].copy_from_slice(b"00000000000");
    header[148..156].copy_from_slice(b"        ");
    header[156] = kind;
    header[157..157 + link.len()].copy_from_slice(link.as_bytes());
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header
}

#[test]
fn a_hard_links_header_sets_owner_and_mode_of_the_file() {
    let members = [
        member("f", 0o600, 1, b'0', ""),
        member("h", 0o4755, 2, b'1', "f"),
        member("l", 0o777, 1, b'2', "f"),
        member("m", 0o700, 3, b'1', "l"),
    ];
    let mut bytes = members.concat();
    bytes.resize(bytes.len() + 1024, 0);
    let space = tempfile::tempdir().unwrap();
    let scratch = Arc::new(DirectoryOrigin::open(space.path()).unwrap());
    let tree = extract_archive(&*bytes, &scratch, Limits::default()).unwrap();
    assert_eq!(show(&tree, &[""]), ["f:  @4755,2,0", "h = f", "l -> f", "m = l"]);
    let symlink = &tree.get(&path("l")).unwrap().metadata;
    assert_eq!((symlink.mode, symlink.uid), (0o777, 3));
}

#[test]
fn attributes_that_belong_in_no_layer_are_left_out() {
    let names = [
        "security.capability",
        "security.selinux",
        "trusted.overlay.opaque",
        "user.overlay.redirect",
        "user.note",
    ];
    let mut metadata = Metadata::with_mode(0o755);
    metadata.xattrs = names.iter().map(|name| (name.as_bytes().to_vec(), b"y".to_vec())).collect();
    let mut bytes = Vec::new();
    let member = Member::Entry(&Entry::directory(metadata));
    append_header(&mut bytes, &path("d"), member, Timestamp::from_seconds(0)).unwrap();
    append_end(&mut bytes);
    let space = tempfile::tempdir().unwrap();
    let scratch = Arc::new(DirectoryOrigin::open(space.path()).unwrap());
    let tree = extract_archive(&*bytes, &scratch, Limits::default()).unwrap();
    let kept = tree.get(&path("d")).unwrap().metadata.xattrs.clone();
    let kept: Vec<&[u8]> = kept.iter().map(|(name, _)| name).collect();
    assert_eq!(kept, [&b"security.capability"[..], b"user.note"]);
}

#[test]
fn contents_that_are_sought_past_are_found_again_where_they_begin() {
    let contents: [&[u8]; 4] = [b"", b"short", &[7; 512], &[9; 70_000]];
    let mut builder = tar::Builder::new(Vec::new());
    for (number, content) in contents.iter().enumerate() {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        // Of these, the last has a header before its header.
        let name = format!("{number}/{}", "long/".repeat(number * 20));
        builder.append_data(&mut header, name + "f", *content).unwrap();
    }
    let bytes = builder.into_inner().unwrap();
    let mut reader = TarReader::new(Cursor::new(&bytes), Limits::default());
    let mut positions = Vec::new();
    loop {
        let position = reader.next_position().unwrap();
        let Some(_) = reader.next_member().unwrap() else { break };
        reader.seek_past_content().unwrap();
        positions.push(usize::try_from(position).unwrap());
    }
    for (position, content) in positions.iter().zip(contents) {
        let mut reader = TarReader::new(&bytes[*position..], Limits::default());
        reader.next_member().unwrap();
        let mut found = Vec::new();
        reader.content().read_to_end(&mut found).unwrap();
        assert!(found == content, "{}", content.len());
    }
    assert_eq!(positions.len(), contents.len());
    let cut = &bytes[..positions[3] + 60_000];
    let mut reader = TarReader::new(Cursor::new(cut), Limits::default());
    let end = loop {
        reader.next_member().unwrap();
        if let Err(error) = reader.seek_past_content() {
            break error;
        }
    };
    assert!(matches!(end, ReadError::CutShort { members: 4, .. }), "{end}");
}
