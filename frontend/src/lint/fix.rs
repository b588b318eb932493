//! Changes of a text, applied. Knows nothing of rules and of files.
//!
//! A fix is a list of [`Edit`]s that belong together: all of them are made or none. Of fixes that get into each other's
//! way the first is made; the others are left for the next run, which sees the text as it then is. Findings may share a fix.

use std::collections::BTreeMap;

use crate::diagnostic::Edit;

/// What [`apply`] made of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The text with the changes made.
    pub text: String,
    /// For each fix in the order given: whether it was made, by itself or because an earlier one is the same.
    pub made: Vec<bool>,
}

impl Applied {
    /// Returns how many fixes were made.
    pub fn count(&self) -> usize {
        self.made.iter().filter(|made| **made).count()
    }
}

/// Makes the changes of several fixes, each given by its edits. Everything else of the text stays as it is, line endings
/// included. A fix without edits, or with one that does not fit the text, is not made.
///
/// The text is that of a [`Source`](crate::source::Source). Where bytes were replaced in it (`Source::replaced`), it is
/// not the file's, and must not be written in its place.
pub fn apply<'a>(text: &str, fixes: impl IntoIterator<Item = &'a [Edit]>) -> Applied {
    let mut accepted = Accepted::default();
    let made = fixes.into_iter().map(|edits| accepted.take(text, edits)).collect();
    Applied { text: accepted.write(text), made }
}

/// Edits that do not get into each other's way, by where they start and end.
#[derive(Default)]
struct Accepted<'a> {
    edits: BTreeMap<(usize, usize), &'a Edit>,
}

impl<'a> Accepted<'a> {
    /// Takes all edits of a fix, or none.
    fn take(&mut self, text: &str, edits: &'a [Edit]) -> bool {
        if !edits.is_empty() && edits.iter().all(|edit| self.has(edit)) {
            return true;
        }
        let mut own = Self::default();
        for edit in edits {
            if !fits(text, edit) || !self.is_free(edit) || !own.is_free(edit) {
                return false;
            }
            own.edits.insert((edit.span.start, edit.span.end), edit);
        }
        self.edits.extend(own.edits);
        !edits.is_empty()
    }

    fn has(&self, edit: &Edit) -> bool {
        self.edits.get(&(edit.span.start, edit.span.end)) == Some(&edit)
    }

    /// Tells whether an edit touches no other. Two that replace may stand side by side; one that inserts may not,
    /// because it would depend on the order what comes first.
    fn is_free(&self, edit: &Edit) -> bool {
        let (start, end) = (edit.span.start, edit.span.end);
        let before = self.edits.range(..(start, end)).next_back();
        let behind = self.edits.range((start, end)..).next();
        let is_apart = |left: (usize, usize), right: (usize, usize)| match left.1.cmp(&right.0) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => left.0 < left.1 && right.0 < right.1,
            std::cmp::Ordering::Greater => false,
        };
        before.is_none_or(|(other, _)| is_apart(*other, (start, end)))
            && behind.is_none_or(|(other, _)| is_apart((start, end), *other))
    }

    fn write(self, text: &str) -> String {
        let mut written = String::with_capacity(text.len());
        let mut at = 0;
        for edit in self.edits.into_values() {
            written.push_str(&text[at..edit.span.start]);
            written.push_str(&edit.replacement);
            at = edit.span.end;
        }
        written.push_str(&text[at..]);
        written
    }
}

fn fits(text: &str, edit: &Edit) -> bool {
    text.get(edit.span.start..edit.span.end).is_some()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::lint::Config;
    use crate::lint::tests::{World, fixed};
    use crate::source::Span;

    /// Makes all fixes of one rule, and looks that a second time changes nothing.
    pub(in crate::lint) fn check_fixes(rule: &str, cases: &[(&str, &str)]) {
        let config = Config { experimental_all: true, ..Config::default() };
        let world = World { config: Some(config), ..World::default() };
        for (text, expected) in cases {
            let once = fixed(rule, &world, text);
            assert_eq!(once, *expected, "{text}");
            assert_eq!(fixed(rule, &world, &once), once, "twice: {text}");
        }
    }

    fn edit(start: usize, end: usize, replacement: &str) -> Edit {
        Edit { span: Span { start, end }, replacement: replacement.to_owned() }
    }

    /// A text, edits a fix, the text afterwards, which fixes were made.
    type Case<'a> = (&'a str, &'a [&'a [(usize, usize, &'a str)]], &'a str, &'a [bool]);

    #[test]
    fn fixes_are_made_whole_and_the_first_wins() {
        let cases: &[Case<'_>] = &[
            ("abc", &[], "abc", &[]),
            ("abc", &[&[]], "abc", &[false]),
            ("abc", &[&[(1, 2, "B")]], "aBc", &[true]),
            ("abc", &[&[(2, 3, "")], &[(0, 1, "xy")]], "xyb", &[true, true]),
            ("abc", &[&[(0, 2, "x")], &[(1, 3, "y")]], "xc", &[true, false]),
            ("abc", &[&[(0, 1, "x")], &[(1, 2, "y")]], "xyc", &[true, true]),
            ("abc", &[&[(0, 3, "x")], &[(1, 2, "y")]], "x", &[true, false]),
            ("abc", &[&[(1, 2, "x")], &[(0, 3, "y")]], "axc", &[true, false]),
            ("abc", &[&[(1, 1, "x")], &[(1, 1, "y")]], "axbc", &[true, false]),
            ("abc", &[&[(0, 1, "x")], &[(1, 1, "y")]], "xbc", &[true, false]),
            ("abc", &[&[(1, 2, "x"), (0, 0, "y")], &[(2, 3, "z")]], "yaxz", &[true, true]),
            (
                "abc",
                &[&[(0, 1, "x")], &[(2, 3, "y"), (0, 1, "z")], &[(2, 3, "w")]],
                "xbw",
                &[true, false, true],
            ),
            ("abc", &[&[(0, 1, "x"), (2, 3, "y")], &[(0, 1, "x"), (2, 3, "y")]], "xby", &[true, true]),
            ("a\r\nb\n", &[&[(0, 1, "A")]], "A\r\nb\n", &[true]),
            ("ç", &[&[(1, 2, "x")], &[(0, 9, "x")], &[(2, 2, "!")]], "ç!", &[false, false, true]),
        ];
        for (text, fixes, expected, made) in cases {
            let fixes: Vec<Vec<Edit>> = fixes
                .iter()
                .map(|edits| edits.iter().map(|(start, end, new)| edit(*start, *end, new)).collect())
                .collect();
            let applied = apply(text, fixes.iter().map(Vec::as_slice));
            assert_eq!(applied, Applied { text: (*expected).to_owned(), made: made.to_vec() }, "{fixes:?}");
        }
    }

    #[test]
    fn a_span_that_ends_before_it_starts_is_not_made() {
        let backward = [Edit { span: Span { start: 2, end: 1 }, replacement: "x".to_owned() }];
        assert_eq!(apply("abc", [backward.as_slice()]).count(), 0);
    }
}
