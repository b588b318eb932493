//! COPY and ADD, rule by rule: trees and an instruction in, tree or message out.

use kiln_glob::{DoubleStar, PathGlob};
use kiln_layer::{
    Accounts, Chmod, CopyRequest, CopySource, ParentsPattern, Part, PathMatcher, Tree, WithTime, copy,
    resolve_owner,
};

use crate::support::{ArchivePath, path, show, tree};

const TEXTS: &[&str] = &["a", "b", "c", "old", "f", "g"];

/// Runs `[--flags] source… destination` and shows the target afterwards, or the error.
fn run(source: &[&str], target: &[&str], instruction: &str) -> Result<Vec<String>, String> {
    let (source, mut target) = (tree(source), tree(target));
    let copied = request(&source, &target, instruction)?;
    target.apply(&copied.changes);
    Ok(show(&target, TEXTS))
}

fn request(source: &Tree, target: &Tree, instruction: &str) -> Result<kiln_layer::Copied, String> {
    let (flags, mut words): (Vec<&str>, Vec<&str>) =
        instruction.split(' ').partition(|word| word.starts_with("--"));
    let destination = words.pop().unwrap();
    let value = |name: &str| flags.iter().find_map(|flag| flag.strip_prefix(name)?.strip_prefix('='));
    let excludes: Vec<String> =
        flags.iter().filter_map(|flag| Some(flag.strip_prefix("--exclude=")?.to_owned())).collect();
    let exclude = |path: &ArchivePath, _: bool| {
        excludes.iter().fold(false, |out, pattern| match pattern.strip_prefix('!') {
            Some(pattern) => out && !hits(pattern.as_bytes(), path),
            None => out || hits(pattern.as_bytes(), path),
        })
    };
    let parents: Vec<_> = words.iter().map(|word| ParentsPattern::parse(word.as_bytes()).unwrap()).collect();
    let includes: Vec<Box<PathMatcher<'_>>> = parents
        .iter()
        .map(|pattern| -> Box<PathMatcher<'_>> {
            Box::new(|path: &ArchivePath, _| pattern.below.is_root() || hits(pattern.below.as_bytes(), path))
        })
        .collect();
    let source_of = |index: usize| {
        let pattern = &parents[index];
        if !flags.contains(&"--parents") {
            return CopySource::Path { tree: source, pattern: words[index].as_bytes(), part: None };
        }
        let part = Part { include: &includes[index], required: pattern.is_literal.then_some(&pattern.below) };
        CopySource::Path { tree: source, pattern: pattern.base, part: Some(part) }
    };
    let request = CopyRequest {
        sources: (0..words.len()).map(source_of).collect(),
        destination: if destination == "''" { b"" } else { destination.as_bytes() },
        workdir: b"/work",
        owner: value("--chown").map(|text| resolve_owner(text, Accounts::default()).unwrap()),
        chmod: value("--chmod").map(|text| Chmod::parse(text).unwrap()),
        link: flags.contains(&"--link"),
        exclude: Some(&exclude),
        with_time: WithTime::No,
    };
    copy(target, &request).map_err(|error| error.to_string())
}

/// Whether a pattern of an ignore file takes `path` or a directory that it lies in.
fn hits(pattern: &[u8], path: &ArchivePath) -> bool {
    let glob = PathGlob::new(pattern, DoubleStar::Spans).unwrap();
    path.ancestors().skip(1).chain([path.clone()]).any(|at| glob.matches(at.as_bytes()))
}

type Row = (
    &'static [&'static str],
    &'static [&'static str],
    &'static str,
    Result<&'static [&'static str], &'static str>,
);

