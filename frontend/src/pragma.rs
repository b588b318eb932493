//! Pragmas: comments above an instruction that are meant for kiln, so that the file still builds everywhere.
//!
//! | Comment | The step below it |
//! |---|---|
//! | `# kiln: cache=off` | is done in every build |
//! | `# kiln: cache=ttl:6h` | is done again when what is known of it is older; `s`, `m`, `h`, `d`, `w`, as in `1d12h` |
//!
//! Above FROM a pragma holds for all RUN, COPY and ADD of the stage that have none of their own.

use std::time::Duration;

use crate::ast::{Comment, Dockerfile, Instruction, Operation};
use crate::diagnostic::Diagnostic;
use crate::source::{Source, Span};
use crate::suggest;

/// How far the result of a step may come from the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachePragma {
    /// Not at all.
    Off,
    /// As long as it is not older.
    Ttl(Duration),
}

const PREFIX: &str = "kiln:";
const CACHE: &str = "cache";
const HELP: &str = "write `# kiln: cache=off`, or how old a result may be: `# kiln: cache=ttl:6h`";

/// Units of durations, in seconds.
const UNITS: [(char, u64); 5] = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('w', 604_800)];

/// Returns what the comments above an instruction say of the cache.
pub fn cache(comments: &[Comment]) -> Option<CachePragma> {
    let words = comments.iter().filter_map(|comment| words(&comment.text)).flatten();
    words.filter_map(|(_, word)| word.strip_prefix(CACHE)?.strip_prefix('=')).rev().find_map(cache_value)
}

/// Reports pragmas that cannot be read, and those that say nothing to anybody.
pub(crate) fn check(file: &Dockerfile, source: &Source) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut heard: Vec<Span> = Vec::new();
    for stage in &file.stages {
        let from = (stage.from.comments.as_slice(), true, &stage.from.keyword.text);
        let below = stage.instructions.iter().map(|one| (&*one.comments, is_heard(one), &one.keyword.text));
        for (comments, has_effect, keyword) in std::iter::once(from).chain(below) {
            let pragmas = comments.iter().filter(|comment| words(&comment.text).is_some());
            for comment in pragmas {
                heard.push(comment.span);
                read(source, comment.span, &mut found);
                if !has_effect {
                    let message =
                        format!("a pragma above {keyword} has no effect: it is for RUN, COPY, ADD and FROM");
                    found.push(Diagnostic::warning("pragma-without-effect", comment.span, message));
                }
            }
        }
    }
    let unheard = file.comments.iter().filter(|comment| words(&comment.text).is_some());
    for comment in unheard.filter(|comment| !heard.contains(&comment.span)) {
        let message = "a pragma that stands directly above no instruction of a stage has no effect";
        found.push(Diagnostic::warning("pragma-without-effect", comment.span, message));
    }
    found
}

/// Says whether the instruction has a result that time can change.
fn is_heard(instruction: &Instruction) -> bool {
    matches!(instruction.operation, Operation::Run(_) | Operation::Copy(_) | Operation::Add(_))
}

/// Reports what is wrong with one pragma.
fn read(source: &Source, comment: Span, found: &mut Vec<Diagnostic>) {
    let words = words(source.slice(comment)).unwrap_or_default();
    let mut error = |at: usize, word: &str, message: String| {
        let span = Span::new(comment.start + at, comment.start + at + word.len());
        found.push(Diagnostic::error("pragma", span, message).with_help(HELP));
    };
    if words.is_empty() {
        error(0, source.slice(comment), "an empty pragma".to_owned());
    }
    for (at, word) in words {
        match word.split_once('=') {
            Some((CACHE, value)) if cache_value(value).is_some() => {}
            Some((CACHE, value)) => {
                error(at, word, format!("invalid value of the pragma `{CACHE}`: `{value}`"));
            }
            named => {
                let name = named.map_or(word, |(name, _)| name);
                let meant = suggest::nearest(name, [CACHE]).map(|meant| format!(": did you mean `{meant}`?"));
                error(at, word, format!("unknown pragma `{name}`{}", meant.unwrap_or_default()));
            }
        }
    }
}

