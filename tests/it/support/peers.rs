//! Other tools of the trade, called for a second opinion.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::program::SEARCH_PATH;
use super::requires::has_program;
use super::space::repository;

/// Runs another tool, and returns its standard output; panics with everything it said when it fails.
#[track_caller]
pub(crate) fn run<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> String {
    printed(command(program).args(arguments))
}

/// Runs another tool, and returns whatever came out.
pub(crate) fn output<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Output {
    ended(command(program).args(arguments))
}

/// Prepares a call of another tool, with nothing around it.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", SEARCH_PATH).env("HOME", "/root").env("LANG", "C.UTF-8");
    command
}

/// Runs what was prepared, and returns its standard output; panics with everything it said when it fails.
#[track_caller]
pub(crate) fn printed(command: &mut Command) -> String {
    let output = ended(command);
    let error = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{text}\n{error}", output.status);
    text
}

fn ended(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
}

/// Returns the client of docker, where it is installed or `tests/install-packages.sh` has unpacked it.
pub(crate) fn docker() -> Option<PathBuf> {
    let unpacked = repository().join("target/tools/docker");
    match unpacked.is_file() {
        true => Some(unpacked),
        false => has_program("docker").then(|| "docker".into()),
    }
}

/// Inspects an image with skopeo (`oci:DIR:TAG`, `oci-archive:FILE`, `docker://…`) and returns its answer.
#[track_caller]
pub(crate) fn skopeo_inspect(image: &str) -> serde_json::Value {
    let text = run("skopeo", ["inspect", "--tls-verify=false", image]);
    serde_json::from_str(&text).unwrap()
}

/// Copies an image with skopeo, without any policy of this machine.
#[track_caller]
pub(crate) fn skopeo_copy(from: &str, to: &str) {
    run(
        "skopeo",
        [
            "--insecure-policy",
            "copy",
            "--quiet",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            from,
            to,
        ],
    );
}

/// Unpacks an OCI layout with umoci into a runtime bundle, and runs it with crun; returns what it printed.
#[track_caller]
pub(crate) fn run_image(layout: &Path, tag: &str, bundle: &Path) -> String {
    run_image_with(layout, tag, bundle, &[])
}

/// As `run_image`, with another command where one is given.
///
/// The bundle shares the network and takes no terminal, so that it runs inside containers too.
#[track_caller]
pub(crate) fn run_image_with(layout: &Path, tag: &str, bundle: &Path, command: &[&str]) -> String {
    let image = format!("{}:{tag}", layout.display());
    run("umoci", [OsStr::new("unpack"), OsStr::new("--image"), OsStr::new(&image), bundle.as_os_str()]);
    let path = bundle.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["process"]["terminal"] = false.into();
    if !command.is_empty() {
        config["process"]["args"] = serde_json::json!(command);
    }
    if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
    }
    config["linux"].as_object_mut().unwrap().remove("resources");
    config["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "cgroup");
    std::fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
    let id = format!("kiln-{}", &super::sha256::of(bundle.as_os_str().as_encoded_bytes())[..16]);
    // crun refuses to start where both versions of cgroups are mounted; it need not see the second.
    let script = "[ ! -d /sys/fs/cgroup/unified ] || umount /sys/fs/cgroup/unified; exec crun --cgroup-manager=disabled run --bundle \"$0\" \"$1\"";
    let words = ["--mount", "--propagation=private", "sh", "-c", script].map(OsStr::new);
    run("unshare", words.into_iter().chain([bundle.as_os_str(), OsStr::new(&id)]))
}
