use std::collections::BTreeMap;

use super::*;

const TABLE: &str = include_str!("../../testdata/expand.txt");

/// Writes line breaks so that a result fits in one line of the table.
fn one_line(text: &str) -> String {
    text.replace('\n', "\\n").replace('\t', "\\t")
}

fn check(kind: &str, input: &str, variables: &BTreeMap<String, String>) -> String {
    let lexer = Lexer::new('\\');
    let result = match kind {
        "word" | "split" => lexer.expand(input, variables),
        "body" => Lexer::expand_body(input, variables),
        other => panic!("unknown kind of case: {other}"),
    };
    match result {
        Err(error) => format!("!{error}"),
        Ok(expansion) if kind == "split" => expansion.words.iter().map(|word| format!("‹{word}›")).collect(),
        Ok(expansion) => one_line(&expansion.text),
    }
}

#[test]
fn words_expand_as_the_table_says() {
    let mut variables = BTreeMap::new();
    let mut failures = Vec::new();
    for line in TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(setting) = line.strip_prefix("set ") {
            let (name, value) = setting.split_once('=').unwrap();
            variables.insert(name.to_owned(), value.replace("\\n", "\n"));
            continue;
        }
        let (case, expected) = line.split_once(" ⇒ ").unwrap();
        let (kind, input) = case.split_once(' ').unwrap();
        let input = input.strip_prefix(' ').unwrap_or(input);
        let found = check(kind, input, &variables);
        if found != expected {
            failures.push(format!("{kind} {input}\n  expected {expected}\n  found    {found}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn looked_up_variables_are_reported_as_used_or_undefined() {
    let variables = BTreeMap::from([("A".to_owned(), "1".to_owned()), ("E".to_owned(), String::new())]);
    let cases = [
        ("$A $B", vec!["A"], vec!["B"]),
        ("${E:-$A} ${C+x}", vec!["A", "E"], vec!["C"]),
        ("'$A' \\$B plain", vec![], vec![]),
        ("${A#$B}", vec!["A"], vec!["B"]),
    ];
    for (word, used, undefined) in cases {
        let expansion = Lexer::new('\\').expand(word, &variables).unwrap();
        assert_eq!(expansion.used.iter().collect::<Vec<_>>(), used, "{word}");
        assert_eq!(expansion.undefined.iter().collect::<Vec<_>>(), undefined, "{word}");
    }
}

#[test]
fn a_backtick_can_be_the_escape_character() {
    let lexer = Lexer::new('`');
    let set = |name: &str| (name == "A").then(|| r"C:\x".to_owned());
    let cases = [(r"`$A", "$A"), (r"\$A", r"\C:\x"), (r#""`"" $A"#, r#"" C:\x"#), ("a``b", "a`b")];
    for (word, expected) in cases {
        assert_eq!(lexer.expand(word, &set).unwrap().text, expected, "{word}");
    }
}

#[test]
fn text_that_grows_or_nests_without_bound_is_an_error() {
    let big = "x".repeat(1 << 20);
    let set = |_: &str| Some(big.clone());
    let word = "$A".repeat(17);
    assert_eq!(Lexer::new('\\').expand(&word, &set), Err(ExpandError::TooLarge));

    let nested = format!("{}x{}", "${A:+".repeat(10_000), "}".repeat(10_000));
    assert_eq!(Lexer::new('\\').expand(&nested, &set), Err(ExpandError::TooDeep));
}

#[test]
fn a_pattern_far_longer_than_the_value_is_given_up_early() {
    // The pattern of `#` comes to a million characters here.
    let value = "v/".repeat(64);
    let set = |name: &str| (name == "x").then(|| value.clone());
    let word = "${x#a${x//v/${x///${x//a/b}}}}";
    assert_eq!(Lexer::new('\\').expand(word, &set).unwrap().text, value);
    let mut steps = pattern::Steps::default();
    let trimmed = pattern::trim(&"?".repeat(1 << 20), &value, pattern::Direction::Suffix, &mut steps);
    let mut expected = pattern::Steps::default();
    expected.take(129 * 129).unwrap();
    assert_eq!((trimmed, steps), (Ok(value), expected));
}

#[test]
fn substitutions_that_look_at_too_much_are_an_error() {
    let value = "a".repeat(1 << 24);
    let set = |name: &str| (name == "x").then(|| value.clone());
    assert_eq!(Lexer::new('\\').expand(&"${x:+}".repeat(17), &set), Err(ExpandError::TooSlow));

    let mut steps = pattern::Steps::default();
    steps.take(EXPANSION_STEPS_MAX - 7).unwrap();
    assert_eq!(pattern::replace_first("*b", "ab", "", &mut steps), Ok(String::new()));
    assert_eq!(pattern::replace_all("*b", "ab", "", &mut steps), Err(ExpandError::TooSlow));
}

#[test]
fn a_replacement_is_filled_in_for_matches_that_are_empty_too() {
    let set = |_: &str| Some("aé\nb".to_owned());
    let cases = [
        ("${x//\\*/'$0'}", "aé\nb"),
        ("${x//é/'<$0$$${0}>$n$'}", "a<é$é>$\nb"),
        ("${x///'-$0-'}", "--a--é--\n--b--"),
        ("${x//*/'[$0]'}", "[aé]\n[b]"),
        ("${x//?/'[$0$0]'}", "[aa][éé]\n[bb]"),
        ("${x/*é/}", "\nb"),
        ("${x/é**/-}", "a-\nb"),
    ];
    for (word, expected) in cases {
        assert_eq!(Lexer::new('\\').expand(word, &set).unwrap().text, expected, "{word}");
    }
}