/// Returns the words of a pragma with their places in the text of its comment; `None` for any other comment.
fn words(text: &str) -> Option<Vec<(usize, &str)>> {
    let said = text.trim_start_matches(['#', ' ', '\t']).strip_prefix(PREFIX)?;
    let start = text.len() - said.len();
    let place = |word: &str| word.as_ptr().addr() - said.as_ptr().addr() + start;
    Some(said.split_ascii_whitespace().map(|word| (place(word), word)).collect())
}

fn cache_value(value: &str) -> Option<CachePragma> {
    match value {
        "off" => Some(CachePragma::Off),
        _ => duration(value.strip_prefix("ttl:")?).map(CachePragma::Ttl),
    }
}

/// Reads numbers with units, such as `1d12h`; not nothing, and not zero.
fn duration(text: &str) -> Option<Duration> {
    let mut seconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let unit = rest[digits..].chars().next()?;
        let (_, length) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let part = rest[..digits].parse::<u64>().ok()?.checked_mul(*length)?;
        seconds = seconds.checked_add(part)?;
        rest = &rest[digits + 1..];
    }
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    #[test]
    fn the_comments_above_a_step_say_how_far_the_cache_is_good_enough() {
        let hours = |hours: u64| Some(CachePragma::Ttl(Duration::from_secs(hours * 3600)));
        for (comments, expected) in [
            ("# kiln: cache=off", Some(CachePragma::Off)),
            ("#kiln:cache=ttl:6h", hours(6)),
            ("# why\n  # kiln: cache=ttl:1d12h\n# more", hours(36)),
            ("# kiln: cache=off\n# kiln: cache=ttl:1w", hours(24 * 7)),
            ("# kiln is fine", None),
            ("# kiln: cache=off\n#\n# below an empty comment", None),
        ] {
            let text = format!("FROM scratch\n{comments}\nRUN make\n");
            let parsed = parse(&Source::new("Dockerfile", &text));
            assert_eq!(cache(&parsed.file.stages[0].instructions[0].comments), expected, "{comments}");
        }
    }

    #[test]
    fn what_cannot_be_read_or_is_not_heard_is_told_with_its_place() {
        for (text, expected) in [
            (
                "FROM a\n# kiln: cahce=off\nRUN b",
                "pragma `cahce=off`: unknown pragma `cahce`: did you mean `cache`?",
            ),
            (
                "FROM a\n# kiln: cache=ttl:6\nRUN b",
                "pragma `cache=ttl:6`: invalid value of the pragma `cache`: `ttl:6`",
            ),
            (
                "FROM a\n# kiln: cache=ttl:0s\nRUN b",
                "pragma `cache=ttl:0s`: invalid value of the pragma `cache`: `ttl:0s`",
            ),
            ("FROM a\n# kiln: cache=ttl:99999999999999999w\nRUN b", "invalid value"),
            ("FROM a\n# kiln:\nRUN b", "pragma `# kiln:`: an empty pragma"),
            ("FROM a\n# kiln: cache=off\nENV b=c", "above ENV has no effect"),
            ("FROM a\nRUN b\n# kiln: cache=off\n", "stands directly above no instruction"),
            ("# kiln: cache=off\nARG a\nFROM a", "stands directly above no instruction"),
            ("FROM a\nRUN b \\\n# kiln: cache=off\n c", "stands directly above no instruction"),
        ] {
            let source = Source::new("Dockerfile", text);
            let told: Vec<String> = parse(&source)
                .diagnostics
                .iter()
                .map(|found| {
                    let place = found.primary().map_or("", |span| source.slice(span));
                    format!("{} `{place}`: {}", found.code, found.message)
                })
                .collect();
            assert!(told.len() == 1 && told[0].contains(expected), "{text:?}: {told:?}");
        }
    }

    #[test]
    fn a_pragma_above_from_is_for_the_stage() {
        let parsed = parse(&Source::new("Dockerfile", "# kiln: cache=off\nFROM a\nRUN b\n"));
        assert!(parsed.diagnostics.is_empty());
        assert_eq!(cache(&parsed.file.stages[0].from.comments), Some(CachePragma::Off));
    }
}
