//! Builds that only copy: no root, no network, no registry; every kind of result.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::image::{check_blobs, json_file, read_one};
use crate::support::layer::Kind;
use crate::support::space::program;
use crate::support::{TestSpace, peers, requires, users};

const DOCKERFILE: &str =
    "FROM scratch\nENV A=1\nWORKDIR /srv\nCOPY a.txt dir/ ./\nLABEL made=here\nCMD [\"/srv/a.txt\"]\n";
const FILES: [(&str, &str); 4] =
    [("Dockerfile", DOCKERFILE), ("a.txt", "alpha\n"), ("dir/b.txt", "beta\n"), (".dockerignore", "*.log\n")];

#[test]
fn a_copy_only_build_makes_the_image_that_its_dockerfile_says() {
    let space = TestSpace::new();
    let context = space.context("context", &FILES);
    let (layout, outcome) = space.build_layout(&context, "layout", &["-t", "app"]);
    let image = read_one(&layout);
    assert_eq!(outcome.digest(), image.digest);
    let config = &image.config["config"];
    assert_eq!(config["Cmd"], serde_json::json!(["/srv/a.txt"]));
    assert_eq!(config["WorkingDir"], "/srv");
    assert_eq!(config["Labels"]["made"], "here");
    let flat = image.flatten();
    let names: Vec<_> = flat.iter().map(|(name, _, _)| String::from_utf8_lossy(name).into_owned()).collect();
    assert_eq!(names, ["", "srv", "srv/a.txt", "srv/b.txt"]);
    let Kind::File(6, _, Some(content)) = &flat.get(b"srv/a.txt").unwrap().kind else {
        panic!("srv/a.txt is another thing")
    };
    assert_eq!(content, b"alpha\n");
    check_blobs(&space.store());
}

#[test]
fn file_times_are_the_epoch_whatever_the_context_says() {
    let space = TestSpace::new();
    let context = space.context("context", &FILES);
    for (epoch, expected) in [(None, 315_532_800), (Some("1000000000"), 1_000_000_000)] {
        let layout = space.path(&format!("layout{expected}"));
        let output = format!("type=oci,tar=false,dest={}", layout.display());
        let call = space.build(&context).args(["-o", &output]);
        let call = epoch.iter().fold(call, |call, epoch| call.env("SOURCE_DATE_EPOCH", epoch));
        call.run().success();
        let times: Vec<i64> = read_one(&layout)
            .layers
            .iter()
            .flat_map(|layer| layer.entries.iter().map(|entry| entry.mtime))
            .collect();
        assert!(
            !times.is_empty() && times.iter().all(|time| *time == expected),
            "{times:?} should all be {expected}"
        );
    }
}

