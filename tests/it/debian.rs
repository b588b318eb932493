//! Real projects on a real base: Debian from its own packages, pushed to a registry and found there by `FROM`; the
//! results run under another runtime and print what they should.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::image::json_file;
use crate::support::registry::Registry;
use crate::support::space::repository;
use crate::support::{Invocation, TestSpace, debian, peers, requires, users};

/// Builds an example on the Debian base and returns its layout.
fn build_example(space: &TestSpace, name: &str) -> PathBuf {
    let context = repository().join("examples").join(name);
    let layout = space.path("layout");
    let outputs = format!("type=oci,tar=false,name=app:1,dest={}", layout.display());
    space.build(&context).args(["-t", "app:1", "-o", &outputs]).run().success();
    layout
}

/// Builds an example, runs it under crun and compares with its `expect.txt`.
fn check_example(name: &str) -> (TestSpace, Registry) {
    let space = TestSpace::shared();
    let registry = debian::serve(&space);
    let layout = build_example(&space, name);
    let printed = peers::run_image(&layout, &only_tag(&layout), &space.path("bundle"));
    let expected = fs::read_to_string(repository().join("examples").join(name).join("expect.txt")).unwrap();
    assert_eq!(printed, expected, "{name}");
    let again = space.build(&repository().join("examples").join(name)).run().success();
    let context_steps = again.stderr.matches("CACHED").count();
    assert!(context_steps > 0, "the second build is cached: {again}");
    (space, registry)
}

/// Returns the name by which others find the image in a layout.
fn only_tag(layout: &Path) -> String {
    let index = json_file(&layout.join("index.json"));
    index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"]
        .as_str()
        .expect("the image has a name in its layout")
        .to_owned()
}

#[test]
fn a_c_program_runs_from_its_own_stage_and_has_one_digest_without_a_network() {
    requires!("root", "mmdebstrap", "docker-registry", "umoci", "crun", "skopeo", "setpriv", "newuidmap");
    let (space, registry) = check_example("c-multistage");
    let layout = space.path("layout");
    let image = format!("oci:{}:{}", layout.display(), only_tag(&layout));
    peers::skopeo_copy(&image, &format!("docker-archive:{}:app:1", space.path("app.tar").display()));
    let context = with_toolchain_as_base(&space, &registry);
    let offline = |call: Invocation| call.arg("--network=none").run().success().digest();
    let build = |store: &str, jobs: &str| space.build(&context).store(&space.path(store)).args(["-j", jobs]);
    let expected = offline(build("s1", "1"));
    assert_eq!(offline(build("s2", "4")), expected, "another store, four jobs");
    assert_eq!(offline(build("s2", "4").arg("--no-cache")), expected, "run again");
    let elsewhere =
        build("s3", "2").env("TZ", "Asia/Kolkata").under(["sh", "-c", "umask 077; exec \"$@\"", "sh"]);
    assert_eq!(offline(elsewhere), expected, "another zone and umask");
    let user = users::with_subordinate_ids(&space);
    assert_eq!(
        offline(build("unused", "2").user(&user).store(&user.path("store"))),
        expected,
        "another user"
    );
}

/// Pushes the example's first stage as an image, and returns a context whose Dockerfile starts from it: nothing in it
/// needs the network.
fn with_toolchain_as_base(space: &TestSpace, registry: &Registry) -> PathBuf {
    let toolchain = format!("{}/library/toolchain:1", registry.host());
    let example = repository().join("examples/c-multistage");
    space.build(&example).args(["--target", "toolchain", "-t", &toolchain, "--push"]).run().success();
    let text = fs::read_to_string(example.join("Dockerfile")).unwrap();
    let (_, stages) = text.split_once("FROM toolchain AS build").expect("the example's second stage");
    let context = space.path("context");
    peers::run("cp", [Path::new("-r"), &example, &context]);
    fs::write(context.join("Dockerfile"), format!("FROM toolchain:1 AS build{stages}")).unwrap();
    context
}

#[test]
fn a_python_service_with_packages_answers() {
    requires!("root", "mmdebstrap", "docker-registry", "umoci", "crun");
    check_example("python-service");
}

#[test]
fn a_node_program_runs_and_its_test_stage_is_built_on_demand() {
    requires!("root", "mmdebstrap", "docker-registry", "umoci", "crun");
    let (space, _registry) = check_example("node-app");
    // The base is in the store by now: no registry is asked any more.
    let context = repository().join("examples/node-app");
    space.build(&context).args(["--target", "test"]).run().success();
}

#[test]
fn a_public_project_builds_from_the_dockerfile_it_brings() {
    requires!("root", "mmdebstrap", "docker-registry", "umoci", "crun", "python3");
    let space = TestSpace::new();
    let registry = debian::serve(&space);
    // Its base is the official Python image; one made of Debian's Python takes that name for this build.
    let python = format!("{}/library/python-of-debian:3", registry.host());
    let dockerfile = "FROM debian:bookworm\nRUN apt-get update && apt-get install -y --no-install-recommends python3-pip libpq5 \\\n \
        && rm -rf /var/lib/apt/lists/* /usr/lib/python3*/EXTERNALLY-MANAGED\n";
    let base = space.context("base", &[("Dockerfile", dockerfile)]);
    space.build(&base).args(["-t", &python, "--push"]).run().success();
    let project = download("pgcli", "4.7.1", &space);
    let named = format!("python:3.14=docker-image://{python}");
    let layout = space.path("layout");
    let output = format!("type=oci,tar=false,name=pgcli:1,dest={}", layout.display());
    space.build(&project).args(["--build-context", &named, "-t", "pgcli:1", "-o", &output]).run().success();
    let bundle = space.path("bundle");
    let printed = peers::run_image_with(&layout, &only_tag(&layout), &bundle, &["pgcli", "--version"]);
    assert_eq!(printed.trim(), "Version: 4.7.1");
    drop(registry);
}

/// Downloads a project's source from the Python package index and unpacks it.
fn download(name: &str, version: &str, space: &TestSpace) -> PathBuf {
    let place = space.path("download");
    let target = place.display().to_string();
    let requirement = format!("{name}=={version}");
    // pip's own settings of this machine are needed, so its environment is left as it is.
    let mut command = std::process::Command::new("python3");
    command.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--no-binary",
        ":all:",
        "--dest",
        &target,
        &requirement,
    ]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "pip download: {}", String::from_utf8_lossy(&output.stderr));
    peers::run("tar", ["-xf", &format!("{target}/{name}-{version}.tar.gz"), "-C", &target]);
    place.join(format!("{name}-{version}"))
}
