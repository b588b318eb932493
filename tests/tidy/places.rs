//! What may stand only in one place: unsafe code, tar headers, compression, the Dockerfile's words, the shared bans.

use std::fs;

use super::expect_none;
use super::tree::{TextFile, root, rust};

/// A word that may stand only in some files.
struct Place {
    words: &'static [&'static str],
    within: &'static str,
    allowed: &'static [&'static str],
    advice: &'static str,
}

const PLACES: [Place; 5] = [
    Place {
        words: &["unsafe "],
        within: "",
        allowed: &["builder/sandbox/src/sys.rs"],
        advice: "put the system call into builder/sandbox/src/sys.rs behind a safe function",
    },
    Place {
        words: &["kiln_frontend"],
        within: "builder/",
        allowed: &["builder/src/lower/", "builder/src/ignore.rs"],
        advice: "Dockerfile words end in builder/src/lower; hand plain values down",
    },
    Place {
        words: &["tar::Header", "Header::new_gnu", "Header::new_ustar", "Header::new_old"],
        within: "",
        allowed: &["builder/layer/src/tar/write", "tests/"],
        advice: "tar headers decide bytes: make them in builder/layer/src/tar/write.rs only",
    },
    Place {
        words: &[
            "GzEncoder",
            "DeflateEncoder",
            "ZlibEncoder",
            "flate2::Compress",
            "zstd::Encoder",
            "zstd::encode",
            "zstd::bulk",
            "stream::write::Encoder",
        ],
        within: "",
        allowed: &["builder/layer/src/compress", "tests/"],
        advice: "compression decides bytes: do it in builder/layer/src/compress.rs only",
    },
    Place {
        words: &["std::env::var", "env::var("],
        within: "",
        allowed: &["src/settings/", "tests/", "benches/", "build.rs"],
        advice: "src/settings.rs is the only reader of the environment; take the value as a parameter",
    },
];

#[test]
fn some_things_stand_only_in_their_place() {
    let files = rust();
    for place in PLACES {
        expect_none(&misplaced(&files, &place), place.advice);
    }
}

fn misplaced(files: &[TextFile], place: &Place) -> Vec<String> {
    let mut findings = Vec::new();
    let in_place = |path: &str| place.allowed.iter().any(|start| path.starts_with(start));
    for file in files.iter().filter(|file| file.path.starts_with(place.within) && !in_place(&file.path)) {
        // A test module of its own is a test; the words of this file are its subject.
        if file.path.ends_with("/tests.rs")
            || file.path.contains("/tests/")
            || file.path == "tests/tidy/places.rs"
        {
            continue;
        }
        let hits = file.code().filter(|(_, line)| place.words.iter().any(|word| has_word(line, word)));
        findings.extend(hits.map(|(number, line)| file.at(number, line)));
    }
    findings
}

/// Returns whether a line has a word that does not continue one before it, outside a comment at its end.
fn has_word(line: &str, word: &str) -> bool {
    let code = line.split(" // ").next().unwrap_or(line);
    code.match_indices(word).any(|(position, _)| {
        !code[..position]
            .ends_with(|letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '"' | '`'))
    })
}

#[test]
fn shared_bans_are_the_same_in_every_clippy_file() {
    let shared = |path: &str| {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let (_, rest) =
            text.split_once("# shared\n").unwrap_or_else(|| panic!("{path} has no `# shared` line"));
        rest.split_once("# end of shared")
            .unwrap_or_else(|| panic!("{path} has no `# end of shared` line"))
            .0
            .to_owned()
    };
    let expected = shared("clippy.toml");
    let members = super::tree::all().into_iter().filter(|file| file.path.ends_with("/clippy.toml"));
    let findings: Vec<String> =
        members.filter(|file| shared(&file.path) != expected).map(|file| file.path).collect();
    expect_none(&findings, "copy the shared part of the root's clippy.toml: a member's file replaces it");
}

#[test]
fn lints_are_expected_with_a_reason_and_never_allowed() {
    let files = rust();
    let hits = files.iter().flat_map(|file| {
        file.code().filter(|(_, line)| is_silencer(line)).map(|(number, line)| file.at(number, line))
    });
    let findings: Vec<String> = hits.filter(|hit| !hit.starts_with("tests/tidy/places.rs")).collect();
    expect_none(&findings, "write `#[expect(lint, reason = \"…\")]`, or mend the cause");
}

fn is_silencer(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("#[allow(")
        || line.starts_with("#![allow(")
        || line.starts_with("#[ignore")
        || line.starts_with("#[should_panic")
}
