//! `kiln diff`: what differs between two images, and why.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::TestSpace;

/// Builds two images whose second stage differs in every way that files can.
fn images() -> TestSpace {
    let space = TestSpace::new();
    let steps = "FROM scratch\nCOPY same /same\nCOPY --chown=OWNER files/ /app/\n";
    for (name, owner, env) in [("one", "1:1", "A=1 B=2"), ("two", "2:1", "A=1 B=3 C=4")] {
        let dockerfile = format!(
            "{}ENV {env}\nCMD [\"{name}\"]\nLABEL \"\x1b[2J\"={name}\n",
            steps.replace("OWNER", owner)
        );
        let context = space.context(name, &[("Dockerfile", &dockerfile), ("same", "s"), ("files/kept", "k")]);
        let file = |file: &str| -> PathBuf { context.join("files").join(file) };
        std::fs::write(file(&format!("only {name}\n")), name).unwrap();
        std::fs::write(file("content"), name).unwrap();
        std::fs::write(file("mode"), "m").unwrap();
        let mode = if name == "one" { 0o644 } else { 0o755 };
        std::fs::set_permissions(file("mode"), std::fs::Permissions::from_mode(mode)).unwrap();
        symlink(name, file("link")).unwrap();
        symlink(format!("blake3:{name}0123456789"), file("looks like a digest")).unwrap();
        std::fs::write(file("first"), "f").unwrap();
        match name {
            "one" => std::fs::hard_link(file("first"), file("second")).unwrap(),
            _ => std::fs::write(file("second"), "f").unwrap(),
        }
        match name {
            "one" => std::fs::write(file("kind"), "").unwrap(),
            _ => std::fs::create_dir(file("kind")).unwrap(),
        }
        space.build(&context).args(["-t", name]).run().success();
    }
    space
}

#[test]
fn configuration_layers_and_files_are_told_with_the_reason() {
    let space = images();
    let said = space.kiln(["diff", "one", "two"]).run().success().text();
    for line in [
        "  config.Cmd: [\"one\"] → [\"two\"]",
        "  config.Env.B: \"2\" → \"3\"",
        "  config.Env.C: none → \"4\"",
        "  config.Labels.\\u{1b}[2J: \"one\" → \"two\"",
        "layers: 1 in common",
        "files: 1 added, 9 changed, 1 deleted",
        "  C /app/kept (owner 1:1 → 2:1)",
        "  C /app/kind (type file → directory)",
        "  C /app/link (target one → two; owner 1:1 → 2:1)",
        "  C /app/looks like a digest (target blake3:one0123456789 → blake3:two0123456789; owner 1:1 → 2:1)",
        "  C /app/second (owner 1:1 → 2:1; hard link /app/first → none)",
        "  C /app/mode (mode 0644 → 0755; owner 1:1 → 2:1)",
        "  D /app/only one\\x0a (file)",
        "  A /app/only two\\x0a (file)",
    ] {
        assert!(said.lines().any(|other| other == line), "{line}: {said}");
    }
    assert!(said.contains("  C /app/content (content 3 bytes, "), "{said}");
    assert!(!said.contains("/same"), "{said}");
}

#[test]
fn the_same_document_is_there_for_programs() {
    let space = images();
    let output = space.kiln(["diff", "one", "two", "--format=json"]).run().success();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["format"], 1);
    assert_eq!(document["common_layers"], 1);
    let field = json!({ "field": "config.Env.B", "before": "2", "after": "3" });
    assert!(document["config"].as_array().unwrap().contains(&field), "{document}");
    let mode = document["files"].as_array().unwrap().iter().find(|file| file["path"] == "app/mode").unwrap();
    let reasons = json!([
        { "aspect": "mode", "before": "0644", "after": "0755" },
        { "aspect": "owner", "before": "1:1", "after": "2:1" },
    ]);
    assert_eq!((&mode["change"], &mode["reasons"]), (&json!("changed"), &reasons));
}

#[test]
fn images_that_hold_the_same_say_how_they_are_kept_otherwise() {
    let space = TestSpace::new();
    let context = space.context("context", &[("Dockerfile", "FROM scratch\nCOPY a /\n"), ("a", "a")]);
    for compression in ["gzip", "none"] {
        let flags = ["-t", compression, "--compression", compression];
        space.build(&context).args(flags).run().success();
    }
    let said = space.kiln(["diff", "gzip", "none", "--exit-code"]).run().fails_with(3).text();
    let fields: Vec<&str> = said.lines().skip(2).map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(fields, ["manifest", "  layers[0].digest", "  layers[0].mediaType", "  layers[0].size"]);
}

#[test]
fn images_that_are_the_same_say_so_and_the_exit_code_tells_a_difference_from_a_failure() {
    let space = images();
    let same = space.kiln(["diff", "one", "one", "--exit-code"]).run().success();
    assert_eq!(same.text(), "the images are the same\n");
    space.kiln(["diff", "one", "two", "--exit-code"]).run().fails_with(3);
    let unknown = space.kiln(["diff", "one", "tow", "--exit-code"]).run().fails_with(1);
    unknown.says(&["no such image: `tow`", "did you mean `two`?"]);
}
