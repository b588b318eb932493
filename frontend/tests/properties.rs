//! What holds for every text: no panic, spans in bounds, nothing lost; and a second parser's opinion.

use dockerfile_parser::Dockerfile as Peer;
use dockerfile_parser::Instruction as PeerInstruction;
use kiln_frontend::ast::{Instruction, Operation};
use kiln_frontend::source::{Source, Span};
use kiln_frontend::{Parsed, parse, parse_onbuild};
use proptest::prelude::*;

/// Pieces from which files are put together that reach deep into the parser.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("FROM scratch AS a\n"),
        Just("from $x\n"),
        Just("RUN "),
        Just("COPY --from=a "),
        Just("ADD --chmod=1 "),
        Just("ENV A=b"),
        Just("ONBUILD "),
        Just("HEALTHCHECK --retries=3 CMD "),
        Just("ARG X=\"y z\" W"),
        Just("# escape=`\n"),
        Just("# check=x\n"),
        Just("#\n"),
        Just("--mount=type=bind,from=a"),
        Just("--"),
        Just("<<EOF"),
        Just("<<-'E F'"),
        Just("\nEOF\n"),
        Just("[\"a\", \"\\u00e9\"]"),
        Just("[1]"),
        Just("\\"),
        Just("`"),
        Just("\"'"),
        Just("${x:-"),
        Just("=\t "),
        Just("\r\n"),
        Just("\n"),
        Just("\u{feff}"),
        Just("é\u{85}\u{a0}"),
        Just(" /a /b"),
    ];
    proptest::collection::vec(prop_oneof![9 => piece.prop_map(str::to_owned), 1 => ".{0,4}"], 0..24)
        .prop_map(|pieces| pieces.concat())
}

fn check_span(source: &Source, span: Span) {
    let text = source.text();
    assert!(text.get(span.range()).is_some(), "{span:?} in {text:?}");
}

/// Checks one instruction: everything it holds stands inside it.
fn check_instruction<T>(source: &Source, instruction: &Instruction<T>) {
    check_span(source, instruction.span);
    let inner = instruction.flags.iter().map(|flag| flag.span);
    let inner =
        inner.chain(instruction.flags.iter().filter_map(|flag| flag.value.as_ref()).map(|value| value.span));
    let inner = inner.chain(instruction.heredocs.iter().map(|heredoc| heredoc.span));
    for span in inner.chain([instruction.keyword.span]) {
        check_span(source, span);
        assert_eq!(span.cover(instruction.span), instruction.span, "{span:?} outside, {:?}", source.text());
    }
    assert_eq!(source.slice(instruction.keyword.span), instruction.keyword.text);
    for heredoc in &instruction.heredocs {
        assert_eq!(source.slice(heredoc.span), heredoc.content);
    }
}

/// Checks a whole file; returns its instructions' spans.
fn check_file(source: &Source, parsed: &Parsed) -> Vec<Span> {
    let file = &parsed.file;
    let mut spans = Vec::new();
    for argument in &file.global_arguments {
        check_instruction(source, argument);
        spans.push(argument.span);
    }
    for stage in &file.stages {
        check_instruction(source, &stage.from);
        spans.push(stage.from.span);
        for instruction in &stage.instructions {
            check_instruction(source, instruction);
            spans.push(instruction.span);
        }
    }
    for label in parsed.diagnostics.iter().flat_map(|diagnostic| &diagnostic.labels) {
        check_span(source, label.span);
    }
    for comment in &file.comments {
        assert!(source.slice(comment.span).starts_with('#'));
    }
    spans
}