#[test]
fn files_go_where_the_destination_says() {
    let rows: &[Row] = &[
        (&["a"], &[], "a /x", Ok(&["x: a"])),
        (&["a"], &[], "a /x/y/z", Ok(&["x/", "x/y/", "x/y/z: a"])),
        (&["a"], &[], "a /d/", Ok(&["d/", "d/a: a"])),
        (&["a"], &["d/"], "a /d", Ok(&["d/", "d/a: a"])),
        (&["a"], &["d/ @700,5,6"], "a /d/", Ok(&["d/ @700,5,6", "d/a: a"])),
        (&["a"], &[], "a ''", Ok(&["work/", "work/a: a"])),
        (&["a"], &[], "a .", Ok(&["work/", "work/a: a"])),
        (&["a"], &[], "a ../up", Ok(&["up: a"])),
        (&["a"], &[], "../../a /x/../../up", Ok(&["up: a"])),
        (&["a"], &["x: old"], "a /x", Ok(&["x: a"])),
        (&["a"], &["x: old", "y = x"], "a /x", Ok(&["x: a", "y: old"])),
        (&["a"], &["d/", "d/a/"], "a /d", Err("cannot replace the directory `/d/a` with the file `/a`")),
        (&["a"], &["x: old"], "a /x/", Err("destination `/x` is a file, not a directory")),
        (&["a"], &["x: old"], "a /x/y", Err("destination `/x` is a file, not a directory")),
        (&["a"], &[], "b /x", Err("source `/b` was not found")),
        (&["a"], &[], "a/x /y", Err("source `/a/x` cannot be reached")),
        (&["a", "b"], &[], "a b /x", Err("2 sources need a directory as destination: end `/x` with `/`")),
        (&["a", "b"], &[], "* /x", Err("2 sources need a directory as destination: end `/x` with `/`")),
        (&["a", "b"], &[], "a b /x/", Ok(&["x/", "x/a: a", "x/b: b"])),
        (&["p|"], &[], "p /x", Ok(&["x|"])),
    ];
    check(rows);
}

#[test]
fn directories_merge_their_contents() {
    let rows: &[Row] = &[
        (&["d/ @1770,11,12", "d/f @6755,13,14"], &[], "d /x", Ok(&["x/", "x/f: ? @6755,13,14"])),
        (&["d/ @700", "d/s/ @711"], &["x/ @750,1,2"], "d /x", Ok(&["x/ @750,1,2", "x/s/ @711"])),
        (
            &["d/", "d/s/ @711,3,4"],
            &["x/", "x/s/ @700", "x/s/k: old"],
            "d /x",
            Ok(&["x/", "x/s/ @711,3,4", "x/s/k: old"]),
        ),
        (
            &["d/", "d/n: a"],
            &["x/", "x/n/"],
            "d /x",
            Err("cannot replace the directory `/x/n` with the file `/d/n`"),
        ),
        (
            &["d/", "d/n/"],
            &["x/", "x/n: old"],
            "d /x",
            Err("cannot copy the directory `/d/n` to `/x/n`, which is a file"),
        ),
        (&["d/"], &["x: old"], "d /x", Err("cannot copy the directory `/d` to `/x`, which is a file")),
        (
            &["d/", "d/n/"],
            &["t/", "x/", "x/n -> /t"],
            "d /x",
            Err("cannot copy the directory `/d/n` to `/x/n`, which is a symlink"),
        ),
        (&["d/", "d/n: a"], &["t: old", "x/", "x/n -> /t"], "d /x", Ok(&["t: old", "x/", "x/n: a"])),
        (&["d/", "d/e/ @700"], &[], "d/ /x/", Ok(&["x/", "x/e/ @700"])),
        (&[], &[], "/ /x", Ok(&["x/"])),
        (&["d/", "d/a: a", "d/b = d/a"], &[], "d /x", Ok(&["x/", "x/a: a", "x/b = x/a"])),
        (&["d/", "d/a -> t", "d/b = d/a"], &[], "d /x", Ok(&["x/", "x/a -> t", "x/b -> t"])),
        (&["a: a", "b = a"], &[], "a b /x/", Ok(&["x/", "x/a: a", "x/b: a"])),
    ];
    check(rows);
}

