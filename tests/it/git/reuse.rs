//! What a second build does not do again.

use super::Scene;
use crate::support::requires;

#[test]
fn an_unmoved_ref_is_asked_for_once_and_nothing_is_fetched() {
    requires!("git");
    let scene = Scene::new();
    let first = scene.add(&format!("{}#main /d", scene.url())).run().success();
    let before = scene.server.asked().len();
    assert_eq!(before, 4, "what there is, and the objects");
    std::fs::remove_dir_all(scene.space.store().join("repositories")).unwrap();
    let second = scene.add(&format!("{}#main /d", scene.url())).run().success().says(&["CACHED"]);
    assert_eq!((second.digest(), scene.server.asked().len() - before), (first.digest(), 2));
    assert!(std::fs::read_dir(scene.space.store().join("repositories")).is_err(), "nothing was cloned");
}

#[test]
fn a_commit_asks_nobody_when_it_is_known() {
    requires!("git");
    let scene = Scene::new();
    let commit = scene.repository.git(&["rev-parse", "HEAD"]);
    let first = scene.add(&format!("{}#{commit} /d", scene.url())).run().success();
    let before = scene.server.asked().len();
    let second = scene.add(&format!("{}#{commit} /d", scene.url())).run().success().says(&["CACHED"]);
    let third = scene.add(&format!("{}#{commit}:sub /e", scene.url())).run().success();
    assert_eq!(first.digest(), second.digest());
    assert_ne!(first.digest(), third.digest());
    assert_eq!(scene.server.asked().len(), before, "another part of the commit is here, too");
}

#[test]
fn neither_the_name_nor_the_address_is_part_of_the_key() {
    requires!("git");
    let scene = Scene::new();
    scene.repository.git(&["branch", "other"]);
    scene.add(&format!("{}#main /d", scene.url())).run().success();
    scene.add(&format!("{}#other /d", scene.url())).run().success().says(&["CACHED"]);
    let host = scene.server.host().replace("127.0.0.1", "localhost");
    scene.add(&format!("http://{host}/repo.git /d")).run().success().says(&["CACHED"]);
}

#[test]
fn a_moved_ref_is_built_again_and_only_what_is_new_is_fetched() {
    requires!("git");
    let scene = Scene::new();
    let bulk: String =
        (0..200_000_u32).map(|number| format!("{:08x}", number.wrapping_mul(2_654_435_761))).collect();
    scene.repository.write("bulk", &bulk).commit();
    let first = scene.add(&format!("{} /d", scene.url())).run().success();
    let packs = || {
        let mut sizes: Vec<u64> = walk(&scene.space.store().join("repositories"));
        sizes.sort_unstable();
        sizes
    };
    assert_eq!(packs().len(), 1);
    scene.repository.write("README", "second\n").commit();
    let second = scene.add(&format!("{} /d", scene.url())).run().success();
    assert_ne!(first.digest(), second.digest());
    let packs = packs();
    assert_eq!(packs.len(), 2);
    assert!(packs[0] < 2000 && packs[1] > 100_000, "{packs:?}");
}

fn walk(root: &std::path::Path) -> Vec<u64> {
    let mut sizes = Vec::new();
    for entry in std::fs::read_dir(root).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            sizes.extend(walk(&entry.path()));
        } else if entry.path().extension().is_some_and(|extension| extension == "pack") {
            sizes.push(entry.metadata().unwrap().len());
        }
    }
    sizes
}

#[test]
fn a_new_commit_that_leaves_the_copied_files_alone_is_a_hit_by_content() {
    requires!("git");
    let scene = Scene::new();
    scene.repository.write("Dockerfile", "FROM scratch\nCOPY sub /s\n").commit();
    let first = scene.build_remote(&scene.url()).run().success();
    scene.repository.write("README", "other\n").commit();
    let second = scene.build_remote(&scene.url()).run().success();
    assert_eq!(first.digest(), second.digest());
}

#[test]
fn a_damaged_repository_in_the_store_is_begun_anew() {
    requires!("git");
    let scene = Scene::new();
    scene.add(&format!("{} /d", scene.url())).run().success();
    let folder =
        std::fs::read_dir(scene.space.store().join("repositories")).unwrap().next().unwrap().unwrap();
    let pack = folder.path().join("objects/pack");
    for entry in std::fs::read_dir(pack).unwrap().map(Result::unwrap) {
        std::fs::remove_file(entry.path()).unwrap();
        std::fs::write(entry.path(), "damaged").unwrap();
    }
    std::fs::write(folder.path().join("shallow.lock"), "").unwrap();
    scene.repository.write("README", "second\n").commit();
    scene.add(&format!("{} /d", scene.url())).run().success();
    assert!(scene.listing()[0].starts_with("d/README second"));
}
