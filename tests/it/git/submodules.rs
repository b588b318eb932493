//! Repositories within repositories.

use super::Scene;
use crate::support::git::{GitServer, Repository};
use crate::support::requires;

fn allowed<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    ["-c", "protocol.file.allow=always"].into_iter().chain(arguments.iter().copied()).collect()
}

/// Adds a submodule with an address that is not that of the files.
fn add(to: &Repository, from: &Repository, path: &str, address: &str) {
    let source = from.path("").display().to_string();
    to.git(&allowed(&["submodule", "--quiet", "add", "--force", &source, path]));
    to.git(&["config", "-f", ".gitmodules", &format!("submodule.{path}.url"), address]);
    to.git(&["add", ".gitmodules"]);
}

#[test]
fn submodules_come_by_relative_addresses_at_every_depth() {
    requires!("git");
    let scene = Scene::new();
    let place = scene.space.path("srv");
    let (inner, outer) = (Repository::new(&place, "inner"), Repository::new(&place, "outer"));
    inner.write("deep", "deep\n").commit();
    outer.write("file", "outer\n").commit();
    add(&outer, &inner, "lib/inner", "../inner.git");
    outer.commit();
    add(&scene.repository, &outer, "outer", "../outer.git");
    scene.repository.commit();
    let url = scene.url();
    scene.add(&format!("{url} /")).run().success();
    let gitmodules = |name: &str| format!("{name}.gitmodules ");
    let listing: Vec<String> =
        scene.listing().into_iter().filter(|line| !line.contains(&gitmodules(""))).collect();
    let expected =
        ["README first\\n", "outer/file outer\\n", "outer/lib/inner/deep deep\\n", "sub/inner inner\\n"];
    assert_eq!(listing, expected);
    scene.add(&format!("{url}?submodules=false&subdir=outer /d/")).run().success();
    assert_eq!(scene.listing(), Vec::<String>::new());
    scene.add(&format!("{url}#:outer/lib/inner /d/")).run().success();
    assert_eq!(scene.listing(), ["d/deep deep\\n"]);
}

#[test]
fn what_a_submodule_may_not_name_is_refused_and_nothing_is_run() {
    requires!("git");
    let scene = Scene::new();
    let place = scene.space.path("srv");
    let other = Repository::new(&place, "other");
    other.write("file", "other\n").commit();
    let marker = scene.space.path("marker");
    let file = other.path("").display().to_string();
    let helper = format!("ext::touch {}", marker.display());
    let option = format!("--upload-pack=touch {}", marker.display());
    let shell = format!("ssh://-oProxyCommand=touch%20{}/x", marker.display());
    for (address, says) in [
        (file.as_str(), "its address"),
        (&format!("file://{file}"), "a git repository is reached by"),
        (&helper, "its address"),
        (&option, "its address"),
        (&shell, "its address"),
        ("", "`.gitmodules` has no address for it"),
    ] {
        add(&scene.repository, &other, "other", address);
        if address.is_empty() {
            scene.repository.git(&["config", "-f", ".gitmodules", "--unset", "submodule.other.url"]);
        }
        scene.repository.commit();
        let outcome = scene.add(&format!("{} /", scene.url())).run().fails_with(1);
        outcome.says(&["cannot add the submodule `other`", says, "submodules=false"]);
        assert!(!marker.exists(), "{address}");
        scene.add(&format!("{}?submodules=0 /", scene.url())).run().success();
    }
    scene.repository.git(&["config", "-f", ".gitmodules", "submodule.other.update", "none"]);
    scene.repository.git(&["config", "-f", ".gitmodules", "submodule.other.url", "file:///x"]);
    scene.repository.commit();
    scene.add(&format!("{} /", scene.url())).run().success();
}

#[test]
fn a_secret_for_the_repository_is_not_for_a_submodule_elsewhere() {
    requires!("git");
    let scene = Scene::new();
    let place = scene.space.path("srv");
    let other = Repository::new(&place, "other");
    other.write("file", "other\n").commit();
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let listening = std::sync::Arc::clone(&heard);
    let elsewhere = GitServer::serve(&place, move |request| {
        listening.lock().unwrap().push(request.headers.get("authorization").cloned());
        None
    });
    add(&scene.repository, &other, "other", &format!("{}/other.git", elsewhere.url()));
    scene.repository.commit();
    let call = scene.add(&format!("{} /", scene.url()));
    call.env("TOKEN", "canary").args(["--secret", "id=GIT_AUTH_TOKEN,env=TOKEN"]).run().success();
    let heard = heard.lock().unwrap();
    assert!(!heard.is_empty() && heard.iter().all(Option::is_none), "{heard:?}");
}
