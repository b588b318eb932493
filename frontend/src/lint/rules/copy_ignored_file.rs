//! COPY or ADD of something that the ignore file leaves out. Where the ignore file takes back (`!`) it is not looked at, as in
//! BuildKit: a directory may be left out and still hold files that are not.

use crate::ast::Operation;
use crate::dockerignore::{Matcher, Rule as Pattern};
use crate::lint::report::Report;
use crate::lint::scene::{Role, Scene};
use crate::lint::{Level, Rule};

pub(super) const RULE: Rule = Rule {
    name: "CopyIgnoredFile",
    summary: "what is copied from the context is not left out of it",
    level: Level::On,
    page: "copy-ignored-file.md",
    check,
};

/// The most parts of paths that are looked at in one file.
const PARTS_MAX: usize = 100_000;

fn check(scene: &Scene<'_>, report: &mut Report<'_>) {
    let Some(ignore) = scene.request.ignore.filter(|ignore| !ignore.has_exceptions()) else { return };
    let mut parts_left = PARTS_MAX;
    for step in scene.stages.iter().flat_map(|stage| &stage.steps) {
        match &step.instruction.operation {
            Operation::Copy(copy) if copy.from.is_none() => {}
            Operation::Add(_) => {}
            _ => continue,
        }
        for word in step.words_as(Role::Source).filter(|word| !word.is_wrong) {
            let path = clean(&word.expansion.text);
            let parts = path.split('/').count();
            if is_remote(&word.expansion.text) || parts > parts_left {
                continue;
            }
            parts_left -= parts;
            let Some(pattern) = excluding(ignore, &path) else { continue };
            let by = String::from_utf8_lossy(pattern.text());
            let found = report
                .warning(
                    word.written.span,
                    format!("`{path}` is not in the context: the ignore file leaves it out"),
                )
                .with_help(format!("the pattern `{by}` on line {} of the ignore file does", pattern.line));
            report.push(step, found);
        }
    }
}

/// Returns the pattern that leaves a path out. The context itself is left out only by a pattern for everything in it.
fn excluding<'i>(ignore: &'i Matcher, path: &str) -> Option<&'i Pattern> {
    if matches!(path, "." | "/") {
        let all: [&[u8]; 3] = [b"*", b"**", b"**/*"];
        return ignore.rules().iter().find(|pattern| all.contains(&pattern.text()));
    }
    ignore.excluded_by(path.as_bytes())
}

/// Tells whether a source of ADD is a URL or a repository.
fn is_remote(source: &str) -> bool {
    let scheme = source.split_once("://").map_or("", |(scheme, _)| scheme);
    if ["http", "https", "git", "ssh"].contains(&scheme) {
        return true;
    }
    let Some((user, rest)) = source.split_once('@') else { return false };
    let is_user = !user.is_empty() && user.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    let is_host =
        |host: &str| !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c));
    is_user && rest.split_once(':').is_some_and(|(host, path)| is_host(host) && !path.is_empty())
}

/// Takes `.`, `..` and double slashes out of a path, as Go's `path.Clean` does.
fn clean(path: &str) -> String {
    let is_absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match (part, parts.last()) {
            ("..", Some(last)) if *last != ".." => drop(parts.pop()),
            ("..", _) if is_absolute => {}
            _ => parts.push(part),
        }
    }
    match (is_absolute, parts.join("/")) {
        (true, joined) => format!("/{joined}"),
        (false, joined) if joined.is_empty() => ".".to_owned(),
        (false, joined) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::tests::{World, check};

    fn world(ignore: &str) -> World {
        World { ignore: Some(Matcher::parse(ignore.as_bytes()).unwrap()), ..World::default() }
    }

    #[test]
    fn what_the_ignore_file_leaves_out_is_found_where_it_is_copied() {
        let found = "2 f | `f` is not in the context: the ignore file leaves it out (the pattern `f` on line 1 of the ignore file does)";
        let below = "2 d/../f/x/ | `f/x` is not in the context: the ignore file leaves it out (the pattern `f` on line 1 of the ignore file does)";
        let cases: &[(&str, &[&str])] = &[
            ("FROM a\nCOPY f .", &[found]),
            ("FROM a\nADD f .", &[found]),
            ("FROM a\nCOPY --chmod=1 g f .", &[found]),
            ("FROM a\nCOPY d/../f/x/ .", &[below]),
            ("FROM a AS b\nFROM a\nCOPY --from=b f .", &[]),
            ("FROM a\nADD https://f/f .", &[]),
            ("FROM a\nCOPY . .", &[]),
            ("FROM a\nCOPY /f g/f f* .", &[]),
            ("FROM a\nCOPY <<f .\nf\n", &[]),
        ];
        check("CopyIgnoredFile", &world("f\n.*\n"), cases);
        check("CopyIgnoredFile", &world("f\n!f/x\n"), &[("FROM a\nCOPY f .", &[])]);
        check("CopyIgnoredFile", &World::default(), &[("FROM a\nCOPY f .", &[])]);
    }

    #[test]
    fn the_context_is_left_out_only_by_a_pattern_for_everything() {
        let found = "2 ./ | `.` is not in the context: the ignore file leaves it out (the pattern `*` on line 2 of the ignore file does)";
        check("CopyIgnoredFile", &world("# all\n*\n"), &[("FROM a\nCOPY ./ .", &[found])]);
    }

    #[test]
    fn remote_sources_are_no_paths() {
        let cases = [
            ("https://example.org/x", true),
            ("git@example.org:a/b.git", true),
            ("ssh://git@example.org/a", true),
            ("a/b@c", false),
            ("user@host", false),
            ("ftp://x", false),
            ("@a:b", false),
        ];
        for (source, expected) in cases {
            assert_eq!(is_remote(source), expected, "{source}");
        }
    }
}
