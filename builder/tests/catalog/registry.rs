//! Push and pull against Debian's `docker-registry`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use kiln_builder::catalog::{self, CatalogError, Sizes};
use kiln_oci::Reference;

use crate::support::{Space, described, reference, root_tar, silent};

/// A running registry. It ends with this value.
struct Registry {
    address: String,
    child: Child,
    /// Its log: it must not be closed while the registry writes.
    _log: BufReader<std::process::ChildStderr>,
    _directory: tempfile::TempDir,
}

impl Registry {
    fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display();
        let settings = format!(
            "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\nstorage:\n  filesystem: {{rootdirectory: {root}/data}}\nhttp:\n  addr: 127.0.0.1:0\n"
        );
        let file = directory.path().join("config.yml");
        std::fs::write(&file, settings).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file).stderr(Stdio::piped()).stdout(Stdio::null());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                assert!(option_env!("CI").is_none(), "docker-registry cannot be run: {error}");
                eprintln!("skipped: docker-registry cannot be run: {error}");
                return None;
            }
        };
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the registry ended");
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split([' ', '"', ',']).next().unwrap().trim().to_owned();
            }
        };
        Some(Self { address, child, _log: log, _directory: directory })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test]
async fn what_is_pushed_is_pulled_elsewhere_with_the_same_digest() {
    let Some(registry) = Registry::start() else { return };
    let name = reference(&format!("{}/team/app:1", registry.address));
    let one = Space::new();
    let id = one.import(&root_tar("one"), Some(&name.to_string())).await;
    let pushed = catalog::push(&one.open(), &name, None, &silent()).await.unwrap();
    let two = Space::new();
    for is_new in [true, false] {
        let pulled = catalog::pull(&two.open(), &name, None, &silent()).await.unwrap();
        assert_eq!((pulled.digest, pulled.is_new), (pushed.digest, is_new));
    }
    assert_eq!(catalog::inspect(&two.open(), &name.to_string(), None).unwrap().id, id);
    let size = |space: &Space| catalog::list(&space.open(), Sizes::Wanted).unwrap()[0].size_bytes;
    let files = "#!/bin/sh\necho one\n".len() as u64 + 3;
    assert_eq!((size(&one), size(&two)), (files, files), "also where no layer was read before");
    // What was found once is known for good, and needs no layer any more.
    std::fs::remove_dir_all(two.path("store/records/listing")).unwrap();
    assert_eq!(size(&two), files);
    assert!(!two.path("store/records/listing").exists());
    // Under another repository of the same registry: blobs are mounted, even those that are not here.
    let other = reference(&format!("{}/team/other:2", registry.address));
    catalog::tag(&two.open(), &name.to_string(), &other).unwrap();
    assert_eq!(catalog::push(&two.open(), &other, None, &silent()).await.unwrap(), pushed);
    let pinned: Reference = format!("{}/team/other@{}", registry.address, pushed.digest).parse().unwrap();
    let three = Space::new();
    assert_eq!(catalog::pull(&three.open(), &pinned, None, &silent()).await.unwrap().digest, pushed.digest);
    assert_eq!(catalog::inspect(&three.open(), &pinned.to_string(), None).unwrap().id, id);
}

#[tokio::test]
async fn what_is_not_there_says_so() {
    let Some(registry) = Registry::start() else { return };
    let space = Space::new();
    let name = reference(&format!("{}/team/app:1", registry.address));
    let error = catalog::pull(&space.open(), &name, None, &silent()).await.unwrap_err();
    assert!(described(&error).contains("team/app:1"), "{}", described(&error));
    let error = catalog::push(&space.open(), &name, None, &silent()).await.unwrap_err();
    assert!(matches!(error, CatalogError::NotFound { .. }), "{error}");
    assert_eq!(catalog::list(&space.open(), Sizes::Wanted).unwrap(), []);
}
