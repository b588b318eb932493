//! Stores, archives of files, and programs of others.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use kiln_builder::catalog::{self, ArchiveSource, ImportRequest};
use kiln_builder::progress::{Progress, Silent};
use kiln_builder::{Workshop, WorkshopOptions};
use kiln_layer::tar::write::{self, Member};
use kiln_layer::{ArchivePath, Content, Device, Entry, Kind, Metadata, Timestamp};
use kiln_oci::{Digest, Platform, Reference};
use kiln_registry::ClientConfig;

/// A store in a directory of its own.
pub(crate) struct Space {
    pub(crate) directory: tempfile::TempDir,
}

impl Space {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Opens the store, as another process would.
    pub(crate) fn open(&self) -> Arc<Workshop> {
        let options = WorkshopOptions {
            store: self.path("store"),
            registry: ClientConfig::default(),
            identity: Err("not needed".to_owned()),
            resolv_conf: None,
            git: Default::default(),
            roots: Default::default(),
            jobs: 2,
            started_ns: 0,
        };
        Arc::new(Workshop::open(options).unwrap())
    }

    /// Imports an archive under a name and returns the image's id.
    pub(crate) async fn import(&self, tar: &[u8], name: Option<&str>) -> Digest {
        let file = self.path("import.tar");
        std::fs::write(&file, tar).unwrap();
        let request = ImportRequest {
            source: ArchiveSource::File(&file),
            name: name.map(reference),
            changes: vec!["CMD [\"/bin/hello\"]".to_owned()],
            message: None,
            platform: Some(Platform::linux("amd64")),
            epoch: None,
        };
        catalog::import(&self.open(), request).await.unwrap()
    }
}

pub(crate) fn reference(text: &str) -> Reference {
    text.parse::<Reference>().unwrap().or_latest()
}

pub(crate) fn silent() -> Arc<dyn Progress> {
    Arc::new(Silent)
}

/// Writes a tar archive.
pub(crate) fn tar(entries: &[(&str, Entry, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, entry, content) in entries {
        let path = ArchivePath::parse(name.as_bytes()).unwrap();
        write::append_header(&mut out, &path, Member::Entry(entry), Timestamp::from_seconds(7)).unwrap();
        out.extend_from_slice(content);
        write::append_padding(&mut out, content.len() as u64);
    }
    write::append_end(&mut out);
    out
}

pub(crate) fn file(mode: u32, content: &[u8]) -> Entry {
    Entry::file(Metadata { uid: 7, gid: 8, ..Metadata::with_mode(mode) }, Content::inline(content))
}

/// A small file system with what needs privilege elsewhere.
pub(crate) fn root_tar(text: &str) -> Vec<u8> {
    let hello = format!("#!/bin/sh\necho {text}\n");
    let null = Kind::CharDevice(Device { major: 1, minor: 3 });
    let link = Kind::Symlink(b"hello"[..].into());
    tar(&[
        ("dev/null", Entry { metadata: Metadata::with_mode(0o666), kind: null }, b""),
        ("bin", Entry::directory(Metadata::with_mode(0o555)), b""),
        ("bin/hello", file(0o4755, hello.as_bytes()), hello.as_bytes()),
        ("bin/hi", Entry { metadata: Metadata::with_mode(0o777), kind: link }, b""),
        ("etc/motd", file(0o600, b"hi\n"), b"hi\n"),
    ])
}

/// Runs a program that may be missing; `None`, with a message, where it is. On CI that is an error.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program} {arguments:?}: {said}");
            Some(String::from_utf8(output.stdout).unwrap())
        }
        Err(error) => {
            assert!(option_env!("CI").is_none(), "{program} cannot be run: {error}");
            eprintln!("skipped: {program} cannot be run: {error}");
            None
        }
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The chain of an error's messages.
pub(crate) fn described(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
