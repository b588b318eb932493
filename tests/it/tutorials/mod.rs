//! What tutorials of `docker` show, shown with kiln: each `.console` file is a transcript, of commands and all they print, against a
//! registry that stands for docker.io. Only the name of the program is another one.
//!
//! In a transcript `$ ` begins a command for a shell, with the program on its path, `$HOST`, the registry's own address, and `$INDEX`,
//! that of a server that searches as Docker's index does; `? 1` is how it ended, where that is not with zero. `[..]` stands for some
//! characters, `...` for any lines. Standard error is shown with standard output, as on a screen. `SNAPSHOTS=overwrite` writes down
//! what is printed; put the wildcards back.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;

use crate::support::http::{HttpServer, plain_config};
use crate::support::registry::Registry;
use crate::support::space::{program, repository};
use crate::support::{Outcome, TestSpace, busybox, requires, search};

/// The images of the registry: their layers, oldest first, and their names.
const IMAGES: &[(&[&str], &[&str])] = &[
    (&["debian", "nginx", "config"], &["library/nginx:latest", "library/nginx:mainline", "me/nginx:latest"]),
    (&["debian", "nginx", "older"], &["library/nginx:1.27.1"]),
    (&["alpine"], &["library/alpine:latest"]),
    (&["debian", "redis"], &["library/redis:latest"]),
    (&["debian", "demo"], &["nigelpoulton/tu-demo:latest", "nigelpoulton/tu-demo:v1"]),
    (&["debian", "demo", "second"], &["nigelpoulton/tu-demo:v2"]),
];

#[test]
fn images_are_pulled_by_default_tag_tag_and_digest() {
    transcript("pull");
}

#[test]
fn images_are_tagged_and_pushed_to_another_repository() {
    transcript("push");
}

#[test]
fn images_are_removed_by_name_id_and_all_at_once() {
    transcript("remove");
}

#[test]
fn images_are_looked_into() {
    transcript("inspect");
}

#[test]
fn images_are_saved_loaded_and_imported() {
    transcript("archives");
}

#[test]
fn all_tags_of_a_repository_are_pulled() {
    transcript("all_tags");
}

#[test]
fn repositories_are_searched() {
    transcript("search");
}

#[test]
fn an_image_is_pulled_by_run_and_its_container_changed_and_made_an_image() {
    requires!("root", "busybox");
    transcript("commit");
}

/// Runs the commands of a transcript, and compares what they print.
fn transcript(name: &str) {
    requires!("docker-registry", "bash");
    if cfg!(not(target_arch = "x86_64")) {
        return; // The platform is part of the configuration, and so of all ids that are shown.
    }
    let space = TestSpace::new();
    let registry = Registry::start(&space.path("registry"));
    let index = index();
    space.config(&(registry.config() + &plain_config(&index.host())));
    fill(&space, &registry);
    if name == "commit" {
        fill_busybox(&space, &registry);
    }
    fs::create_dir_all(space.path("bin")).unwrap();
    symlink(program(), space.path("bin/kiln")).unwrap();
    let file = repository().join(format!("tests/it/tutorials/{name}.console"));
    let written = fs::read_to_string(&file).unwrap();
    let hosts = [("$HOST", registry.host()), ("$INDEX", index.host())];
    let mut shown = String::new();
    for line in written.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            let outcome = run(&space, &hosts, command);
            shown.push_str(&format!("{line}\n{}", printed(&outcome, &hosts, &space)));
        } else if line.starts_with("# ") {
            shown.push_str(&format!("{line}\n"));
        }
    }
    snapbox::assert_data_eq!(shown, snapbox::Data::read_from(&file, None));
}

fn run(space: &TestSpace, hosts: &[(&str, String)], command: &str) -> Outcome {
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", space.path("bin").display());
    let call = space.kiln(["-c", &format!("exec 2>&1; {command}")]).program(Path::new("/bin/bash"));
    let directory = space.path("work");
    fs::create_dir_all(&directory).unwrap();
    let call = call.env("PATH", path).directory(&directory);
    hosts.iter().fold(call, |call, (variable, host)| call.env(&variable[1..], host)).run()
}

fn printed(outcome: &Outcome, hosts: &[(&str, String)], space: &TestSpace) -> String {
    let status = match outcome.status.code() {
        Some(0) => String::new(),
        code => format!("? {}\n", code.unwrap_or(-1)),
    };
    let text = String::from_utf8(outcome.stdout.clone()).unwrap();
    let text = hosts.iter().fold(text, |text, (variable, host)| text.replace(host, variable));
    let text = text.replace(space.path("").to_str().unwrap(), "$DIR");
    format!("{status}{text}")
}

/// A server that finds what the tutorials look for.
fn index() -> HttpServer {
    let nginx = "Official build of Nginx, a server for the web, for mail and as a proxy";
    let repositories = [
        search::repository("prefix/nginx-exporter", "Figures of a web server", 41, false),
        search::repository("nginx", nginx, 20_211, true),
        search::repository("nginx/nginx-ingress", "", 104, false),
    ];
    search::start(move |query| {
        let term = query.split('&').find_map(|part| part.strip_prefix("q=")).unwrap();
        let is_found = |hit: &&Value| hit["name"].as_str().unwrap().contains(term);
        repositories.iter().filter(is_found).cloned().collect()
    })
}

/// Pushes an image with a shell, from a store that is not the tutorials'.
fn fill_busybox(space: &TestSpace, registry: &Registry) {
    let context = space.context("busybox", &[("Dockerfile", "FROM scratch\nADD root.tar /\nCMD [\"sh\"]\n")]);
    space.file("busybox/root.tar", busybox::rootfs());
    let (store, name) = (space.path("publisher"), format!("{}/library/busybox", registry.host()));
    space.kiln(["build", "-q", "-t", &name]).arg(&context).store(&store).run().success();
    space.kiln(["push", "-q", &name]).store(&store).run().success();
}

/// Pushes the images that the tutorials pull, from a store that is not theirs.
fn fill(space: &TestSpace, registry: &Registry) {
    let store = space.path("publisher");
    for (layers, names) in IMAGES {
        let mut dockerfile = "FROM scratch\n".to_owned();
        let mut files = Vec::new();
        for layer in *layers {
            dockerfile.push_str(&format!("COPY {layer} /{layer}\n"));
            files.push((*layer, *layer));
        }
        dockerfile.push_str("CMD [\"nginx\", \"-g\", \"daemon off;\"]\n");
        files.push(("Dockerfile", &dockerfile));
        let context = space.context(&layers.join("-"), &files);
        let names: Vec<String> = names.iter().map(|name| format!("{}/{name}", registry.host())).collect();
        let build = space.kiln(["build", "-q"]).arg(&context).store(&store);
        build.args(names.iter().flat_map(|name| ["-t", name])).run().success();
        for name in &names {
            space.kiln(["push", "-q", name]).store(&store).run().success();
        }
    }
}
