//! Repositories as the context of a build, and as contexts with a name.

use std::os::unix::fs::symlink;

use super::Scene;
use crate::support::files::{File, FileServer};
use crate::support::{busybox, requires};

const DOCKERFILE: &str = "FROM scratch\nCOPY . /all\n";

#[test]
fn a_repository_is_a_context_with_its_dockerfile_and_no_ignore_file() {
    requires!("git");
    let scene = Scene::new();
    scene.repository.write("Dockerfile", DOCKERFILE).write(".dockerignore", "*\n").commit();
    let first = scene.build_remote(&scene.url()).run().success();
    let expected =
        ["all/.dockerignore *\\n", "all/Dockerfile FROM scratch\\nCOPY . /all\\n", "all/README first\\n"];
    assert_eq!(scene.listing()[..3], expected);
    let before = scene.server.asked().len();
    let second = scene.build_remote(&scene.url()).run().success().says(&["CACHED"]);
    assert_eq!((second.digest(), scene.server.asked().len() - before), (first.digest(), 2));
}

#[test]
fn the_dockerfile_is_found_in_a_subdirectory_by_name_and_through_links() {
    requires!("git");
    let scene = Scene::new();
    let copy = |text: &str| format!("FROM scratch\nCOPY <<E /{text}\nE\n");
    scene.repository.write("sub/dockerfile", &copy("lower")).write("docker/Real", &copy("real"));
    symlink("docker/Real", scene.repository.path("Dockerfile")).unwrap();
    symlink("/etc/passwd", scene.repository.path("Outside")).unwrap();
    scene.repository.write("part/file", "");
    symlink("../docker/Real", scene.repository.path("part/Dockerfile")).unwrap();
    scene.repository.commit();
    let url = scene.url();
    for (context, flags, expected) in [
        (format!("{url}#:sub"), &[][..], "lower "),
        (url.clone(), &[], "real "),
        (url.clone(), &["-f", "docker/Real"], "real "),
        (url.clone(), &["-f", "./sub/dockerfile"], "lower "),
    ] {
        scene.build_remote(&context).args(flags).run().success();
        assert_eq!(scene.listing(), [expected], "{context} {flags:?}");
    }
    let local = scene.space.file("Local", copy("local"));
    for (flags, says) in [
        (["-f", "Missing"], "it does not exist"),
        (["-f", "../Dockerfile"], "the path leads out of the repository"),
        (["-f", local.to_str().unwrap()], "the path leads out of the repository"),
        (["-f", "docker"], "it is no file"),
        (["-f", "Outside"], "it does not exist"),
    ] {
        scene.build_remote(&url).args(flags).run().fails_with(1).says(&["cannot read the Dockerfile", says]);
    }
    let part = scene.build_remote(&format!("{url}#:part")).run().fails_with(1);
    part.says(&["cannot read the Dockerfile `Dockerfile`", "it does not exist"]);
    scene.build_remote(&url).args(["-f", "-"]).stdin(copy("given")).run().success();
    assert_eq!(scene.listing(), ["given "]);
}

#[test]
fn named_contexts_and_mounts_read_from_repositories() {
    requires!("git", "root", "busybox");
    let scene = Scene::new();
    let _busybox = busybox::serve(&scene.space);
    let file = "FROM busybox AS run\nRUN --mount=type=bind,from=src,target=/m cp /m/README /c\n\
        FROM src\nCOPY --from=src README /a\nCOPY --from=src /sub /b\nCOPY --from=run /c /c\n";
    let flags = ["--build-context".to_owned(), format!("src={}#main", scene.url())];
    scene.build(file).args(&flags).run().success();
    let expected = ["README first\\n", "a first\\n", "b/inner inner\\n", "c first\\n", "sub/inner inner\\n"];
    assert_eq!(scene.listing(), expected);
    let before = scene.server.asked().len();
    scene.build(file).args(&flags).run().success().says(&["CACHED"]);
    assert_eq!(scene.server.asked().len() - before, 2);
}

#[test]
fn a_dockerfile_and_a_named_context_of_the_web_stand_beside_a_repository() {
    requires!("git");
    let scene = Scene::new();
    let files = FileServer::start();
    files.put("/recipe", File::new("FROM scratch\nCOPY README /a\nCOPY --from=other README /b\n", "1"));
    scene.repository.write("Dockerfile", "not the one\n").commit();
    let named = format!("other={}#main", scene.url());
    let build = |context: &str| {
        let call = scene.build_remote(context).args(["-f", &files.url("/recipe")]);
        call.args(["--build-context", &named])
    };
    build(&scene.url()).run().success();
    assert_eq!(scene.listing(), ["a first\\n", "b first\\n"]);
    build(&scene.url()).run().success().says(&["CACHED"]);
    scene.space.kiln(["build", "--check", "-f", &files.url("/recipe"), &scene.url()]).run().success();
}

#[test]
fn the_git_directory_of_a_context_is_kept_on_request() {
    requires!("git");
    let scene = Scene::new();
    scene.repository.write("Dockerfile", DOCKERFILE).commit();
    let head = format!("all/.git/HEAD {}\\n", scene.repository.git(&["rev-parse", "HEAD"]));
    for (context, flags, expected) in [
        (scene.url(), &[][..], false),
        (scene.url(), &["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"], true),
        (format!("{}?keep-git-dir=1", scene.url()), &[], true),
    ] {
        scene.build_remote(&context).args(flags).run().success();
        assert_eq!(scene.listing().contains(&head), expected, "{context} {flags:?}");
    }
}

#[test]
fn checks_and_questions_read_the_dockerfile_of_a_repository() {
    requires!("git");
    let scene = Scene::new();
    scene.repository.write("Dockerfile", "FROM scratch as x\nADD https://h/a.git?tga=1 /\n").commit();
    scene.space.kiln(["build", "--check", &scene.url()]).run().fails_with(1);
    let outcome = scene.space.kiln(["build", "--call=targets", &scene.url()]).run().success();
    assert!(outcome.text().contains('x'), "{outcome}");
    let lint = scene.space.file("Dockerfile", "FROM scratch\nADD https://h/a.git?tga=1 /\n");
    let outcome = scene.space.kiln(["lint"]).arg(&lint).run().fails_with(1);
    assert!(outcome.text().contains("git-source"), "{outcome}");
}
