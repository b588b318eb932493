//! Findings in a Dockerfile → an excerpt with carets.
//!
//! ```text
//! error[undefined-stage]: `COPY --from` names a stage that does not exist: `biuld`
//!   --> Dockerfile:9:13
//!    |
//!  9 | COPY --from=biuld /out/app /app
//!    |             ^^^^^ no stage of this name above this line
//! help: did you mean `build`?
//! ```
//!
//! Written by hand and not by `annotate-snippets`, whose help lines stand inside the excerpt.

use std::fmt::Write;

use kiln_frontend::diagnostic::{Diagnostic, Label, Severity};
use kiln_frontend::source::Source;
use unicode_width::UnicodeWidthStr;

use super::lines::clean;
use super::style::{Paint, Style};

/// Longest part of a line that is shown, in columns.
const EXCERPT_WIDTH_MAX: usize = 200;

/// The most findings that are shown: nobody reads more, and a hostile file has as many as it has lines.
const SHOWN_MAX: usize = 100;

/// Returns findings one below the other, and how many more there are.
pub(crate) fn render_all(source: &Source, diagnostics: &[Diagnostic], style: Style) -> String {
    let shown = diagnostics.iter().take(SHOWN_MAX).map(|found| render(source, found, style));
    let mut text = shown.collect::<Vec<_>>().join("\n");
    match diagnostics.len().saturating_sub(SHOWN_MAX) {
        0 => {}
        1 => push(&mut text, "\nand 1 more\n"),
        more => push(&mut text, &format!("\nand {more} more\n")),
    }
    text
}

/// Returns a finding as lines, with a line end behind each.
pub(crate) fn render(source: &Source, diagnostic: &Diagnostic, style: Style) -> String {
    let (word, paint) = match diagnostic.severity {
        Severity::Error => ("error", Paint::Error),
        Severity::Warning => ("warning", Paint::Warning),
    };
    let heading = match diagnostic.code {
        "" => word.to_owned(),
        code => format!("{word}[{code}]"),
    };
    let mut out = format!(
        "{}{}\n",
        style.paint(paint, &heading),
        style.paint(Paint::Bold, &format!(": {}", one_line(&diagnostic.message)))
    );
    let mut labels: Vec<(usize, &Label)> = diagnostic.labels.iter().enumerate().collect();
    labels.sort_by_key(|(rank, label)| (source.position(label.span.start).line, label.span.start, *rank));
    if let Some(primary) = diagnostic.labels.first() {
        excerpt(&mut out, source, primary, &labels, Paints { primary: paint, style });
    }
    if let Some(help) = &diagnostic.help {
        push(&mut out, &format!("{}: {}\n", style.paint(Paint::Help, "help"), one_line(help)));
    }
    out
}

#[derive(Clone, Copy)]
struct Paints {
    primary: Paint,
    style: Style,
}

fn excerpt(out: &mut String, source: &Source, primary: &Label, labels: &[(usize, &Label)], paints: Paints) {
    let style = paints.style;
    let place = source.position(primary.span.start);
    let last = labels.iter().map(|(_, label)| source.position(label.span.start).line).max().unwrap_or(1);
    let width = last.to_string().len();
    let bar = style.paint(Paint::Gutter, "|");
    let name = clean(source.name().as_bytes(), false);
    let arrow = style.paint(Paint::Gutter, "-->");
    push(out, &format!("{:width$} {arrow} {name}:{}:{}\n", "", place.line, place.column));
    push(out, &format!(" {:width$} {bar}\n", ""));
    let mut shown = None;
    for (rank, label) in labels {
        let line = source.position(label.span.start).line;
        let window = Window::of(source, label, line);
        if shown != Some(line) {
            if shown.is_some_and(|before| before + 1 < line) {
                push(out, "...\n");
            }
            let number = style.paint(Paint::Gutter, &format!("{line:width$}"));
            push(out, &format!(" {number} {bar} {}\n", window.text).replace(" \n", "\n"));
            shown = Some(line);
        }
        let (sign, paint) = if *rank == 0 { ("^", paints.primary) } else { ("-", Paint::Gutter) };
        let carets = sign.repeat(window.carets.max(1));
        let text = one_line(&label.text);
        let mark = style.paint(paint, format!("{carets} {text}").trim_end());
        push(out, &format!(" {:width$} {bar} {}{mark}\n", "", " ".repeat(window.indent)));
    }
}

/// The part of a line that is shown around a label.
struct Window {
    text: String,
    indent: usize,
    carets: usize,
}

impl Window {
    fn of(source: &Source, label: &Label, number: usize) -> Self {
        let line = source.line(number).unwrap_or("");
        let start = label.span.start - line_start(source, label.span.start);
        let start = floor(line, start);
        // A label over several lines is marked on its first.
        let end = floor(line, start.saturating_add(label.span.end - label.span.start)).max(start);
        let (before, marked, after) = (&line[..start], &line[start..end], &line[end..]);
        let (before, marked, after) = (visible(before), visible(marked), visible(after));
        let cut = before.width().saturating_sub(EXCERPT_WIDTH_MAX / 2);
        let before = match cut {
            0 => before,
            cut => format!("…{}", skip_columns(&before, cut)),
        };
        let text = take_columns(&format!("{before}{marked}{after}"), EXCERPT_WIDTH_MAX);
        let room = EXCERPT_WIDTH_MAX.saturating_sub(before.width());
        Self { text, indent: before.width(), carets: marked.trim_end().width().min(room) }
    }
}

fn line_start(source: &Source, offset: usize) -> usize {
    let text = source.text();
    let offset = floor(text, offset);
    text[..offset].rfind('\n').map_or(0, |at| at + 1)
}

