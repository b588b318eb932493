use super::*;
use crate::parse;
use crate::source::Source;

const AUTOMATIC: [(&str, &str); 2] = [("TARGETARCH", "arm64"), ("TARGETPLATFORM", "linux/arm64")];

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Outlines a text, one line an entry: `NAME=VALUE @LINE description`.
fn outlined(text: &str, target: Option<&str>, given: &[(&str, &str)]) -> Vec<String> {
    let source = Source::new("Dockerfile", text);
    let parsed = parse(&source);
    assert!(!parsed.has_errors(), "{text}: {:?}", parsed.diagnostics);
    let build_args = pairs(given);
    let mut automatic_arguments = VariableList::default();
    AUTOMATIC.iter().for_each(|(name, value)| automatic_arguments.set(name, value));
    let request = OutlineRequest {
        file: &parsed.file,
        target,
        automatic_arguments: &automatic_arguments,
        build_args: &build_args,
    };
    let outline = match outline(&request) {
        Ok(outline) => outline,
        Err(errors) => return errors.into_iter().map(|error| error.message).collect(),
    };
    let line = |span: Span| source.position(span.start).line;
    let arguments = outline.arguments.iter().map(|argument| {
        let value = argument.value.as_ref().map(|value| format!("={value}")).unwrap_or_default();
        let description = argument.description.as_ref().map(|text| format!(" {text}")).unwrap_or_default();
        format!("{}{value} @{}{description}", argument.name, line(argument.span))
    });
    let credential = |kind: &'static str| {
        move |credential: &Credential| {
            let required = if credential.is_required { " required" } else { "" };
            format!("{kind} {} @{}{required}", credential.id, line(credential.span))
        }
    };
    let secrets = outline.secrets.iter().map(credential("secret"));
    arguments.chain(secrets).chain(outline.ssh.iter().map(credential("ssh"))).collect()
}

#[test]
fn targets_have_names_bases_and_descriptions() {
    let text = "# base is where all begins\nFROM --platform=$BUILDPLATFORM alpine:${V} AS Base\n\
                # base is another one\nFROM scratch\n# about nothing\n# Out has the result\nFROM base AS out\n";
    let source = Source::new("Dockerfile", text);
    let parsed = parse(&source);
    let target =
        |name, base, span| Target { name, base, span, is_default: false, description: None, platform: None };
    let spans: Vec<Span> = parsed.file.stages.iter().map(|stage| stage.from.span).collect();
    let expected = vec![
        Target {
            description: Some("is where all begins"),
            platform: Some("$BUILDPLATFORM"),
            ..target(Some("base"), "alpine:${V}", spans[0])
        },
        target(None, "scratch", spans[1]),
        Target { is_default: true, ..target(Some("out"), "base", spans[2]) },
    ];
    assert_eq!(targets(&parsed.file), expected);
    assert_eq!(targets(&parse(&Source::new("Dockerfile", "")).file), []);
}

#[test]
fn an_outline_lists_what_the_target_takes_and_nothing_else() {
    let cases: [(&str, &[&str]); 12] = [
        // Globals count where a FROM expands them, or what is listed uses them.
        ("ARG A=1\nARG B=$A\nARG C=3\nFROM a:$B\n", &["A=1 @1", "B=1 @2"]),
        ("ARG A=1\nARG A=$A-2\nFROM a:$A\n", &["A=1-2 @2"]),
        ("ARG A=1\nARG B=$A\nARG B=${B}x\nFROM a:$B\n", &["A=1 @1", "B=1x @3"]),
        ("ARG A=1\nFROM a\nRUN $A\n", &[]),
        // An import stands for the global one; a default of its own does not.
        ("# A is global\nARG A=1\nFROM a\n# A is imported\nARG A\n", &["A=1 @2 is global"]),
        ("# A is global\nARG A=1\nFROM a\n# A is its own\nARG A=2 B\n", &["A=2 @5 is its own", "B @5"]),
        ("FROM a\nENV E=1\nARG A=$E$B\nARG B=${A}2\n", &["A=1 @3", "B=12 @4"]),
        // Automatic arguments are nobody's to list.
        ("FROM --platform=$TARGETPLATFORM a\nARG TARGETARCH\nARG X=$TARGETARCH\n", &["X=arm64 @3"]),
        // Stages on the way count, others do not.
        (
            "ARG V=1\nFROM a:$V AS x\nARG A\nFROM b AS unused\nARG B\nFROM c AS y\nARG C\nFROM x\nCOPY --from=y / /\n",
            &["V=1 @1", "A @3", "C @7"],
        ),
        ("ARG V=1\nFROM a:$V AS x\nARG V=2\nFROM x\n", &["V=1 @1"]),
        ("FROM a AS x\nARG A=1\nFROM x\nARG B=$A\nARG A=3\n", &["B=1 @4", "A=3 @5"]),
        // Triggers run where the stage is a base.
        ("FROM a AS x\nONBUILD ARG A=1\nFROM x\n", &["A=1 @3"]),
    ];
    for (text, expected) in cases {
        assert_eq!(outlined(text, None, &[]), expected, "{text}");
    }
}

#[test]
fn values_that_are_given_replace_defaults() {
    let text = "# A is global\nARG A=1\nARG B=$A\nFROM a:$B\n# A is imported\nARG A\nARG C\n";
    let expected = ["B=2 @3", "A=2 @6 is imported", "C=3 @7"];
    assert_eq!(outlined(text, None, &[("A", "2"), ("C", "3")]), expected);
}

#[test]
fn secrets_and_agents_are_listed_once_where_they_are_mounted_first() {
    let text = "FROM a AS x\nARG N=three\n\
        RUN --mount=type=secret,id=one --mount=type=secret,target=/run/two,required true\n\
        RUN --mount=type=secret,id=one,required --mount=type=secret,id=$N --mount=type=ssh true\n\
        FROM x\nRUN --mount=type=ssh,id=key,required --mount=type=cache,target=/c true\n\
        RUN --mount=type=secret,id=two,required=false true\n";
    let expected = [
        "N=three @2",
        "secret one @3",
        "secret three @4",
        "secret two @7",
        "ssh default @4",
        "ssh key @6 required",
    ];
    assert_eq!(outlined(text, None, &[]), expected);
}

#[test]
fn a_target_that_is_no_stage_is_an_error_with_the_nearest_one() {
    let text = "FROM a AS build\nARG A\nFROM b\nARG B\n";
    assert_eq!(outlined(text, Some("BUILD"), &[]), ["A @2"]);
    assert_eq!(outlined(text, Some("biuld"), &[]), ["target stage `biuld` could not be found"]);
    assert_eq!(
        outlined("FROM a AS x\nCOPY --from=x / /\n", None, &[]),
        ["circular dependency detected on stage: `x`"]
    );
}
