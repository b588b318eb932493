use super::*;
use crate::parser::parse;

fn graph(text: &str) -> Result<StageGraph, Vec<Diagnostic>> {
    let parsed = parse(&Source::new("Dockerfile", text));
    assert_eq!(parsed.diagnostics, [], "{text}");
    let bases: Vec<String> =
        parsed.file.stages.iter().map(|stage| stage.from.operation.base.text.clone()).collect();
    StageGraph::new(&parsed.file, &bases)
}

fn codes(errors: &[Diagnostic]) -> String {
    errors.iter().map(|error| error.code).collect::<Vec<_>>().join(" ")
}

/// Returns what a target needs, as numbers, or the codes of errors.
fn needed(text: &str, target: Option<&str>) -> String {
    let graph = match graph(text) {
        Ok(graph) => graph,
        Err(errors) => return codes(&errors),
    };
    let target = match graph.target(target) {
        Ok(target) => target,
        Err(error) => return format!("{error} {:?}", error.near),
    };
    match graph.needed(target) {
        Ok(stages) => stages.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        Err(errors) => codes(&errors),
    }
}

const THREE: &str = "FROM a AS One\nFROM b AS two\nFROM one\n";

#[test]
fn a_target_needs_its_base_and_what_it_copies_from() {
    let cases = [
        (THREE, None, "0 2"),
        (THREE, Some("TWO"), "1"),
        (THREE, Some("2"), "target stage \"2\" could not be found None"),
        (THREE, Some("onne"), "target stage \"onne\" could not be found Some(\"one\")"),
        ("FROM a AS x\nFROM b\nCOPY --from=x / /\n", None, "0 1"),
        ("FROM a AS x\nFROM b\nCOPY --from=X / /\n", None, "0 1"),
        ("FROM a\nFROM b\nCOPY --from=0 / /\n", None, "0 1"),
        ("FROM a AS x\nFROM b\nRUN --mount=from=x,target=/t true\n", None, "0 1"),
        ("FROM a\nFROM b\nRUN --mount=from=0,target=/t true\n", None, "1"),
        ("FROM a AS x\nFROM b\nCOPY --from=alpine / /\n", None, "1"),
        ("FROM a AS x\nFROM b AS x\nFROM x\n", None, "1 2"),
        ("FROM a AS x\nFROM X\n", None, "1"),
    ];
    for (text, target, expected) in cases {
        assert_eq!(needed(text, target), expected, "{text}");
    }
}

#[test]
fn stages_that_cannot_be_put_in_order_are_errors() {
    let cases = [
        ("FROM a AS x\nCOPY --from=x / /\n", "circular-dependency"),
        ("FROM a\nCOPY --from=0 / /\n", "circular-dependency"),
        ("FROM a AS x\nCOPY --from=y / /\nFROM b AS y\nCOPY --from=x / /\n", "circular-dependency"),
        ("FROM a AS x\nCOPY --from=y / /\nFROM b AS y\nFROM x\n", "later-stage"),
        ("FROM a AS x\nCOPY --from=y / /\nFROM b AS y\n", "1"),
        ("FROM a AS x\nCOPY --from=y / /\nFROM x AS y\n", "later-stage"),
        ("FROM a\nCOPY --from=7 / /\nFROM b\n", "undefined-stage"),
        ("FROM a\nCOPY --from=-1 / /\n", "undefined-stage"),
        ("FROM a\nCOPY --from=$x / /\n", "variable-in-from"),
        ("FROM a AS x\nFROM b\nCOPY --from=x$ / /\n", "1"),
        ("FROM a AS x\nFROM b AS y\nCOPY --from=x / /\nFROM c AS x\n", "2"),
    ];
    for (text, expected) in cases {
        assert_eq!(needed(text, None), expected, "{text}");
    }
}

#[test]
fn triggers_of_a_stage_run_in_the_stages_that_start_from_it() {
    let text = "FROM a AS lib\nFROM b AS base\nONBUILD COPY --from=lib / /\nONBUILD RUN <<E\nx\nE\n\
                FROM base\nFROM base AS mid\nFROM mid\n";
    let graph = graph(text).unwrap();
    let triggers: Vec<&str> =
        graph.stages()[2].triggers.iter().map(|trigger| trigger.source.text()).collect();
    assert_eq!(triggers, ["COPY --from=lib / /", "RUN <<E\nx\nE"]);
    assert_eq!(graph.needed(2), Ok(vec![0, 1, 2]));
    assert_eq!(graph.stages()[4].triggers, []);
    assert_eq!(graph.needed(4), Ok(vec![0, 1, 3, 4]));
}

#[test]
fn a_wrong_trigger_matters_only_where_it_runs() {
    let text = "FROM a AS base\nONBUILD BOGUS x\nFROM base AS child\nFROM c\n";
    assert_eq!(needed(text, None), "2");
    assert_eq!(needed(text, Some("child")), "unknown-instruction");
    let errors = graph(text).unwrap().needed(1).unwrap_err();
    assert_eq!(errors[0].message, "unknown instruction: BOGUS (in `ONBUILD BOGUS x`)");
}

#[test]
fn a_named_context_takes_the_place_of_a_stage() {
    let mut graph = graph("FROM a AS lib\nFROM lib AS x\nCOPY --from=lib / /\nFROM x\n").unwrap();
    assert_eq!(graph.needed(2), Ok(vec![0, 1, 2]));
    graph.replace_by_context(1, "x");
    assert_eq!(graph.needed(2), Ok(vec![1, 2]));
    assert_eq!(graph.stages()[1].base, Base::Image("x".to_owned()));
}
