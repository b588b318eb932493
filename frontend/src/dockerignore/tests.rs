use proptest::prelude::*;

use super::*;

const TABLE: &str = include_str!("../../testdata/ignore.txt");

/// Judges a path by walking down to it, and checks that no directory on the way would have been pruned in vain.
fn is_excluded(matcher: &Matcher, path: &[u8]) -> bool {
    let mut directory = matcher.top();
    let mut pruned = false;
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let (last, above) = names.split_last().unwrap();
    for name in above {
        directory = directory.enter(name);
        pruned |= directory.can_prune();
    }
    let excluded = directory.excludes(last);
    assert!(excluded || !pruned, "pruned, but not excluded: {}", String::from_utf8_lossy(path));
    assert_eq!(matcher.excluded_by(path).is_some(), excluded);
    assert_eq!(directory.enter(last).is_excluded(), excluded);
    excluded
}

fn check(case: &str) -> Result<(), String> {
    let lines = |mark: &str| case.lines().filter_map(|line| line.strip_prefix(mark)).collect::<Vec<_>>();
    let file: String = case
        .lines()
        .filter_map(|line| line.strip_prefix('|'))
        .fold(String::new(), |all, line| all + line.strip_prefix(' ').unwrap_or(line) + "\n");
    let matcher = match Matcher::parse(file.as_bytes()) {
        Ok(matcher) => matcher,
        Err(error) => {
            let found = vec![format!("{}: {error}", error.line())];
            return if lines("! ") == found { Ok(()) } else { Err(found.join("")) };
        }
    };
    for (mark, expected) in [("- ", true), ("+ ", false)] {
        for path in lines(mark) {
            if is_excluded(&matcher, path.as_bytes()) != expected {
                return Err(format!("{mark}{path} is wrong"));
            }
        }
    }
    if lines("! ").is_empty() { Ok(()) } else { Err("no error".to_owned()) }
}

#[test]
fn ignore_files_exclude_what_the_table_says() {
    for case in TABLE.split("\n\n").filter(|case| case.contains("\n")) {
        check(case).unwrap_or_else(|error| panic!("{error}\n{case}"));
    }
}

#[test]
fn a_byte_order_mark_and_carriage_returns_are_no_part_of_patterns() {
    let matcher = Matcher::parse(b"\xef\xbb\xbfa\r\n#b\r\n c \r\n").unwrap();
    let rules: Vec<&[u8]> = matcher.rules().iter().map(Rule::text).collect();
    assert_eq!(rules, [b"a", b"c"]);
    assert_eq!(matcher.rules()[1].line, 3);
}

#[test]
fn paths_and_patterns_need_not_be_utf8() {
    let matcher = Matcher::parse(b"a\xff\nb?c\n*.\xfe\n").unwrap();
    for path in [b"a\xff".as_slice(), b"b\xffc", b"x.\xfe"] {
        assert!(is_excluded(&matcher, path), "{path:?}");
    }
    assert!(!is_excluded(&matcher, b"a"));
}

#[test]
fn excludes_of_copy_keep_a_leading_slash_and_know_no_comments() {
    let matcher = Matcher::new([b"/a".as_slice(), b"#b", b" ", b"!c"]).unwrap();
    let texts: Vec<&[u8]> = matcher.rules().iter().map(Rule::text).collect();
    assert_eq!(texts, [b"/a".as_slice(), b"#b", b"c"]);
    assert!(matcher.has_exceptions());
}

#[test]
fn an_excluded_path_names_the_pattern_that_excludes_it() {
    let matcher = Matcher::parse(b"x\n# comment\nnode_modules\n").unwrap();
    let rule = matcher.excluded_by(b"node_modules/a/b").unwrap();
    assert_eq!((rule.line, rule.text()), (3, b"node_modules".as_slice()));
    assert!(matcher.excluded_by(b"src/node_modules").is_none());
}

#[test]
fn what_is_too_long_is_refused_with_its_line() {
    let line = "a".repeat(LINE_BYTES_MAX);
    assert!(Matcher::parse(line.as_bytes()).is_ok());
    let list = format!("{line}\n").repeat(LIST_BYTES_MAX / LINE_BYTES_MAX);
    assert!(Matcher::parse(list.as_bytes()).is_ok());
    let counted = "[^a]".to_owned() + &"b{1000}".repeat(100);
    let error = |text: String| Matcher::parse(text.as_bytes()).err();
    assert_eq!(error(format!("x\n{line}a")), Some(IgnoreError::LineTooLong { line: 2 }));
    assert_eq!(error(format!("{list}{line}")), Some(IgnoreError::TooLong { line: 65 }));
    assert_eq!(error(format!("{counted}\n").repeat(20)), Some(IgnoreError::TooLong { line: 11 }));
    assert!(matches!(error(counted.repeat(2)), Some(IgnoreError::BadPattern { line: 1, .. })));
}