#[test]
fn symlinks_lead_inside_the_root() {
    let rows: &[Row] = &[
        (&["a"], &["r/", "l -> r"], "a /l/s/x", Ok(&["l -> r", "r/", "r/s/", "r/s/x: a"])),
        (&["a"], &["r/", "l -> /r"], "a /l", Ok(&["l -> /r", "r/", "r/a: a"])),
        (&["a"], &["l -> /gone"], "a /l", Ok(&["gone: a", "l -> /gone"])),
        (&["a"], &["l -> /gone"], "a /l/x", Ok(&["gone/", "gone/x: a", "l -> /gone"])),
        (&["a"], &["l -> ../../../gone"], "a /l", Ok(&["gone: a", "l -> ../../../gone"])),
        (&["a"], &["l -> m", "m -> l"], "a /l", Err("destination `/l` cannot be reached")),
        (&["a", "l -> a"], &[], "l /x/", Ok(&["x/", "x/l: a"])),
        (&["d/", "d/f: f", "l -> d"], &[], "l /x", Ok(&["x/", "x/f: f"])),
        (&["d/", "d/l -> f"], &[], "d /x", Ok(&["x/", "x/l -> f"])),
        (&["b/", "b/l -> ../../../../a", "a"], &[], "b/l /x", Ok(&["x: a"])),
        (&["l -> /etc/passwd"], &[], "l /x", Err("source `/l` leads to `/etc/passwd`, which was not found")),
    ];
    check(rows);
}

#[test]
fn wildcards_match_as_in_go() {
    let rows: &[Row] = &[
        (&["a", "b", "d/", "d/a: c"], &[], "* /x/", Ok(&["x/", "x/a: c", "x/b: b"])),
        (&["d/", "d/a: a", "a: c"], &[], "**/a /x/", Ok(&["x/", "x/a: a"])),
        (&["a"], &[], "z* /x/", Ok(&[])),
        (&["d/"], &[], "d/z* /x/", Ok(&[])),
        (&["a"], &[], "d/z* /x/", Err("source `/d` was not found")),
        (&["a"], &[], "[^b] /x/", Ok(&["x/", "x/a: a"])),
        (&["a"], &[], "[a /x/", Err("`[a` is not a pattern")),
        (&["a", "l -> gone"], &[], "* /x/", Err("source `/l` leads to `/gone`, which was not found")),
    ];
    check(rows);
}

#[test]
fn flags_decide_metadata_and_places() {
    let rows: &[Row] = &[
        (&["d/", "d/f", "d/l -> f"], &[], "--chmod=640 d /x", Ok(&["x/ @640", "x/f: ? @640", "x/l -> f"])),
        (&["a"], &[], "--chmod=700 --chown=5:6 a /p/q", Ok(&["p/ @700,5,6", "p/q: a @700,5,6"])),
        (&["a"], &["p/"], "--chown=5:6 a /p/q", Ok(&["p/", "p/q: a @644,5,6"])),
        (&["d/ @700", "d/f: f"], &[], "--chmod=711 d /", Ok(&["f: f @711"])),
        (&["a"], &[], "--chmod=7711 a /p/q", Ok(&["p/ @711", "p/q: a @7711"])),
        (&["d/ @700", "d/s/ @700"], &[], "--chmod=go=u d /p/q", Ok(&["p/", "p/q/", "p/q/s/ @777"])),
        (&["a"], &["r/", "l -> r"], "--link a /l/x", Ok(&["l/", "l/x: a", "r/"])),
        (&["o/ @700", "o/f: f"], &["x/ @711"], "--link o /x", Ok(&["x/", "x/f: f"])),
        (&["s/", "s/a: a", "s/b: b"], &[], "--exclude=a s /x", Ok(&["x/", "x/b: b"])),
        (&["a", "s/", "s/a: b", "s/b: b"], &[], "--exclude=a a s /x/", Ok(&["x/", "x/a: a", "x/b: b"])),
        (
            &["s/", "s/d/ @711", "s/d/a: a", "s/d/b: b"],
            &[],
            "--exclude=d --exclude=!d/b s /x",
            Ok(&["x/", "x/d/ @711", "x/d/b: b"]),
        ),
        (&["s/", "s/d/", "s/d/a: a"], &[], "--exclude=d s /x", Ok(&["x/"])),
    ];
    check(rows);
}