/// Returns the nearest place at or before `at` where a character begins.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// Returns text as it is shown: tabs are four blanks, controls can be seen.
fn visible(text: &str) -> String {
    let shown = text.chars().map(|char| match char {
        '\t' => "    ".to_owned(),
        '\r' => String::new(),
        '\x1b' => "^[".to_owned(),
        char => clean(char.encode_utf8(&mut [0; 4]).as_bytes(), false),
    });
    shown.collect()
}

fn skip_columns(text: &str, columns: usize) -> &str {
    let mut width = 0;
    let at = text.char_indices().find(|(_, char)| {
        width += unicode_width::UnicodeWidthChar::width(*char).unwrap_or(0);
        width > columns
    });
    at.map_or("", |(at, _)| &text[at..])
}

fn take_columns(text: &str, columns: usize) -> String {
    match text.width() > columns {
        true => format!("{}…", &text[..text.len() - skip_columns(text, columns).len()]),
        false => text.to_owned(),
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(|line| clean(line.as_bytes(), false)).collect::<Vec<_>>().join(" ")
}

fn push(out: &mut String, text: &str) {
    out.write_str(text).expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_frontend::source::Span;

    fn check(text: &str, diagnostic: &Diagnostic, expected: &str) {
        let source = Source::new("Dockerfile", text);
        assert_eq!(render(&source, diagnostic, Style::PLAIN), expected);
    }

    fn span(text: &str, part: &str) -> Span {
        let start = text.find(part).unwrap();
        Span::new(start, start + part.len())
    }

    #[test]
    fn a_finding_has_a_place_carets_and_help() {
        let text = "FROM a\n\n\n\n\n\n\n\nCOPY --from=biuld /out/app /app\n";
        let message = "`COPY --from` names a stage that does not exist: `biuld`";
        let diagnostic = Diagnostic::error("undefined-stage", span(text, "biuld"), message)
            .with_label("no stage of this name above this line")
            .with_help("did you mean `build`?");
        check(
            text,
            &diagnostic,
            "\
error[undefined-stage]: `COPY --from` names a stage that does not exist: `biuld`
  --> Dockerfile:9:13
   |
 9 | COPY --from=biuld /out/app /app
   |             ^^^^^ no stage of this name above this line
help: did you mean `build`?
",
        );
    }

    #[test]
    fn a_failed_step_has_no_code_and_is_marked_on_its_first_line() {
        let text = "FROM a\nRUN make -C src \\\n  install\n";
        let diagnostic =
            Diagnostic::error("", span(text, "RUN make -C src \\\n  install"), "RUN failed: exit code 2")
                .with_label("in stage `build`; its output is above");
        check(
            text,
            &diagnostic,
            "\
error: RUN failed: exit code 2
  --> Dockerfile:2:1
   |
 2 | RUN make -C src \\
   | ^^^^^^^^^^^^^^^^^ in stage `build`; its output is above
",
        );
    }

    #[test]
    fn many_findings_are_shown_up_to_a_bound() {
        let found = |count: usize| {
            let one = Diagnostic::error("e", Span::new(0, 4), "m");
            render_all(&Source::new("D", "FROM a"), &vec![one; count], Style::PLAIN)
        };
        let headings = |text: &str| text.matches("error[e]: m").count();
        assert_eq!((headings(&found(100)), found(100).contains("more")), (100, false));
        assert_eq!((headings(&found(101)), found(101).ends_with("\n\nand 1 more\n")), (100, true));
        assert_eq!((headings(&found(1100)), found(1100).ends_with("\n\nand 1000 more\n")), (100, true));
    }

    #[test]
    fn several_places_are_shown_in_the_order_of_the_file() {
        let text = "FROM a AS x\nRUN b\nRUN c\nRUN d\nRUN e\nRUN f\nRUN g\nRUN h\nRUN i\nFROM b AS x\n";
        let second = Span::new(text.rfind('x').unwrap(), text.rfind('x').unwrap() + 1);
        let diagnostic = Diagnostic::warning("duplicate-stage", second, "stage `x` is named twice")
            .with_label("again here")
            .with_place(span(text, "x"), "first here");
        check(
            text,
            &diagnostic,
            "\
warning[duplicate-stage]: stage `x` is named twice
   --> Dockerfile:10:11
    |
  1 | FROM a AS x
    |           - first here
...
 10 | FROM b AS x
    |           ^ again here
",
        );
    }

    #[test]
    fn tabs_wide_letters_and_controls_keep_carets_in_place() {
        let text = "\tRUN 漢字 \x1b[2Jx bad";
        check(
            text,
            &Diagnostic::error("e", span(text, "bad"), "no\x1b[31m"),
            "\
error[e]: no
  --> Dockerfile:1:15
   |
 1 |     RUN 漢字 ^[[2Jx bad
   |                     ^^^
",
        );
    }

    #[test]
    fn places_outside_of_the_text_and_empty_ones_do_no_harm() {
        let text = "FROM ä";
        for (start, end) in [(6, 6), (7, 7), (100, 200), (0, 1000), (5, 6)] {
            let diagnostic = Diagnostic::error("e", Span::new(start, end), "m");
            let shown = render(&Source::new("D", text), &diagnostic, Style::PLAIN);
            assert!(shown.contains('^'), "{start}..{end}: {shown}");
        }
    }

    #[test]
    fn a_very_long_line_is_shown_around_the_place() {
        let text = format!("RUN {} bad {}", "a".repeat(1000), "b".repeat(1000));
        let shown =
            render(&Source::new("D", &*text), &Diagnostic::error("e", span(&text, "bad"), "m"), Style::PLAIN);
        assert!(shown.lines().all(|line| line.width() < EXCERPT_WIDTH_MAX + 10), "{shown}");
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[3].find("bad").map(|at| lines[3][..at].width()), lines[4].find("^^^"));
    }
}