#[test]
fn hostile_patterns_cost_no_more_than_their_length() {
    let deep = "**/a/*b*/".repeat(5_000);
    let stars = "*a".repeat(10_000);
    let crossing = "[^b]*a**".repeat(500);
    let many: String =
        (0..10_000).map(|number| format!("!d{number}/**/x{number}*y\n**/z{number}\n")).collect();
    let path = ["ab", "a", "abab"].repeat(40).join("/");
    for (text, expected) in [(deep.as_str(), false), (&stars, false), (&crossing, false), (&many, false)] {
        let matcher = Matcher::parse(text.as_bytes()).unwrap();
        assert_eq!(is_excluded(&matcher, path.as_bytes()), expected, "{}", &text[..20]);
    }
    assert!(is_excluded(&Matcher::parse(many.as_bytes()).unwrap(), b"q/d77/z9999/x"));
}

#[test]
fn a_pattern_longer_than_a_machine_word_matches_as_any_other() {
    let long = format!("{}*", "a?".repeat(100));
    let matcher = Matcher::parse(long.as_bytes()).unwrap();
    assert!(is_excluded(&matcher, "ab".repeat(101).as_bytes()));
    assert!(!is_excluded(&matcher, "ab".repeat(99).as_bytes()));
}

/// A matcher without any short cut: globs by trying everything.
fn naive_match(pattern: &[char], path: &[char]) -> bool {
    match pattern {
        [] => path.is_empty(),
        ['*', '*', '/', rest @ ..] => {
            let tails = (0..path.len()).filter(|at| path[*at] == '/').map(|at| &path[at + 1..]);
            naive_match(rest, path) || tails.into_iter().any(|tail| naive_match(rest, tail))
        }
        ['*', '*'] => !path.is_empty(),
        ['*', rest @ ..] => {
            let reach = path.iter().position(|c| *c == '/').unwrap_or(path.len());
            (0..=reach).any(|at| naive_match(rest, &path[at..]))
        }
        ['?', rest @ ..] => path.first().is_some_and(|c| *c != '/') && naive_match(rest, &path[1..]),
        [plain, rest @ ..] => path.first() == Some(plain) && naive_match(rest, &path[1..]),
    }
}

/// The rules in order, each against every path on the way: what the matcher has to equal, without any short cut.
fn naive_is_excluded(patterns: &[String], path: &str) -> bool {
    let mut inherited = vec![false; patterns.len()];
    let mut excluded = false;
    for end in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
        let characters = |text: &str| text.chars().collect::<Vec<_>>();
        excluded = false;
        for (pattern, matched) in patterns.iter().zip(&mut inherited) {
            let (is_exception, pattern) =
                pattern.strip_prefix('!').map_or((false, &**pattern), |p| (true, p));
            let decides = is_exception == excluded;
            *matched |= decides && naive_match(&characters(pattern), &characters(&path[..end]));
            if *matched {
                excluded = !is_exception;
            }
        }
    }
    excluded
}

/// A name of a pattern, and of a path. Few letters, so that they meet.
const PATTERN: &str = "!?(\\*\\*/)?([ab?*]{1,3}/){0,2}([ab?*]{1,3}|\\*\\*)";
const PATH: &str = "([ab]{1,2}/){0,3}[ab]{1,3}";

/// Tells whether `**` stands for whole directories only, which is all that the naive matcher knows.
fn is_plain(pattern: &str) -> bool {
    pattern.trim_start_matches('!').split('/').all(|name| !name.contains("**") || name == "**")
}

proptest! {
    #[test]
    fn lists_match_as_the_naive_matcher(
        patterns in proptest::collection::vec(PATTERN.prop_filter("plain", |text| is_plain(text)), 1..8),
        path in PATH,
    ) {
        let matcher = Matcher::new(patterns.iter().map(String::as_bytes)).unwrap();
        prop_assert_eq!(is_excluded(&matcher, path.as_bytes()), naive_is_excluded(&patterns, &path));
    }

    #[test]
    fn pruning_never_hides_a_path_that_is_taken_back(
        patterns in proptest::collection::vec("!?(\\*\\*/)?([abc*]/){0,2}([abc]|\\*|\\*\\*)", 1..6),
        path in "([abc]/){0,4}[abc]",
    ) {
        let matcher = Matcher::parse(patterns.join("\n").as_bytes()).unwrap();
        is_excluded(&matcher, path.as_bytes());
    }

    #[test]
    fn any_bytes_are_read_without_panic(file: Vec<u8>, path: Vec<u8>) {
        if let Ok(matcher) = Matcher::parse(&file) {
            is_excluded(&matcher, &path);
        }
    }
}
