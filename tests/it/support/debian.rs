//! A real base: Debian made from its own packages, once for all runs, with this machine's package sources in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::peers;
use super::registry::Registry;
use super::space::{TestSpace, kept, repository};

/// Changes when the way of making the base does.
const RECIPE: &str = "debian-1";

/// Returns the tarball of the base, making it when it is not there yet.
pub(crate) fn tarball() -> PathBuf {
    let place = kept(RECIPE);
    let path = place.join("base.tar");
    let lock = fs::File::create(place.join("lock")).unwrap();
    lock.lock().unwrap();
    if !path.exists() {
        let unfinished = place.join("unfinished.tar");
        let script = repository().join("examples/bases/make-debian.sh");
        peers::run("bash", [script.as_os_str(), unfinished.as_os_str()]);
        add_configuration(&unfinished, &place.join("configuration"));
        fs::rename(unfinished, &path).unwrap();
    }
    path
}

/// Imports the base, pushes it to a registry that is the mirror of docker.io, and removes it from the store.
pub(crate) fn serve(space: &TestSpace) -> Registry {
    let registry = Registry::start(&space.path("registry"));
    space.config(&registry.config());
    let name = format!("{}/library/debian:bookworm", registry.host());
    space.kiln(["import", "-c", "CMD [\"bash\"]"]).arg(tarball()).arg(&name).run().success();
    space.kiln(["push", &name]).run().success();
    space.kiln(["rmi", &name]).run().success();
    registry
}

/// Puts into the tarball what this machine needs to reach its packages: sources, certificates, pip's settings.
fn add_configuration(tarball: &Path, place: &Path) {
    let mut names = Vec::new();
    for source in
        ["etc/apt/sources.list", "etc/apt/sources.list.d/debian.sources", "etc/ssl/certs/ca-certificates.crt"]
    {
        let from = Path::new("/").join(source);
        if from.is_file() {
            let to = place.join(source);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(from, to).unwrap();
            names.push(source);
        }
    }
    let has_new_form = names.contains(&"etc/apt/sources.list.d/debian.sources");
    if has_new_form && !names.contains(&"etc/apt/sources.list") {
        fs::write(place.join("etc/apt/sources.list"), "").unwrap();
        names.push("etc/apt/sources.list");
    }
    fs::create_dir_all(place.join("etc")).unwrap();
    fs::write(place.join("etc/pip.conf"), pip_settings()).unwrap();
    names.push("etc/pip.conf");
    let file = format!("--file={}", tarball.display());
    for name in &names {
        // Not every name is in the tarball already.
        peers::output("tar", ["--delete", &file, &format!("./{name}")]);
    }
    let directory = format!("--directory={}", place.display());
    let options =
        ["--append", &file, &directory, "--owner=0", "--group=0", "--mode=u=rw,go=r", "--no-recursion"];
    peers::run(
        "tar",
        options.iter().map(|option| (*option).to_owned()).chain(names.iter().map(|name| format!("./{name}"))),
    );
}

/// Returns pip's settings that say how packages are reached.
fn pip_settings() -> String {
    let output = Command::new("python3").args(["-m", "pip", "config", "list"]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let mut settings = "[global]\n".to_owned();
    for line in text.lines() {
        let Some((name, value)) = line.split_once('=') else { continue };
        let name = name.rsplit('.').next().unwrap_or_default();
        if ["cert", "index-url", "extra-index-url", "trusted-host", "proxy"].contains(&name)
            && !settings.contains(&format!("\n{name} = "))
        {
            settings.push_str(&format!("{name} = {}\n", value.trim_matches('\'')));
        }
    }
    settings
}
