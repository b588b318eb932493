//! Texts of others, which could be anything: what registries, archives and configurations of images say does nothing to a terminal.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::support::http::{HttpServer, Response};
use crate::support::search::repository;
use crate::support::terminal::Terminal;
use crate::support::{TestSpace, requires};

/// Sets a title, rings, moves the cursor, begins a sequence by the one character that does it alone, and turns text around.
const HOSTILE: &str = "a\u{1b}]0;title\u{7}b\u{1b}[2Jc\u{9b}2Jd\u{202e}e\u{8}f";

/// Returns the first character of a screen that could act on the terminal. Kiln itself colours, ends lines, moves up over lines of
/// its own, and clears from where it is.
fn acts(screen: &str) -> Option<String> {
    let is_bidi =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut rest = screen;
    while let Some(at) = rest.find(|c: char| (c.is_control() && !"\r\n\t".contains(c)) || is_bidi(c)) {
        let tail = &rest[at..];
        let own = tail.strip_prefix("\u{1b}[").and_then(|tail| {
            let end = tail.find(|c: char| !c.is_ascii_digit() && c != ';')?;
            let is_own = matches!((&tail[..end], &tail[end..=end]), (_, "m" | "A") | ("", "K" | "J"));
            is_own.then(|| &tail[end + 1..])
        });
        match own {
            Some(after) => rest = after,
            None => return Some(tail.chars().take(20).collect()),
        }
    }
    None
}

/// A registry that finds a hostile repository, and refuses everything else in hostile words.
fn server() -> HttpServer {
    HttpServer::start(|request| match request.path.as_str() {
        "/v1/search" => {
            let results = [repository(HOSTILE, HOSTILE, 1, true)];
            Response::new(200, json!({"num_results": 1, "results": results}).to_string())
        }
        "/v2/" => Response::new(200, "{}"),
        _ => {
            let errors = [json!({"code": HOSTILE, "message": HOSTILE, "detail": HOSTILE})];
            Response::new(403, json!({"errors": errors}).to_string())
        }
    })
}

/// Imports an image with a hostile remark and a hostile name of a file.
fn import(space: &TestSpace) {
    let root = space.path("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join(HOSTILE), "x").unwrap();
    std::os::unix::fs::symlink(HOSTILE, root.join("link")).unwrap();
    let archive = space.path("root.tar");
    let packed = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".").status().unwrap();
    assert!(packed.success());
    space.kiln(["import", "-m", HOSTILE]).arg(&archive).arg("app").run().success();
}

#[test]
fn texts_of_others_do_nothing_to_a_terminal() {
    requires!("tar");
    let space = TestSpace::new();
    let server = server();
    let host = server.host();
    space.config(&format!("[registry.\"{host}\"]\nhttp = true\n"));
    import(&space);
    let remark = ["history", "--format", "{{.Comment}}", "app"];
    // Programs get what is there.
    assert_eq!(space.kiln(remark).run().success().text(), format!("{HOSTILE}\n"));
    let (term, name) = (format!("{host}/x"), format!("{host}/team/app:1"));
    for words in [
        &remark[..],
        &["history", "app"],
        &["history", "--no-trunc", "--format", "json", "app"],
        &["inspect", "app"],
        &["inspect", "-f", "{{.Comment}}", "app"],
        &["ls", "-lR", "app"],
        &["ls", "app", &format!("/{HOSTILE}")],
        &["ls", "app", &format!("/none-{HOSTILE}")],
        &["search", &term],
        &["search", "--no-trunc", "--format", "{{.Name}} {{.Description}}", &term],
        &["search", "--format", "json", &term],
        &["pull", &name],
        &["tags", &format!("{host}/team/app")],
        &["manifest", "inspect", &name],
        &["copy", &name, &format!("{host}/other")],
        &["images", HOSTILE],
        &["rmi", HOSTILE],
    ] {
        let (_, screen) = Terminal::start(space.kiln(words)).end();
        assert!(screen.contains('a'), "{words:?} shows nothing");
        assert_eq!(acts(&screen), None, "{words:?}: {screen:?}");
    }
}
