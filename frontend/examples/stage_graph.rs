//! Draws the stages of a Dockerfile, and what each takes from which, in Graphviz's language. The target is bold, and what it
//! does not need is grey.
//!
//! ```console
//! $ cargo run -p kiln-frontend --example stage_graph < Dockerfile | dot -Tsvg > stages.svg
//! $ cargo run -p kiln-frontend --example stage_graph -- tests < Dockerfile    # another target than the last stage
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::process::ExitCode;

use kiln_frontend::ast::Dockerfile;
use kiln_frontend::diagnostic::Diagnostic;
use kiln_frontend::expand::Lexer;
use kiln_frontend::parse;
use kiln_frontend::source::{Source, Word};
use kiln_frontend::stage::{Base, StageGraph, StageNode, Supplier};
use kiln_frontend::variables::{VariableList, read_globals};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => match write!(std::io::stderr(), "{message}") {
            Ok(()) => ExitCode::FAILURE,
            Err(_) => ExitCode::from(2),
        },
    }
}

fn run() -> Result<(), String> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).map_err(|error| format!("cannot read: {error}\n"))?;
    let source = Source::from_bytes("Dockerfile", &bytes);
    let drawing = draw(&source, std::env::args().nth(1).as_deref())?;
    std::io::stdout().write_all(drawing.as_bytes()).map_err(|error| format!("cannot write: {error}\n"))
}

/// Draws the stages of a file.
fn draw(source: &Source, target: Option<&str>) -> Result<String, String> {
    let parsed = parse(source);
    let errors: Vec<&Diagnostic> = parsed.diagnostics.iter().filter(|found| found.is_error()).collect();
    if !errors.is_empty() {
        return Err(report(source, errors));
    }
    let graph = StageGraph::new(&parsed.file, &bases(&parsed.file));
    let target = graph.target(target).map_err(|error| format!("{error}\n"))?;
    let needed = graph.needed(target);
    let errors = [graph.errors(), &graph.errors_in(&needed)].concat();
    if !errors.is_empty() {
        return Err(report(source, &errors));
    }
    let mut drawing = String::from("digraph stages {\n    rankdir=LR;\n    node [shape=box];\n");
    let mut images = BTreeSet::new();
    let mut arrows = String::new();
    for (index, stage) in graph.stages().iter().enumerate() {
        let is_needed = needed.contains(&index);
        node(&mut drawing, index, stage, Look { is_target: index == target, is_needed });
        for (supplier, label) in suppliers(stage) {
            let from = match &supplier {
                Supplier::Stage(other) => format!("stage{other}"),
                Supplier::Image(image) => quoted(image),
            };
            let grey = if is_needed { "" } else { ", color=grey" };
            arrow(&mut arrows, &format!("{from} -> stage{index} [style={label}{grey}]"));
            images.extend(match supplier {
                Supplier::Image(image) => Some(image),
                Supplier::Stage(_) => None,
            });
        }
    }
    for image in images {
        arrow(&mut drawing, &format!("{} [shape=ellipse]", quoted(&image)));
    }
    Ok(drawing + &arrows + "}\n")
}

/// Expands the names behind FROM with the arguments before it.
fn bases(file: &Dockerfile) -> Vec<String> {
    let lexer = Lexer::new(file.escape);
    let mut automatic = VariableList::default();
    for (name, value) in [("TARGETPLATFORM", "linux/amd64"), ("TARGETOS", "linux"), ("TARGETARCH", "amd64")] {
        automatic.set(name, value);
    }
    let mut expand =
        |word: &Word, variables: &VariableList| lexer.expand(&word.text, variables).unwrap_or_default();
    let globals = read_globals(file, &automatic, &BTreeMap::new(), &mut expand);
    file.stages.iter().map(|stage| expand(&stage.from.operation.base, &globals.list).text).collect()
}