proptest! {
    #[test]
    fn any_text_parses_without_panic_and_with_spans_in_bounds(text in text()) {
        let source = Source::new("Dockerfile", text);
        check_file(&source, &parse(&source));
        if let Ok(trigger) = parse_onbuild(&source) {
            check_instruction(&source, &trigger);
        }
    }

    #[test]
    fn any_bytes_parse_without_panic(bytes: Vec<u8>) {
        let source = Source::from_bytes("Dockerfile", &bytes);
        check_file(&source, &parse(&source));
    }

    #[test]
    fn instructions_comments_and_blanks_make_up_the_whole_file(
        lines in proptest::collection::vec(prop_oneof![
            Just("RUN make \\\n  # inside\n\n  install"),
            Just("  COPY <<a <<-b /c \n# no comment\na\n\tx\n\tb"),
            Just("ONBUILD RUN <<E\nE"),
            Just("ENV A 'b c'\t"),
            Just("from x as y\r"),
            Just("#"),
            Just("  # comment"),
            Just(" \t "),
            Just("\\"),
        ], 0..12),
    ) {
        let source = Source::new("Dockerfile", format!("\u{feff}FROM first\n{}\nRUN x", lines.join("\n")));
        let parsed = parse(&source);
        prop_assert!(!parsed.has_errors(), "{:?}", parsed.diagnostics);
        let mut spans = check_file(&source, &parsed);
        spans.extend(parsed.file.comments.iter().map(|comment| comment.span));
        spans.sort();
        let mut end = 0;
        for span in spans {
            let between = source.text().get(end..span.start).unwrap_or("");
            let is_blank = |c: char| c.is_whitespace() || matches!(c, '\u{feff}' | '\\');
            prop_assert!(between.chars().all(is_blank), "{:?} is lost in {:?}", between, source.text());
            end = end.max(span.end);
        }
    }

    #[test]
    fn a_file_reads_the_same_with_other_line_endings(text in text()) {
        let text = text.replace(['\r', '<'], "");
        let count = |text: String| {
            let parsed = parse(&Source::new("Dockerfile", text));
            let texts = parsed.file.stages.iter().flat_map(|stage| &stage.instructions).map(|i| i.text.clone());
            (texts.collect::<Vec<_>>(), parsed.diagnostics.len())
        };
        prop_assert_eq!(count(text.replace('\n', "\r\n")), count(text));
    }

    #[test]
    fn another_parser_finds_the_same_instructions(
        lines in proptest::collection::vec(prop_oneof![
            Just("RUN make \\\n  install"),
            Just("RUN [\"a\", \"b\"]"),
            Just("COPY --chown=1 a b"),
            Just("ENV A=b C=\"d e\""),
            Just("LABEL a=b"),
            Just("ARG X=1"),
            Just("CMD [\"x\"]"),
            Just("ENTRYPOINT x y"),
            Just("WORKDIR /x"),
            Just("# a comment"),
            Just(""),
            Just("FROM other AS next"),
        ], 0..12),
    ) {
        let text = format!("FROM first\n{}\n", lines.join("\n"));
        let peer = Peer::parse(&text).unwrap();
        let source = Source::new("Dockerfile", text.as_str());
        let parsed = parse(&source);
        prop_assert_eq!(&parsed.diagnostics, &[]);
        let ours: Vec<(&str, usize)> = parsed.file.stages.iter().flat_map(|stage| {
            let from = ("from", stage.from.span.start);
            std::iter::once(from).chain(stage.instructions.iter().map(|i| (our_kind(&i.operation), i.span.start)))
        }).collect();
        let theirs: Vec<(&str, usize)> =
            peer.instructions.iter().map(|i| (their_kind(i), i.span().start)).collect();
        prop_assert_eq!(ours, theirs);
    }
}

fn our_kind(operation: &Operation) -> &'static str {
    match operation {
        Operation::Run(_) => "run",
        Operation::Copy(_) => "copy",
        Operation::Env(_) => "env",
        Operation::Label(_) => "label",
        Operation::Arg(_) => "arg",
        Operation::Cmd(_) => "cmd",
        Operation::Entrypoint(_) => "entrypoint",
        _ => "other",
    }
}

fn their_kind(instruction: &PeerInstruction) -> &'static str {
    match instruction {
        PeerInstruction::From(_) => "from",
        PeerInstruction::Run(_) => "run",
        PeerInstruction::Copy(_) => "copy",
        PeerInstruction::Env(_) => "env",
        PeerInstruction::Label(_) => "label",
        PeerInstruction::Arg(_) => "arg",
        PeerInstruction::Cmd(_) => "cmd",
        PeerInstruction::Entrypoint(_) => "entrypoint",
        PeerInstruction::Misc(_) => "other",
    }
}
