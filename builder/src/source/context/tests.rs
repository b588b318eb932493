//! When the selections of a context are known, and when they are found out again.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use kiln_layer::ArchivePath;
use kiln_oci::Digest;

use super::{Context, ContextError, ContextSpec};
use crate::workshop::{Workshop, WorkshopOptions};

/// A context, a store, and a build's start.
struct Scene {
    space: tempfile::TempDir,
    workshop: Workshop,
}

impl Scene {
    /// `later` than everything that happens, or now.
    fn new(later: Duration) -> Self {
        let space = tempfile::tempdir().unwrap();
        let now = fs::metadata(space.path()).unwrap().modified().unwrap();
        let started = now.duration_since(UNIX_EPOCH).unwrap() + later;
        let options = WorkshopOptions {
            store: space.path().join("store"),
            registry: Default::default(),
            identity: Err("this process runs no steps".to_owned()),
            resolv_conf: None,
            git: Default::default(),
            roots: Default::default(),
            jobs: 1,
            started_ns: i128::try_from(started.as_nanos()).unwrap(),
        };
        let scene = Self { workshop: Workshop::open(options).unwrap(), space };
        fs::create_dir_all(scene.context().join("d")).unwrap();
        fs::write(scene.context().join("d/f"), "1").unwrap();
        fs::write(scene.context().join("other"), "2").unwrap();
        symlink("f", scene.context().join("d/l")).unwrap();
        scene
    }

    fn context(&self) -> std::path::PathBuf {
        self.space.path().join("context")
    }

    fn read(&self) -> Context {
        let spec = ContextSpec {
            directory: self.context(),
            ignore_file: None,
            selections: [(query(), "d".to_owned())].into(),
        };
        Context::read(&self.workshop, spec).unwrap()
    }

    /// Asks as a build does; tells whether the answer was found in the files.
    fn is_found_out(&self) -> bool {
        let context = self.read();
        let asked = Cell::new(false);
        let answer: Result<Digest, Arc<ContextError>> = context.selection(query(), |_| {
            asked.set(true);
            Ok(Digest::of(b"answer"))
        });
        assert_eq!(answer.unwrap(), Digest::of(b"answer"));
        context.remember_selections().unwrap();
        assert_eq!(context.tree_if_read().is_some(), asked.get());
        asked.get()
    }
}

fn query() -> Digest {
    Digest::of(b"query")
}

#[test]
fn what_was_selected_is_known_until_anything_about_the_context_changes() {
    let scene = Scene::new(Duration::from_secs(3600));
    let file = scene.context().join("d/f");
    type Change<'a> = &'a dyn Fn(&Path);
    let changes: [(&str, Change<'_>); 9] = [
        ("the first build", &|_| {}),
        ("content of the same length, with its old time", &|file| {
            let modified = fs::metadata(file).unwrap().modified().unwrap();
            fs::write(file, "3").unwrap();
            fs::File::options().write(true).open(file).unwrap().set_modified(modified).unwrap();
        }),
        ("a mode", &|file| fs::set_permissions(file, fs::Permissions::from_mode(0o700)).unwrap()),
        ("a mode of a directory", &|file| {
            fs::set_permissions(file.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
        }),
        ("a new name", &|file| fs::write(file.with_file_name("new"), "").unwrap()),
        ("a name less", &|file| fs::remove_file(file.with_file_name("new")).unwrap()),
        ("another name", &|file| fs::rename(file.with_file_name("l"), file.with_file_name("k")).unwrap()),
        ("a link's target", &|file| {
            fs::remove_file(file.with_file_name("k")).unwrap();
            symlink("g", file.with_file_name("k")).unwrap();
        }),
        ("a hard link", &|file| fs::hard_link(file, file.with_file_name("h")).unwrap()),
    ];
    for (what, change) in changes {
        // Longer than the tick of a file system's clock.
        std::thread::sleep(Duration::from_millis(20));
        change(&file);
        assert_eq!([scene.is_found_out(), scene.is_found_out()], [true, false], "{what}");
    }
}

#[test]
fn a_context_that_changed_just_now_is_not_known() {
    let scene = Scene::new(Duration::ZERO);
    assert_eq!([scene.is_found_out(), scene.is_found_out()], [true, true]);
}

#[test]
fn a_state_is_known_again_when_it_comes_back() {
    let scene = Scene::new(Duration::from_secs(3600));
    let ignore = scene.context().join(".dockerignore");
    fs::write(&ignore, "# nothing\n").unwrap();
    let spec = |rules: &str| {
        let file = scene.space.path().join("rules");
        fs::write(&file, rules).unwrap();
        ContextSpec {
            directory: scene.context(),
            ignore_file: Some(file),
            selections: [(query(), "d".to_owned())].into(),
        }
    };
    let found_out = |rules: &str| {
        let context = Context::read(&scene.workshop, spec(rules)).unwrap();
        let found: Result<Digest, Arc<ContextError>> =
            context.selection(query(), |_| Ok(Digest::of(rules.as_bytes())));
        context.remember_selections().unwrap();
        (found.unwrap(), context.tree_if_read().is_some())
    };
    let [all, some] = ["d/none", "d/f"].map(|rules| Digest::of(rules.as_bytes()));
    let rounds = ["d/none", "d/f", "d/none", "d/f"].map(found_out);
    assert_eq!(rounds, [(all, true), (some, true), (all, false), (some, false)]);
}

#[test]
fn files_of_a_known_context_are_there_for_a_step_that_needs_them() {
    let scene = Scene::new(Duration::from_secs(3600));
    assert!(scene.is_found_out());
    let context = scene.read();
    assert!(context.tree_if_read().is_none());
    assert_eq!(context.file_count, 2);
    let tree = context.tree().unwrap();
    let digest = |path: &[u8]| tree.get(&ArchivePath::parse(path).unwrap())?.content()?.digest;
    assert_eq!((digest(b"d/f").is_some(), digest(b"other").is_some()), (true, false));
}

#[test]
fn a_context_that_vanished_is_an_error_of_the_step_that_needs_it() {
    let scene = Scene::new(Duration::from_secs(3600));
    assert!(scene.is_found_out());
    let context = scene.read();
    fs::remove_dir_all(scene.context()).unwrap();
    for _ in 0..2 {
        let error = context.tree().unwrap_err();
        assert!(matches!(*error, ContextError::Walk(_)), "{error}");
    }
}

#[test]
fn a_record_of_another_form_counts_as_none() {
    let scene = Scene::new(Duration::from_secs(3600));
    assert!(scene.is_found_out());
    let records = scene.workshop.store.records();
    for entry in records.list("selections").unwrap() {
        records.put("selections", &entry.key, b"something else", &[]).unwrap();
    }
    assert_eq!([scene.is_found_out(), scene.is_found_out()], [true, false]);
}