/// What a stage takes, and how its arrow is drawn: whole for its base, dashed for files.
fn suppliers(stage: &StageNode) -> Vec<(Supplier, &'static str)> {
    let base = match &stage.base {
        Base::Stage(index) => Some((Supplier::Stage(*index), "solid")),
        Base::Image(name) => Some((Supplier::Image(name.clone()), "solid")),
        Base::Scratch | Base::Context | Base::Unknown => None,
    };
    let triggers = stage.triggers.list.iter().flat_map(|trigger| trigger.suppliers.clone());
    let files = stage.needs.iter().map(|need| need.supplier.clone()).chain(triggers);
    base.into_iter().chain(files.map(|supplier| (supplier, "dashed"))).collect()
}

struct Look {
    is_target: bool,
    is_needed: bool,
}

fn node(drawing: &mut String, index: usize, stage: &StageNode, look: Look) {
    let name = stage.name.clone().unwrap_or_else(|| format!("stage {index}"));
    let style = match look {
        Look { is_target: true, .. } => ", style=bold",
        Look { is_needed: true, .. } => "",
        Look { .. } => ", color=grey, fontcolor=grey",
    };
    arrow(drawing, &format!("stage{index} [label={}{style}]", quoted(&name)));
}

fn arrow(drawing: &mut String, statement: &str) {
    writeln!(drawing, "    {statement};").expect("a string takes everything");
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Says what is wrong, a line each.
fn report<'a>(source: &Source, errors: impl IntoIterator<Item = &'a Diagnostic>) -> String {
    let line = |error: &Diagnostic| {
        let place = source.position(error.primary().unwrap_or_default().start);
        format!("{}:{}:{}: {}\n", source.name(), place.line, place.column, error.message)
    };
    errors.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "ARG BASE=debian:12\nFROM alpine AS tools\nFROM $BASE AS build\nRUN --mount=from=tools,target=/t make\n\
                        FROM build AS tests\nRUN make check\nFROM scratch\nCOPY --from=build /app /\nCOPY --from=busybox /bin /bin\n";

    #[test]
    fn stages_are_drawn_with_what_they_take() {
        let expected = r#"digraph stages {
    rankdir=LR;
    node [shape=box];
    stage0 [label="tools"];
    stage1 [label="build"];
    stage2 [label="tests", color=grey, fontcolor=grey];
    stage3 [label="stage 3", style=bold];
    "alpine" [shape=ellipse];
    "busybox" [shape=ellipse];
    "debian:12" [shape=ellipse];
    "alpine" -> stage0 [style=solid];
    "debian:12" -> stage1 [style=solid];
    stage0 -> stage1 [style=dashed];
    stage1 -> stage2 [style=solid, color=grey];
    stage1 -> stage3 [style=dashed];
    "busybox" -> stage3 [style=dashed];
}
"#;
        assert_eq!(draw(&Source::new("Dockerfile", FILE), None), Ok(expected.to_owned()));
    }

    #[test]
    fn a_target_decides_what_is_needed() {
        let drawn = draw(&Source::new("Dockerfile", FILE), Some("tests")).unwrap();
        let stages: Vec<&str> =
            drawn.lines().filter(|line| line.starts_with("    stage") && !line.contains("->")).collect();
        let expected = [
            r#"    stage0 [label="tools"];"#,
            r#"    stage1 [label="build"];"#,
            r#"    stage2 [label="tests", style=bold];"#,
            r#"    stage3 [label="stage 3", color=grey, fontcolor=grey];"#,
        ];
        assert_eq!(stages, expected);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let source = Source::new("Dockerfile", "FROM a\nRNU x\n");
        assert_eq!(draw(&source, None), Err("Dockerfile:2:1: unknown instruction: RNU\n".to_owned()));
        let source = Source::new("Dockerfile", "FROM a\n");
        assert_eq!(draw(&source, Some("b")), Err("target stage `b` could not be found\n".to_owned()));
    }
}
