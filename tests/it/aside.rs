//! What lies between the end of a step and the disk: blobs that are on their way or gone.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::served::mirror_config;
use crate::support::{TestSpace, busybox, requires};

/// Returns an archive of regular files and, where a target is given, hard links.
fn archive(members: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, target) in members {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        match target {
            Some(target) => {
                header.set_entry_type(tar::EntryType::Link);
                header.set_size(0);
                builder.append_link(&mut header, name, target).unwrap();
            }
            None => {
                header.set_size(name.len() as u64);
                builder.append_data(&mut header, name, name.as_bytes()).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

/// Clears folders of a store, or parts of them.
fn clear(store: &Path, folders: &[&str]) {
    for folder in folders {
        fs::remove_dir_all(store.join(folder)).unwrap();
        fs::create_dir_all(store.join(folder)).unwrap();
    }
}

#[test]
fn whatever_reads_a_layer_fetches_it_again_when_it_is_gone_and_its_listing_is_not() {
    requires!("root", "busybox");
    let mut served = busybox::images();
    let config = || json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]}});
    let (base, added) = (busybox::rootfs(), archive(&[("here/file", None)]));
    let linked = [base.clone(), archive(&[("link", Some("etc/passwd"))])];
    served.add_archives("library/linked:latest", config(), &linked);
    served.add_archives("library/free:latest", config(), &[base.clone(), added.clone()]);
    let mut directory = tar::Header::new_ustar();
    directory.set_entry_type(tar::EntryType::Directory);
    directory.set_mode(0o755);
    directory.set_size(0);
    let mut below = tar::Builder::new(Vec::new());
    below.append_data(&mut directory, "here", &[][..]).unwrap();
    let covered = [base, below.into_inner().unwrap(), added];
    served.add_archives("library/covered:latest", config(), &covered);
    let mut failed = Vec::new();
    let everything = &["blobs/sha256", "snapshots"][..];
    for (known, goes, lines) in [
        ("FROM busybox", everything, "FROM busybox\nCOPY --chown=nobody Dockerfile /"),
        ("FROM busybox", everything, "FROM busybox\nUSER nobody\nWORKDIR /new"),
        ("FROM busybox", everything, "FROM scratch\nCOPY --from=busybox /etc/passwd /"),
        ("FROM busybox", everything, "FROM busybox\nUSER nobody\nRUN true"),
        ("FROM linked", everything, "FROM scratch\nCOPY --from=linked /link /"),
        ("FROM linked", everything, "FROM busybox\nRUN --mount=from=linked,target=/m cat /m/link"),
        // Over another base the layer is unpacked to another directory.
        ("FROM free", &["blobs/sha256"], "FROM covered\nRUN cat /here/file"),
        ("FROM free", &["blobs/sha256"], "FROM scratch\nCOPY --from=covered /here/file /"),
    ] {
        let space = TestSpace::new();
        let server = served.clone().start();
        space.config(&mirror_config(&server.host()));
        let call = |name: &str, lines: &str| {
            let context = space.context(name, &[("Dockerfile", lines)]);
            space.build(&context).args(["-o", "type=cacheonly"]).on_a_damaged_store()
        };
        call("before", &format!("{known}\nRUN true\n")).run().success();
        clear(&space.store(), goes);
        let outcome = call("after", &format!("{lines}\n")).run();
        failed.extend((!outcome.status.success()).then(|| format!("{lines}: {outcome}")));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
