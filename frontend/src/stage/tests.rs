use super::*;
use crate::parser::parse;

fn graph(text: &str) -> StageGraph {
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
    let graph = graph(text);
    if !graph.errors().is_empty() {
        return codes(graph.errors());
    }
    let target = match graph.target(target) {
        Ok(target) => target,
        Err(error) => return format!("{error} {:?}", error.near),
    };
    let stages = graph.needed(target);
    match graph.errors_in(&stages).as_slice() {
        [] => stages.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        errors => codes(errors),
    }
}

const THREE: &str = "FROM a AS One\nFROM b AS two\nFROM one\n";

#[test]
fn a_target_needs_its_base_and_what_it_copies_from() {
    let cases = [
        (THREE, None, "0 2"),
        (THREE, Some("TWO"), "1"),
        (THREE, Some("2"), "target stage `2` could not be found None"),
        (THREE, Some("onne"), "target stage `onne` could not be found Some(\"one\")"),
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
    let graph = graph(text);
    let triggers: Vec<&str> =
        graph.stages()[2].triggers.list.iter().map(|trigger| trigger.source.text()).collect();
    assert_eq!(triggers, ["COPY --from=lib / /", "RUN <<E\nx\nE"]);
    assert_eq!(graph.needed(2), [0, 1, 2]);
    assert_eq!(graph.stages()[4].triggers.list, []);
    assert_eq!(graph.needed(4), [0, 1, 3, 4]);
}

#[test]
fn a_wrong_trigger_matters_only_where_it_runs() {
    let text = "FROM a AS base\nONBUILD BOGUS x\nFROM base AS child\nFROM c\n";
    assert_eq!(needed(text, None), "2");
    assert_eq!(needed(text, Some("child")), "unknown-instruction");
    let errors = graph(text).errors_in(&[1]);
    assert_eq!(errors[0].message, "in the trigger `ONBUILD BOGUS x`: unknown instruction: BOGUS");
    let places: Vec<&str> = errors[0].labels.iter().map(|label| &text[label.span.range()]).collect();
    assert_eq!(places, ["FROM base AS child", "BOGUS x"]);
}

#[test]
fn a_named_context_takes_the_place_of_a_stage() {
    let mut graph = graph("FROM a AS lib\nFROM lib AS x\nCOPY --from=lib / /\nFROM x\n");
    assert_eq!(graph.needed(2), [0, 1, 2]);
    graph.replace_by_context(1);
    assert_eq!(graph.needed(2), [1, 2]);
    assert_eq!(graph.stages()[1].base, Base::Context);
}

#[test]
fn a_circle_is_shown_with_all_its_links() {
    let text = "FROM a AS x\nCOPY --from=y / /\nFROM b AS y\nRUN --mount=from=z,target=/z true\n\
                FROM c AS z\nCOPY --from=0 / /\nFROM d\n";
    let errors = graph(text).errors().to_vec();
    assert_eq!(codes(&errors), "circular-dependency");
    assert_eq!(errors[0].message, "circular dependency detected on stage: `x`");
    let labels: Vec<_> =
        errors[0].labels.iter().map(|label| (&text[label.span.range()], label.text.as_str())).collect();
    assert_eq!(labels, [("y", "`x` needs `y`"), ("z", "`y` needs `z`"), ("0", "`z` needs `x`")]);
    assert_eq!(graph(text).errors_in(&[0, 1, 2]), []);
}

#[test]
fn help_tells_a_stage_in_the_wrong_place_from_a_circle() {
    let help = |text: &str| {
        let graph = graph(text);
        let errors = graph.errors_in(&graph.needed(0));
        errors.into_iter().map(|error| error.help.unwrap()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(help("FROM a AS x\nCOPY --from=y / /\nFROM b AS y\n"), "move `y` above `x`");
    assert_eq!(
        help("FROM a AS x\nCOPY --from=y / /\nFROM x AS y\n"),
        "`y` needs `x` in turn: take what both need into a stage of its own"
    );
}

#[test]
fn triggers_of_images_are_linked_when_they_are_known() {
    let mut graph = graph("FROM a AS lib\nFROM img AS x\nFROM x AS y\nFROM y\n");
    assert_eq!(graph.needed(3), [1, 2, 3]);
    let triggers = ["COPY --from=lib / /", "ONBUILD RUN more", "COPY --from=9 / /"].map(str::to_owned);
    graph.add_triggers(1, &triggers);
    let count = |stage: usize| graph.stages()[stage].triggers.list.len();
    assert_eq!((count(1), count(2), count(3)), (2, 1, 0));
    assert_eq!(graph.needed(3), [0, 1, 2, 3]);
    let errors = graph.errors_in(&[1, 2, 3]);
    assert_eq!(codes(&errors), "undefined-stage");
    assert_eq!(errors[0].message, "in the trigger `ONBUILD COPY --from=9 / /`: invalid stage index 9");
}

#[test]
fn circles_through_triggers_are_found_where_they_are_built() {
    let cases = [
        ("FROM a AS x\nONBUILD COPY --from=y / /\nFROM x AS y\n", "circular-dependency"),
        ("FROM a AS x\nONBUILD COPY --from=z / /\nFROM x AS y\nFROM y AS z\n", "later-stage"),
        ("FROM a AS x\nONBUILD COPY --from=z / /\nFROM x AS y\nFROM c AS z\n", "2"),
    ];
    for (text, expected) in cases {
        assert_eq!(needed(text, None), expected, "{text}");
    }
}

#[test]
fn names_that_may_have_been_meant_are_near_in_any_case() {
    let graph = graph("FROM a AS build\nFROM b\n");
    for (word, near) in
        [("biuld", Some("build")), ("Build", Some("build")), ("BIULD", Some("build")), ("alpine", None)]
    {
        assert_eq!(graph.near(word).as_deref(), near, "{word}");
    }
}

#[test]
fn hostile_files_cost_no_more_than_their_size() {
    let count = 3000;
    let mut text = "FROM a AS base\n".to_owned() + &"ONBUILD COPY --from=last / /\n".repeat(count);
    for index in 0..count {
        text.push_str(&format!("FROM base AS s{index}\nCOPY --from=last / /\n"));
    }
    text.push_str("FROM b AS last\n");
    for index in 0..count {
        text.push_str(&format!("COPY --from=s{index} / /\n"));
    }
    let graph = graph(&text);
    assert_eq!(graph.errors().len(), 200);
    assert_eq!(graph.needed(count + 1).len(), count + 2);
    assert_eq!(graph.errors_in(&graph.needed(count + 1)).len(), 200);
}