#[test]
fn what_no_file_system_takes_is_refused() {
    let name = "n".repeat(255);
    assert_eq!(run(&["a"], &[], &format!("a /{name}")).unwrap(), [format!("{name}: a")]);
    let long = run(&["a"], &[], &format!("a /{name}n")).unwrap_err();
    assert!(
        long.ends_with(
            "…` is too long: it has 256 bytes, more than the 255 of a name, and nobody could unpack the image"
        ),
        "{long}"
    );
    let deep = format!("{name}/").repeat(16);
    let long = run(&["a"], &[], &format!("a /{deep}")).unwrap_err();
    assert!(long.contains("has 4095 bytes, more than the 4094 of a path"), "{long}");
}

#[test]
fn parents_keep_the_path_from_the_pivot() {
    let rows: &[Row] = &[
        (
            &["x/ @750", "x/y/", "x/y/f: f"],
            &[],
            "--parents x/y/f /d/",
            Ok(&["d/", "d/x/ @750", "d/x/y/", "d/x/y/f: f"]),
        ),
        (
            &["x/ @750", "x/y/ @711", "x/y/f: f"],
            &[],
            "--parents x/./y /d",
            Ok(&["d/", "d/y/ @711", "d/y/f: f"]),
        ),
        (
            &["x/", "x/f: f", "x/y/", "x/y/g: g"],
            &[],
            "--parents **/f **/g /d/",
            Ok(&["d/", "d/x/", "d/x/f: f", "d/x/y/", "d/x/y/g: g"]),
        ),
        (
            &["x/", "x/y/", "x/y/f: f", "x/z/", "x/z/g: g"],
            &[],
            "--parents --chmod=700 x/./y x/./z/* /d",
            Ok(&["d/ @700", "d/y/ @700", "d/y/f: f @700", "d/z/ @700", "d/z/g: g @700"]),
        ),
        (&["x/", "x/f: f"], &[], "--parents x/./. /d/", Ok(&["d/", "d/f: f"])),
        (&["x/", "y/", "x/f: f", "y/g: g"], &[], "--parents ?/./f /d/", Ok(&["d/", "d/f: f"])),
        (&["x/"], &[], "--parents x/no /d/", Err("source `/x/no` was not found")),
        (&["x/"], &[], "--parents no/./* /d/", Err("source `/no` was not found")),
        (&["x/"], &[], "--parents no/* /d/", Ok(&["d/"])),
        (&["x/", "x/f: f", "l -> x"], &[], "--parents l/* /d/", Ok(&["d/"])),
        (&["x/", "x/f: f", "l -> x"], &[], "--parents l/f /d/", Err("source `/l/f` was not found")),
        (&["x/", "x/f: f", "l -> x"], &[], "--parents l/./f /d/", Ok(&["d/", "d/f: f"])),
        (&["l -> gone"], &[], "--parents l /d/", Ok(&["d/", "d/l -> gone"])),
        (
            &["a: a", "b = a", "c = a"],
            &[],
            "--parents ? /d/",
            Ok(&["d/", "d/a: a", "d/b = d/a", "d/c = d/a"]),
        ),
        (
            &["x/ @700", "x/f: f"],
            &["x/ @711,1,2"],
            "--parents --chmod=644 --chown=3 x/f /",
            Ok(&["x/ @700,1,2", "x/f: f @644,3,3"]),
        ),
        (&["x/ @700", "x/f: f"], &["x/ @711,1,2"], "--parents x /", Ok(&["x/ @700", "x/f: f"])),
        (
            &["x/", "x/a: a", "x/y/", "x/y/a: a", "x/y/b: b"],
            &[],
            "--parents --exclude=**/a **/y /d/",
            Ok(&["d/", "d/x/", "d/x/y/", "d/x/y/b: b"]),
        ),
    ];
    check(rows);
}

