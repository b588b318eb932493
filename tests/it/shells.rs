//! Completions and the manual: made of the command line's definition, so what is looked at is whether shells and readers of manuals
//! take them.

use std::fs;

use crate::support::{TestSpace, peers, requires};

#[test]
fn completions_are_scripts_that_their_shells_read() {
    requires!("bash", "zsh", "fish");
    let space = TestSpace::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = space.path(shell);
        fs::write(&script, space.kiln(["completions", shell]).run().success().stdout).unwrap();
        peers::run(shell, ["-n".as_ref(), script.as_os_str()]);
    }
    for shell in ["elvish", "powershell"] {
        assert!(!space.kiln(["completions", shell]).run().success().stdout.is_empty());
    }
    space.kiln(["completions", "tcsh"]).run().fails_with(2).says(&["bash"]);
}

#[test]
fn bash_completes_commands_flags_and_words_of_the_group() {
    requires!("bash");
    let space = TestSpace::new();
    let script = space.path("completions");
    fs::write(&script, space.kiln(["completions", "bash"]).run().success().stdout).unwrap();
    for (line, expected) in [
        ("kiln im", "image images import"),
        ("kiln image hist", "history"),
        ("kiln images --dig", "--digests"),
        ("kiln image rm --for", "--force"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let program = format!(
            "source {}; COMP_WORDS=({line}); COMP_CWORD={}; _kiln kiln '{}' '{}'; echo \"${{COMPREPLY[*]}}\"",
            script.display(),
            words.len() - 1,
            words[words.len() - 1],
            words[words.len() - 2],
        );
        let shown = peers::run("bash", ["-c", &program]);
        let mut completed: Vec<&str> = shown.split_whitespace().collect();
        completed.sort_unstable();
        assert_eq!(completed.join(" "), expected, "{line}");
    }
}

#[test]
fn the_manual_has_a_page_for_each_command_that_mandoc_reads() {
    requires!("mandoc");
    let space = TestSpace::new();
    let pages = space.path("man/man1");
    space.kiln(["man"]).arg(&pages).run().success();
    let mut names: Vec<String> = fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for name in ["kiln.1", "kiln-build.1", "kiln-image.1", "kiln-image-ls.1", "kiln-cache-mounts-ls.1"] {
        assert!(names.iter().any(|known| known == name), "{name} is not among {names:?}");
    }
    let paths: Vec<_> = names.iter().map(|name| pages.join(name)).collect();
    let lint = ["-T".into(), "lint".into(), "-W".into(), "error".into()];
    peers::run("mandoc", lint.into_iter().chain(paths));
    let page = fs::read_to_string(pages.join("kiln-rmi.1")).unwrap();
    assert!(page.contains("kiln images \\-q"), "examples are told, too: {page}");
    let file = space.path("file");
    fs::write(&file, "").unwrap();
    space.kiln(["man"]).arg(&file).run().fails_with(1).says(&["manual", "file"]);
}
