//! A small base image around this machine's static busybox, served as docker.io's `library/busybox`.

use std::path::PathBuf;

use serde_json::json;

use super::http::HttpServer;
use super::served::{Served, mirror_config};
use super::space::TestSpace;

const APPLETS: [&str; 30] = [
    "sh", "cat", "ls", "echo", "mkdir", "id", "env", "sleep", "true", "false", "touch", "rm", "wc", "ps",
    "test", "head", "dd", "yes", "cp", "mv", "ln", "chmod", "chown", "stat", "find", "sort", "seq", "kill",
    "readlink", "nc",
];

/// The configuration's gzip media type of a layer.
pub(crate) const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// The media type of a manifest.
pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of a configuration.
pub(crate) const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";

/// Starts a server for the base and makes it the place's mirror of docker.io.
pub(crate) fn serve(space: &TestSpace) -> HttpServer {
    let server = images().start();
    space.config(&mirror_config(&server.host()));
    server
}

/// Returns the base as something that can be served, changed or broken first.
pub(crate) fn images() -> Served {
    let mut served = Served::default();
    let config = json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]}});
    served.add_archives("library/busybox:latest", config, &[rootfs()]);
    served
}

/// Returns the base's root filesystem as a tar.
pub(crate) fn rootfs() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (directory, mode) in [
        ("bin", 0o755),
        ("dev", 0o755),
        ("etc", 0o755),
        ("home", 0o755),
        ("proc", 0o755),
        ("root", 0o700),
        ("sys", 0o755),
        ("tmp", 0o1777),
    ] {
        add(&mut builder, directory, tar::EntryType::Directory, mode, b"", None);
    }
    let program = ["/bin/busybox", "/usr/bin/busybox"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
        .expect("package busybox-static");
    add(&mut builder, "bin/busybox", tar::EntryType::Regular, 0o755, &std::fs::read(program).unwrap(), None);
    for applet in APPLETS {
        add(&mut builder, &format!("bin/{applet}"), tar::EntryType::Symlink, 0o777, b"", Some("busybox"));
    }
    add(
        &mut builder,
        "etc/passwd",
        tar::EntryType::Regular,
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
        None,
    );
    add(&mut builder, "etc/group", tar::EntryType::Regular, 0o644, b"root:x:0:\nnogroup:x:65534:\n", None);
    builder.into_inner().unwrap()
}

/// Returns a tar of one file.
pub(crate) fn archive_of(path: &str, content: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    add(&mut builder, path, tar::EntryType::Regular, 0o644, content, None);
    builder.into_inner().unwrap()
}

fn add(
    builder: &mut tar::Builder<Vec<u8>>,
    path: &str,
    kind: tar::EntryType,
    mode: u32,
    content: &[u8],
    target: Option<&str>,
) {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_path(path).unwrap();
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.set_size(content.len() as u64);
    if let Some(target) = target {
        header.set_link_name(target).unwrap();
    }
    header.set_cksum();
    builder.append(&header, content).unwrap();
}