#[test]
fn new_directories_inherit_the_group_as_from_a_kernel() {
    let rows: &[Row] = &[
        (
            &["a"],
            &["s/ @2755,1,7"],
            "a /s/t/u/",
            Ok(&["s/ @2755,1,7", "s/t/ @2755,0,7", "s/t/u/ @2755,0,7", "s/t/u/a: a"]),
        ),
        (
            &["a"],
            &["s/ @2755,1,7"],
            "--chown=3 --chmod=700 a /s/t/",
            Ok(&["s/ @2755,1,7", "s/t/ @2700,3,3", "s/t/a: a @700,3,3"]),
        ),
        (&["d/", "d/e/"], &["s/ @2755,1,7"], "d /s/t", Ok(&["s/ @2755,1,7", "s/t/ @2755,0,7", "s/t/e/"])),
        (&["a"], &["s/ @2755,1,7"], "--link a /s/t/", Ok(&["s/", "s/t/", "s/t/a: a"])),
    ];
    check(rows);
}

fn check(rows: &[Row]) {
    for (source, target, instruction, expected) in rows {
        let result = run(source, target, instruction);
        let expected = expected.map(|lines| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            result,
            expected.map_err(str::to_owned),
            "COPY {instruction} of {source:?} onto {target:?}"
        );
    }
}

#[test]
fn an_archive_replaces_what_is_in_its_way_and_stays_inside() {
    let archive = tree(&["d/ @750", "d/f: f @600,7,8", "e: a", "l/", "l/g: g", "up -> ../../up"]);
    let mut target = tree(&["out/ @700", "out/e/", "out/e/x: old", "out/real/", "out/l -> real", "up/"]);
    let request = CopyRequest {
        sources: vec![CopySource::Archive { tree: &archive }],
        destination: b"/out",
        workdir: b"/",
        owner: Some(resolve_owner("1:2", Accounts::default()).unwrap()),
        chmod: Some(Chmod::parse("711").unwrap()),
        link: false,
        exclude: None,
        with_time: WithTime::No,
    };
    let copied = copy(&target, &request).unwrap();
    target.apply(&copied.changes);
    assert_eq!(
        show(&target, TEXTS),
        [
            "out/ @700",
            "out/d/ @750,1,2",
            "out/d/f: f @600,1,2",
            "out/e: a @644,1,2",
            "out/l/ @755,1,2",
            "out/l/g: g @644,1,2",
            "out/real/",
            "out/up -> ../../up",
            "up/"
        ]
    );
}

#[test]
fn unchanged_parents_are_not_recorded_but_files_are() {
    let source = tree(&["d/", "d/s/", "d/s/f: f"]);
    let target = tree(&["x/", "x/s/", "x/s/f: f"]);
    let copied = request(&source, &target, "d /x").unwrap();
    assert_eq!(show(&copied.changes.entries, TEXTS), ["x/s/f: f"]);
}

#[test]
fn targets_that_look_the_same_on_the_way_are_told_by_one_digest() {
    let source = tree(&["d/", "d/f: f"]);
    let observed =
        |target: &[&str], instruction: &str| request(&source, &tree(target), instruction).unwrap().observed;
    let empty = observed(&[], "d /app/x");
    assert!(!empty.depends_on_target());
    assert_eq!(empty.digest(), observed(&["etc/", "etc/os: old"], "d /app/x").digest());
    let existing = observed(&["app/"], "d /app/x");
    assert!(existing.depends_on_target());
    assert_ne!(empty.digest(), existing.digest());
    assert_ne!(existing.digest(), observed(&["app/ @700"], "d /app/x").digest());
    assert_ne!(existing.digest(), observed(&["app -> /x"], "d /app/x").digest());
    assert!(!observed(&["app/"], "--link d /app/x").depends_on_target());
}

#[test]
fn a_name_in_an_existing_directory_counts_only_as_far_as_it_decides() {
    let source = tree(&["d/", "d/f: f"]);
    let digest = |target: &[&str]| request(&source, &tree(target), "d /x").unwrap().observed.digest();
    assert_eq!(digest(&["x/", "x/f: a"]), digest(&["x/", "x/f: b @600"]));
    assert_ne!(digest(&["x/"]), digest(&["x/", "x/f: b"]));
    assert_eq!(tree(&["x/"]).resolve(&path("x/y")).unwrap().path, path("x/y"));
}
