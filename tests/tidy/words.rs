//! Words that the repository does not use: what is unfinished, and what speaks of anything but kiln.

use super::expect_none;
use super::tree::{TextFile, all, root};

/// Each line: a text, and where it may stand all the same (starts of paths), by blanks.
const LIST: &str = "tests/tidy/forbidden.txt";

#[test]
fn forbidden_words_are_not_used() {
    let list = std::fs::read_to_string(root().join(LIST)).unwrap();
    let rules: Vec<(&str, Vec<&str>)> =
        list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(rule).collect();
    let files = all();
    let checked = files.iter().filter(|file| file.path != LIST && file.path != "Cargo.lock");
    let findings: Vec<String> = checked.flat_map(|file| hits(file, &rules)).collect();
    expect_none(
        &findings,
        "say it in kiln's own terms; what is unfinished is an error for the user, not a note",
    );
}

fn rule(line: &str) -> (&str, Vec<&str>) {
    let mut words = line.split_whitespace();
    (words.next().unwrap_or_default(), words.collect())
}

fn hits(file: &TextFile, rules: &[(&str, Vec<&str>)]) -> Vec<String> {
    let allowed = |places: &[&str]| places.iter().any(|start| file.path.starts_with(start));
    let mut found = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for (word, _) in rules.iter().filter(|(word, places)| has_word(line, word) && !allowed(places)) {
            found.push(format!("{} [{word}]", file.at(number + 1, line)));
        }
    }
    found
}

/// Returns whether a line has the text as a word of its own, in any letter case unless it is all capitals.
fn has_word(line: &str, word: &str) -> bool {
    let exact = word.chars().all(|letter| !letter.is_lowercase());
    let (line, word) =
        if exact { (line.to_owned(), word.to_owned()) } else { (line.to_lowercase(), word.to_lowercase()) };
    let inside =
        |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    line.match_indices(&word).any(|(position, _)| {
        let (before, after) =
            (line[..position].chars().next_back(), line[position + word.len()..].chars().next());
        let (starts, ends) = (word.starts_with(char::is_alphanumeric), word.ends_with(char::is_alphanumeric));
        !(starts && inside(before) || ends && inside(after))
    })
}

#[test]
fn words_are_found_whole_and_capitals_exactly() {
    let cases = [
        ("a Work Tree", "work tree", true),
        ("reblank", "blank", false),
        ("loud = 1", "LOUD", false),
        ("// LOUD: x", "LOUD", true),
        ("x /w/y", "/w/", true),
    ];
    for (line, word, expected) in cases {
        assert_eq!(has_word(line, word), expected, "{word} in {line}");
    }
}
