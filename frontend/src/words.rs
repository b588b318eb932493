//! How the text behind an instruction's keyword and flags is cut: at blanks, or at blanks outside quotes.

use std::ops::Range;

/// Tells whether a character separates words where quotes mean nothing: the blanks of ASCII.
pub(crate) fn is_blank(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\x0b' | '\x0c' | '\r' | ' ')
}

/// Returns a text in lower case, character by character as Go's `strings.ToLower` does: `İ` gives `i`.
pub(crate) fn lower(text: &str) -> String {
    let simple = |character: char| if character == 'İ' { 'i' } else { character };
    text.chars().map(simple).flat_map(char::to_lowercase).collect()
}

/// Cuts at runs of blanks. Quotes mean nothing.
pub(crate) fn split_blanks(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = None;
    for (at, character) in text.char_indices() {
        match (is_blank(character), start) {
            (false, None) => start = Some(at),
            (true, Some(from)) => {
                ranges.push(from..at);
                start = None;
            }
            _ => {}
        }
    }
    ranges.extend(start.map(|from| from..text.len()));
    ranges
}

/// Cuts at blanks that are neither quoted nor escaped. Quotes and escapes stay in the words; an escape character at the
/// very end is dropped.
pub(crate) fn split_quoted(text: &str, escape: char) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start: Option<usize> = None;
    let mut quote: Option<char> = None;
    let mut characters = text.char_indices().peekable();
    let mut end = text.len();
    while let Some((at, character)) = characters.next() {
        if quote.is_none() && character.is_whitespace() {
            ranges.extend(start.take().map(|from| from..at));
            continue;
        }
        if character == escape && quote != Some('\'') {
            if characters.next().is_none() {
                end = at;
                break;
            }
        } else if quote == Some(character) {
            quote = None;
        } else if quote.is_none() && matches!(character, '\'' | '"') {
            quote = Some(character);
        }
        start.get_or_insert(at);
    }
    ranges.extend(start.filter(|from| *from < end).map(|from| from..end));
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_cut_words_without_regard_to_quotes() {
        let text = "a  \"b c\"\td\u{a0}e";
        let words: Vec<&str> = split_blanks(text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(words, ["a", "\"b", "c\"", "d\u{a0}e"]);
    }

    #[test]
    fn lower_case_is_found_character_by_character() {
        assert_eq!(lower("RuN É İ \u{212a} ſ ẞ"), "run é i k ſ ß");
    }

    #[test]
    fn quoted_and_escaped_blanks_do_not_cut() {
        let cases: &[(&str, &[&str])] = &[
            ("a=1  b=2", &["a=1", "b=2"]),
            (r#"a="x y" b='p q' c"#, &[r#"a="x y""#, "b='p q'", "c"]),
            (r"a=x\ y b", &[r"a=x\ y", "b"]),
            (r#"a="x\" y" b"#, &[r#"a="x\" y""#, "b"]),
            (r"a='x\' b", &[r"a='x\'", "b"]),
            (r"a\", &["a"]),
            (r"\", &[]),
            ("a=\"open b", &["a=\"open b"]),
            (r#""""#, &[r#""""#]),
            ("  a\u{a0}b ", &["a", "b"]),
            (r#"a=\"x y\""#, &[r#"a=\"x"#, r#"y\""#]),
        ];
        for (text, expected) in cases {
            let words: Vec<&str> = split_quoted(text, '\\').into_iter().map(|range| &text[range]).collect();
            assert_eq!(words, *expected, "{text}");
        }
    }
}
