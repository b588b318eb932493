//! What ADD makes of an archive's members.

use std::sync::Arc;

use kiln_layer::tar::read::Limits;
use kiln_layer::{DirectoryOrigin, extract_archive};

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