#[test]
fn attributes_and_capabilities_go_from_a_context_through_a_stage_into_the_layer() {
    requires!("root");
    let space = TestSpace::new();
    let dockerfile =
        "FROM scratch AS one\nCOPY f /d/\nFROM scratch\nCOPY --from=one --chown=5 --chmod=700 /d /\n";
    let context = space.context("context", &[("Dockerfile", dockerfile), ("f", "content\n")]);
    let set = |name, value| {
        rustix::fs::setxattr(context.join("f"), name, value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    let mut capability = [0_u8; 20];
    capability[..6].copy_from_slice(&[1, 0, 0, 2, 0, 4]);
    set("user.key", &b"a\0value"[..]);
    set("security.capability", &capability);
    let (layout, _) = space.build_layout(&context, "layout", &["--compression", "none"]);
    let image = read_one(&layout);
    let node = image.flatten().get(b"f").unwrap().clone();
    assert_eq!(
        (node.mode, node.uid, node.capability.as_deref()),
        (0o700, 5, Some("AQAAAgAEAAAAAAAAAAAAAAAAAAA="))
    );
    let digest = image.manifest["layers"][0]["digest"].as_str().unwrap().replace(':', "/");
    let layer = fs::read(layout.join("blobs").join(digest)).unwrap();
    let record = b" SCHILY.xattr.user.key=a\0value\n";
    assert!(layer.windows(record.len()).any(|bytes| bytes == record));
}

#[test]
fn the_second_build_is_all_cached_and_has_the_same_digest() {
    let space = TestSpace::new();
    let context = space.context("context", &FILES);
    let first = space.build(&context).args(["-t", "app"]).run().success();
    let second = space.build(&context).args(["-t", "app"]).run().success().says(&["CACHED"]);
    assert_eq!(first.digest(), second.digest());
    space.file("context/a.txt", "another\n");
    let third = space.build(&context).args(["-t", "app"]).run().success();
    assert_ne!(first.digest(), third.digest());
}

#[test]
fn a_link_found_by_a_wildcard_is_copied_anew_when_it_has_another_name() {
    let space = TestSpace::new();
    let files = [("Dockerfile", "FROM scratch\nCOPY *.txt /o/\n"), ("d/x", "content\n")];
    let context = space.context("context", &files);
    for name in ["a.txt", "b.txt"] {
        let link = context.join(name);
        std::os::unix::fs::symlink("d/x", &link).unwrap();
        let (layout, _) = space.build_layout(&context, &format!("layout-{name}"), &[]);
        let flat = read_one(&layout).flatten();
        let paths: Vec<_> =
            flat.iter().map(|(path, _, _)| String::from_utf8_lossy(path).into_owned()).collect();
        assert_eq!(paths, ["", "o", &format!("o/{name}")]);
        fs::remove_file(&link).unwrap();
    }
}

#[test]
fn the_program_is_also_called_build() {
    let space = TestSpace::new();
    let context = space.context("context", &FILES);
    let build = space.path("build");
    if fs::hard_link(program(), &build).is_err() {
        fs::copy(program(), &build).unwrap();
    }
    let expected = space.build(&context).run().success().digest();
    let called = space.kiln(["-q", "-t", "app", "."]).directory(&context).program(&build).run().success();
    assert_eq!(called.digest(), expected);
}

#[test]
fn the_dockerfile_and_the_context_may_come_on_standard_input() {
    let space = TestSpace::new();
    let context = space.context("context", &FILES);
    let expected = space.build(&context).run().success().digest();
    let dockerfile = space.build(&context).args(["-f", "-"]).stdin(DOCKERFILE).run().success();
    assert_eq!(dockerfile.digest(), expected, "-f -");
    let tar = Command::new("tar").args(["-c", "-C"]).arg(&context).arg(".").output().unwrap();
    let piped = space.kiln(["build", "-"]).stdin(tar.stdout).run().success();
    assert_eq!(piped.digest(), expected, "a tar as the context");
}

#[test]
fn every_kind_of_output_holds_the_same_files() {
    requires!("skopeo", "tar");
    let space = TestSpace::new();
    let context = space.context("context", &FILES);
    let at = |name: &str| space.path(name).display().to_string();
    let outputs = [
        format!("type=oci,dest={}", at("app.oci.tar")),
        format!("type=oci,tar=false,dest={}", at("layout")),
        format!("type=docker,dest={}", at("app.docker.tar")),
        format!("type=local,dest={}", at("files")),
        format!("type=tar,dest={}", at("files.tar")),
    ];
    let call = space.build(&context).args(["-t", "example.com/app:1"]);
    let digest = outputs.iter().fold(call, |call, output| call.args(["-o", output])).run().success().digest();
    assert_eq!(read_one(&space.path("layout")).digest, digest);
    assert_eq!(
        peers::skopeo_inspect(&format!("oci-archive:{}", at("app.oci.tar")))["Digest"],
        digest.as_str()
    );
    peers::skopeo_copy(&format!("docker-archive:{}", at("app.docker.tar")), &format!("dir:{}", at("copied")));
    peers::skopeo_copy(
        &format!("oci-archive:{}", at("app.oci.tar")),
        &format!("docker-archive:{}:app:2", at("other.tar")),
    );
    assert_eq!(fs::read_to_string(space.path("files/srv/b.txt")).unwrap(), "beta\n");
    let listed = peers::run("tar", ["-tf", &at("files.tar")]);
    assert!(listed.lines().any(|line| line.trim_start_matches("./") == "srv/b.txt"), "{listed}");
}

#[test]
fn an_archive_on_standard_output_is_nothing_but_the_archive() {
    requires!("skopeo");
    let space = TestSpace::new();
    let context = space.context("context", &FILES);
    let outcome = space.build(&context).args(["-o", "type=oci,dest=-"]).run().success();
    let archive = space.file("piped.tar", &outcome.stdout);
    peers::skopeo_inspect(&format!("oci-archive:{}", archive.display()));
}

#[test]
fn the_store_is_an_image_layout_that_others_read() {
    requires!("skopeo");
    let space = TestSpace::new();
    let context = space.context("context", &FILES);
    let digest = space.build(&context).args(["-t", "app:1"]).run().success().digest();
    let index = json_file(&space.store().join("index.json"));
    let entries = index["manifests"].as_array().unwrap();
    let entry = entries
        .iter()
        .find(|entry| entry["digest"] == digest.as_str())
        .expect("the image is in the store's index");
    let name = entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap();
    assert_eq!(
        peers::skopeo_inspect(&format!("oci:{}:{name}", space.store().display()))["Digest"],
        digest.as_str()
    );
}

#[test]
fn the_files_that_report_the_result_agree() {
    let space = TestSpace::new();
    let context = space.context("context", &FILES);
    let (id, metadata) = (space.path("id"), space.path("metadata.json"));
    let call = space
        .kiln(["build", "-q", "-t", "app"])
        .arg(&context)
        .arg("--iidfile")
        .arg(&id)
        .arg("--metadata-file")
        .arg(&metadata);
    let outcome = call.run().success();
    let metadata = json_file(&metadata);
    assert_eq!(metadata["containerimage.digest"], outcome.digest().as_str());
    let id = fs::read_to_string(id).unwrap();
    assert!(id.trim().starts_with("sha256:"), "{id}");
    assert_eq!(outcome.text().lines().count(), 1, "only the digest on standard output: {outcome}");
    assert_eq!(outcome.stderr, "", "quiet means quiet");
}

#[test]
fn users_without_any_privilege_build_the_same_image() {
    requires!("root", "setpriv");
    let space = TestSpace::shared();
    let context = space.context("context", &FILES);
    fs::set_permissions(&context, fs::Permissions::from_mode(0o755)).unwrap();
    let expected = space.build(&context).run().success().digest();
    for user in [users::with_subordinate_ids(&space), users::with_single_id(&space)] {
        let copy = user.path("context");
        copy_tree(&context, &copy);
        user.own(&copy);
        let store = user.path("store");
        let outcome =
            space.kiln(["build", "--progress=plain"]).arg(&copy).user(&user).store(&store).run().success();
        assert_eq!(outcome.digest(), expected, "built by {}", user.name);
    }
}

fn copy_tree(from: &Path, to: &Path) {
    peers::run("cp", [Path::new("-r"), from, to]);
}

#[test]
fn a_changed_layer_is_the_same_whether_its_blocks_were_copied_or_made() {
    let space = TestSpace::new();
    let names: Vec<String> = (0..600).map(|number| format!("src/{}/{number}", number % 9)).collect();
    let text = |round: usize, number: usize| {
        (0..400).map(|line| format!("{} ", line * (number + 7) * (round + 1) % 9973)).collect::<String>()
    };
    let dockerfile = "FROM scratch\nCOPY src /src\n";
    let path = space.context("context", &[("Dockerfile", dockerfile)]);
    for (number, name) in names.iter().enumerate() {
        space.file(&format!("context/{name}"), text(0, number));
    }
    for (turn, compression) in ["gzip", "zstd", "none"].into_iter().enumerate() {
        let build = |store: &str| {
            space.build(&path).args(["--compression", compression]).store(&space.path(store)).run().success()
        };
        build(compression);
        for round in 1..4 {
            space.file(&format!("context/{}", names[round * 150]), text(4 * turn + round, round));
            let copied = build(compression).never_says(&["CACHED COPY"]).digest();
            assert_eq!(copied, build(&format!("{compression}-{round}")).digest(), "{compression}, {round}");
        }
    }
}
