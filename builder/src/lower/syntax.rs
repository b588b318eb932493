//! The language of a build: that of the file, or the one that the build argument `BUILDKIT_SYNTAX` asks for in its place.

use std::collections::BTreeMap;

use kiln_frontend::diagnostic::Diagnostic;
use kiln_frontend::directive::check_syntax;
use kiln_frontend::source::Source;
use kiln_frontend::{Parsed, parse_overridden};

/// The build argument that replaces `# syntax=`.
const SYNTAX_ARGUMENT: &str = "BUILDKIT_SYNTAX";

/// Parses the Dockerfile of a build with these arguments.
pub fn parse(source: &Source, build_args: &BTreeMap<String, String>) -> Parsed {
    let Some(asked) = build_args.get(SYNTAX_ARGUMENT) else { return kiln_frontend::parse(source) };
    let mut parsed = parse_overridden(source);
    if let Err(error) = check_syntax(asked.trim()) {
        let message = format!("build argument `{SYNTAX_ARGUMENT}`: {error}");
        let found = Diagnostic::error_at_large(error.code(), message);
        let help = "leave the argument out, or give `docker/dockerfile:1`";
        parsed.diagnostics.insert(0, found.with_help(help));
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_argument_replaces_what_the_file_asks_for() {
        let file = "# syntax=example.org/mine\nFROM scratch\n";
        let cases = [
            (None, &["foreign-frontend"][..]),
            (Some("docker/dockerfile:1"), &[]),
            (Some(" dockerfile.v0 x"), &[]),
            (Some("docker/dockerfile:1.99"), &["syntax-version"]),
            (Some("example.org/other"), &["foreign-frontend"]),
            (Some(""), &["foreign-frontend"]),
        ];
        for (asked, codes) in cases {
            let build_args = asked.map(|asked| (SYNTAX_ARGUMENT.to_owned(), asked.to_owned()));
            let parsed = parse(&Source::new("Dockerfile", file), &build_args.into_iter().collect());
            let found: Vec<&str> = parsed.diagnostics.iter().map(|found| found.code).collect();
            assert_eq!((found.as_slice(), parsed.file.stages.len()), (codes, 1), "{asked:?}");
        }
    }
}
