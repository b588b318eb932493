//! Tables of what Dockerfiles mean: configuration, history, images asked for, and what is said of wrong ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use kiln_oci::{Digest, ImageConfig, Platform};

use super::*;
use crate::git_reference::{GitReference, Standing};
use crate::plan::{GitOp, Network, Op};
use crate::request::{Arguments, BuildRequest, Compat, ContextPlace, NamedContext};

/// What a build asks for besides the text.
#[derive(Default)]
struct Asked<'a> {
    target: Option<&'a str>,
    args: &'a [(&'a str, &'a str)],
    contexts: &'a [(&'a str, &'a str)],
    /// Triggers of the image `triggers`.
    triggers: &'a [&'a str],
}

impl Asked<'_> {
    fn options(&self) -> PlanOptions {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let context =
            |(name, image): &(&str, &str)| ((*name).to_owned(), NamedContext::Image(image.parse().unwrap()));
        PlanOptions {
            target: self.target.map(str::to_owned),
            extent: Extent::Needed,
            platforms: vec![Platform::linux("amd64")],
            build_platform: Platform::linux("amd64"),
            build_args: self.args.iter().map(pair).collect(),
            labels: BTreeMap::new(),
            git_context: None,
            named_contexts: self.contexts.iter().map(context).collect(),
            network: Network::Host,
            extra_hosts: Vec::new(),
            ulimits: Vec::new(),
            shm_size_bytes: None,
            epoch: None,
            compat: Compat::Kiln,
            arguments: Arguments::Declared,
        }
    }

    /// Every image has the variable `BASE`, and `triggers` has the triggers.
    fn image(&self, request: &ImageRequest) -> ResolvedImage {
        let mut config = ImageConfig::empty(&request.platform);
        let name = request.name().trim_end_matches(":latest").to_owned();
        config.config.env = vec!["PATH=/bin".to_owned(), format!("BASE={name}")];
        config.config.cmd = vec!["base".to_owned()];
        if name == "triggers" {
            config.config.on_build = self.triggers.iter().map(|text| (*text).to_owned()).collect();
        }
        ResolvedImage { request: request.clone(), manifest: Digest::of(b""), config, layers: Vec::new() }
    }

    /// Returns the plan and the images that were asked for, or what is wrong with the file.
    fn lower(&self, text: &str) -> Result<(Lowered, String), String> {
        let source = Source::new("Dockerfile", text);
        let said = |errors: Vec<Diagnostic>| describe(&source, &errors);
        let parsed = kiln_frontend::parse(&source);
        if parsed.has_errors() {
            let mut errors = parsed.diagnostics.clone();
            errors.extend(further_errors(&source, &parsed, self.options()));
            return Err(said(errors));
        }
        let mut planner = Planner::new(&source, &parsed.file, self.options()).map_err(said)?;
        let mut images = BTreeSet::new();
        while !planner.wants().is_empty() {
            let name = |request: &ImageRequest| request.name().trim_end_matches(":latest").to_owned();
            images.extend(planner.wants().iter().map(name));
            let found = planner.wants().iter().map(|request| self.image(request)).collect();
            planner.provide(found).map_err(said)?;
        }
        Ok((planner.finish(), images.into_iter().collect::<Vec<_>>().join(" ")))
    }

    fn history(&self, text: &str) -> String {
        let (lowered, _) = self.lower(text).unwrap();
        let lines = lowered.plan.outputs[0].history.iter();
        let lines = lines.map(|line| match line.step {
            Some(_) => line.created_by.clone(),
            None => format!("{} (empty)", line.created_by),
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn config(&self, text: &str) -> kiln_oci::config::RunConfig {
        self.lower(text).unwrap().0.plan.outputs[0].config.config.clone()
    }

    fn images(&self, text: &str) -> String {
        self.lower(text).map_or_else(|errors| errors, |(_, images)| images)
    }

    fn errors(&self, text: &str) -> String {
        self.lower(text).map_or_else(|errors| errors, |_| String::new())
    }
}

/// Returns each finding as `code: marked text`, with its help if there is one.
fn describe(source: &Source, diagnostics: &[Diagnostic]) -> String {
    let mut text = String::new();
    for found in diagnostics.iter().filter(|found| found.is_error()) {
        let marked = found.primary().map_or("", |span| source.slice(span));
        write!(text, "{}: {marked}", found.code).unwrap();
        if let Some(help) = &found.help {
            write!(text, " ({help})").unwrap();
        }
        text.push('\n');
    }
    text.trim_end().to_owned()
}

#[test]
fn arguments_and_environment_have_the_scopes_of_the_reference() {
    let asked = Asked { args: &[("GIVEN", "given")], ..Asked::default() };
    for (text, expected) in [
        ("ARG V=1\nFROM a\nLABEL l=$V", "l="),
        ("ARG V=1\nFROM a\nARG V\nLABEL l=$V", "l=1"),
        ("ARG V=1\nFROM a\nARG V=2\nLABEL l=$V", "l=2"),
        ("ARG GIVEN=1\nFROM a\nARG GIVEN=2\nLABEL l=$GIVEN", "l=given"),
        ("FROM a\nARG GIVEN\nLABEL l=$GIVEN", "l=given"),
        ("FROM a\nLABEL l=$GIVEN", "l="),
        ("ARG A=1\nARG B=${A}2\nFROM a\nARG B\nLABEL l=$B", "l=12"),
        ("FROM a\nENV V=old\nENV V=new W=$V\nLABEL l=$W$V", "l=oldnew"),
        ("FROM a\nARG V=arg\nENV V=env\nLABEL l=$V", "l=env"),
        ("FROM a\nENV V=env\nARG V=arg\nLABEL l=$V", "l=arg"),
        ("FROM a AS x\nARG V=1\nFROM x\nLABEL l=$V", "l=1"),
        ("FROM a AS x\nENV V=1\nFROM x\nLABEL l=$V", "l=1"),
        ("FROM a AS x\nENV V=env\nARG V=arg\nFROM x\nLABEL l=$V", "l=env"),
        ("FROM a\nARG V=1 W=${V}2\nLABEL l=$W", "l=12"),
        ("FROM a\nLABEL l=$BASE", "l=a"),
        ("FROM a\nLABEL l=$TARGETARCH", "l="),
        ("FROM a\nARG TARGETARCH\nARG TARGETSTAGE\nLABEL l=$TARGETARCH-$TARGETSTAGE", "l=amd64-default"),
        ("FROM a AS Final\nARG TARGETSTAGE\nLABEL l=$TARGETSTAGE", "l=final"),
        ("ARG BASE=b\nFROM ${BASE}\nLABEL l=$BASE", "l=b"),
        ("ARG P=linux/arm64\nFROM --platform=$P a\nLABEL \"l k\"='$P'", "l k=$P"),
    ] {
        let labels = asked.config(text).labels;
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(labels.join(" "), expected, "{text}");
    }
    let asked = Asked { target: Some("FINAL"), ..Asked::default() };
    let labels = asked.config("FROM a AS final\nARG TARGETSTAGE\nLABEL l=$TARGETSTAGE").labels;
    assert_eq!(labels["l"], "FINAL");
}

#[test]
fn configuration_follows_the_rules_of_each_instruction() {
    let config = |text: &str| Asked::default().config(&format!("FROM a\n{text}"));
    for (text, entrypoint, cmd) in [
        ("", "", "base"),
        ("ENTRYPOINT [\"e\"]", "e", ""),
        ("CMD [\"c\"]\nENTRYPOINT [\"e\"]", "e", "c"),
        ("ENTRYPOINT [\"e\"]\nCMD c", "e", "/bin/sh|-c|c"),
        ("ENTRYPOINT []", "", ""),
        ("CMD [\"c\"]\nFROM a AS y", "", "base"),
        ("SHELL [\"/bin/x\", \"-y\"]\nENTRYPOINT e f", "/bin/x|-y|e f", ""),
        ("CMD [\"c\", 'd']", "", "/bin/sh|-c|[\"c\", 'd']"),
    ] {
        let config = config(text);
        assert_eq!(
            (config.entrypoint.join("|"), config.cmd.join("|")),
            (entrypoint.into(), cmd.into()),
            "{text}"
        );
    }
    let stages = "FROM a AS x\nCMD [\"c\"]\nFROM x\nENTRYPOINT [\"e\"]";
    assert_eq!(Asked::default().config(stages).cmd, Vec::<String>::new());

    let ports = config("ENV P=\"9 8/udp\"\nEXPOSE 90-91/TCP $P 127.0.0.1:1:2").exposed_ports;
    assert_eq!(ports.keys().collect::<Vec<_>>(), ["2/tcp", "8/udp", "9/tcp", "90/tcp", "91/tcp"]);
    let volumes = config("ENV V=/v\nVOLUME $V rel\nVOLUME [\"/with blank\", \"$V/x\"]").volumes;
    assert_eq!(volumes.keys().collect::<Vec<_>>(), ["/v", "/v/x", "/with blank", "rel"]);
    assert_eq!(config("ENV S=9\nSTOPSIGNAL $S").stop_signal, "9");
    assert_eq!(config("WORKDIR /a\nWORKDIR b/../c").working_dir, "/a/c");
    assert_eq!(config("WORKDIR /a//b/\nWORKDIR $NONE").working_dir, "/a//b/");
    let windows = "FROM --platform=windows/amd64 a AS x\nCMD c d\nFROM x";
    assert_eq!(Asked::default().config(windows).cmd, ["cmd", "/S", "/C", "c d"]);
    assert_eq!(config("ENV A=1 B=2\nENV A=3").env, ["PATH=/bin", "BASE=a", "A=3", "B=2"]);
}

#[test]
fn history_has_the_texts_of_the_reference() {
    let text = "FROM a\nARG A=b C\nENV K=V K2=\"V 2\"\nLABEL k=v\nRUN cmd\nCOPY --link --chown=1:2 --chmod=644 x \"y\" /d\n\
                COPY <<E /f\ntext\nE\nWORKDIR w\nWORKDIR /\nCMD [\"a\", \"b\\\"\"]\nENTRYPOINT e\nEXPOSE 90 8-9\n\
                VOLUME /v /w\nSHELL [\"/bin/bash\", \"-c\"]\nUSER u\nSTOPSIGNAL SIGTERM\nMAINTAINER m\n\
                HEALTHCHECK --interval=5m --timeout=3s CMD x\nHEALTHCHECK NONE\nONBUILD RUN later\n";
    let expected = "ARG A=b C (empty)\nENV K=V K2=V 2 (empty)\nLABEL k=v (empty)\nRUN |2 A=b C= /bin/sh -c cmd\n\
        COPY --chown=1:2 --chmod=644 x y /d\nCOPY <<E /f\nWORKDIR /w\nWORKDIR / (empty)\nCMD [\"a\" \"b\\\"\"] (empty)\n\
        ENTRYPOINT [\"/bin/sh\" \"-c\" \"e\"] (empty)\nEXPOSE [8/tcp 9/tcp 90/tcp] (empty)\nVOLUME [/v /w] (empty)\n\
        SHELL [/bin/bash -c] (empty)\nUSER u (empty)\nSTOPSIGNAL SIGTERM (empty)\nMAINTAINER m (empty)\n\
        HEALTHCHECK {Test:[CMD-SHELL x] Interval:5m0s Timeout:3s StartPeriod:0s StartInterval:0s Retries:0} (empty)\n\
        HEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0} (empty)";
    assert_eq!(Asked::default().history(text), expected);
    assert_eq!(Asked::default().history("FROM a\nADD --checksum=$NONE b c /d/"), "ADD b c /d/");
}

#[test]
fn triggers_run_once_in_order_and_are_then_gone() {
    let asked = Asked { triggers: &["ENV A=1", "RUN one"], ..Asked::default() };
    let text =
        "FROM triggers AS x\nRUN own\nONBUILD RUN two\nONBUILD ENV B=$A\nFROM x AS y\nRUN y\nFROM y\nRUN z";
    let expected = "ENV A=1 (empty)\nRUN /bin/sh -c one\nRUN /bin/sh -c own\nRUN /bin/sh -c two\nENV B=1 (empty)\n\
                    RUN /bin/sh -c y\nRUN /bin/sh -c z";
    assert_eq!(asked.history(text), expected);
    let on_build =
        |target| Asked { target, triggers: asked.triggers, ..Asked::default() }.config(text).on_build;
    assert_eq!(on_build(Some("x")), ["RUN two", "ENV B=$A"]);
    assert_eq!(on_build(Some("y")), Vec::<String>::new());

    let asked = Asked { triggers: &["COPY --from=tools / /", "COPY --from=other / /"], ..Asked::default() };
    let text = "FROM t AS tools\nFROM triggers\n";
    assert_eq!(asked.images(text), "other t triggers");
    let asked =
        Asked { triggers: &["COPY --from=late / /", "COPY --from=8 / /", "BOGUS"], ..Asked::default() };
    let text = "FROM triggers AS x\nFROM t AS late\nFROM x\nCOPY --from=late / /";
    let expected = "undefined-stage: FROM triggers AS x (the file has 3 stages, counted from 0)\n\
                    unknown-instruction: FROM triggers AS x\nlater-stage: FROM triggers AS x (move `late` above `x`)";
    assert_eq!(asked.errors(text), expected);
}

#[test]
fn only_images_that_are_needed_are_asked_for() {
    let contexts = &[("img", "own"), ("stage", "replacement"), ("arm::linux/arm64", "special")][..];
    let asked = Asked { contexts, ..Asked::default() };
    for (text, expected) in [
        ("FROM a AS x\nFROM b AS y\nFROM x", "a"),
        ("FROM a AS x\nFROM b AS y\nCOPY --from=x / /\nFROM scratch\nRUN --mount=from=y,target=/m t", "a b"),
        ("FROM a AS x\nFROM b\nCOPY --from=0 / /\nRUN --mount=from=0,target=/m t", "0 a b"),
        ("FROM scratch\nCOPY --from=c / /\nRUN --mount=type=tmpfs,from=d,target=/m t", "c"),
        ("FROM img", "own"),
        ("FROM img:latest\nCOPY --from=docker.io/library/img / /", "own"),
        ("FROM img:1", "img:1"),
        ("FROM a AS stage\nCOPY --from=b / /\nFROM stage", "replacement"),
        ("FROM a AS stage\nFROM b\nCOPY --from=STAGE / /", "b replacement"),
        ("FROM arm\nCOPY --from=arm / /", "arm"),
        ("FROM --platform=linux/arm64 arm", "special"),
        ("FROM a AS x\nFROM b AS x\nFROM x", "b"),
        ("FROM a AS x\nFROM X AS y\nFROM c", "image-name: X (did you mean `x`?)"),
        ("FROM scratch AS Scratch\nFROM SCRATCH", "image-name: SCRATCH (did you mean `scratch`?)"),
    ] {
        assert_eq!(asked.images(text), expected, "{text}");
    }
}

#[test]
fn a_stage_that_is_not_needed_fails_only_for_what_its_links_say() {
    for (stage, expected) in [
        ("FROM a\nEXPOSE x\nRUN --mount=typ=bind t\nSTOPSIGNAL x\nENV A=${x?}\nCOPY a b c", ""),
        ("FROM a\nCOPY --from=late / /", ""),
        ("FROM a\nONBUILD BOGUS", ""),
        ("FROM ${x?}", "expansion: ${x?}"),
        ("FROM $x", "blank-base: $x (set the ARG before the first FROM, or give `--build-arg`)"),
        ("FROM $VERSON", "blank-base: $VERSON (did you mean the variable `VERSION`?)"),
        ("FROM --platform=linx a", "platform: linx (did you mean `linux`?)"),
        ("FROM --platform=$x a", "platform: $x"),
        ("FROM A", "image-name: A"),
        ("FROM a\nCOPY --from=B / /", "image-name: B"),
        ("FROM a\nCOPY --from=7 / /", "undefined-stage: 7 (the file has 3 stages, counted from 0)"),
        (
            "FROM a\nCOPY --from=$x / /",
            "variable-in-from: $x (define a new stage with FROM using an ARG from global scope, and name that stage)",
        ),
        ("FROM a AS s\nCOPY --from=s / /", "circular-dependency: s"),
    ] {
        let text = format!("ARG VERSION=1\n{stage}\nFROM b AS late\nFROM c");
        assert_eq!(Asked::default().errors(&text), expected, "{stage}");
    }
}

#[test]
fn errors_stand_at_the_exact_place_and_suggest_what_may_have_been_meant() {
    for (line, expected) in [
        ("ENV A=x${B?}y", "expansion: ${B?}"),
        (
            "ENV VERSION=1\nENV A=\"x ${VERSOIN?}\"",
            "expansion: ${VERSOIN?} (did you mean the variable `VERSION`?)",
        ),
        (
            "ENV A=${B:-${C^}}",
            "expansion: ${C^ (put the escape character before a dollar sign that is meant as one)",
        ),
        ("ENV A=${B", "expansion: ${B"),
        ("USER 'c", "expansion: 'c"),
        ("RUN --mount=type=bnid,target=/x t", "mount: bnid (did you mean `bind`?)"),
        ("RUN --mount=type=cache,tagret=/x t", "mount: tagret (did you mean `target`?)"),
        ("RUN --mount=type=cache,target=/x,sharing=${S?} t", "mount: ${S?}"),
        ("EXPOSE 80 127.0.0.1:1:99999/udp", "expose: 99999"),
        ("EXPOSE 80/tpc", "expose: tpc (did you mean `tcp`?)"),
        ("STOPSIGNAL SIGTREM", "stop-signal: SIGTREM (did you mean `SIGTERM`?)"),
        ("COPY <<E /x\na\n${B?}\nE", "expansion: <<E"),
        ("COPY --chmod=9 a b", "chmod: 9"),
    ] {
        assert_eq!(Asked::default().errors(&format!("FROM scratch\n{line}")), expected, "{line}");
    }
    let asked = Asked { target: Some("biuld"), ..Asked::default() };
    assert_eq!(asked.errors("FROM a AS build"), "undefined-target:  (did you mean `build`?)");
    assert_eq!(asked.errors("FROM a AS x"), "undefined-target:  (the stages are `x`)");
}

#[test]
fn what_is_certain_is_said_before_images_are_asked_for() {
    for (text, expected) in [
        (
            "FROM a\nEXPOSE 99999\nENV A=${B^}\n",
            "expose: 99999\nexpansion: ${B^ (put the escape character before a dollar sign that is meant as one)",
        ),
        ("FROM a\nEXPOSE $P\nENV A=${B?}\nSTOPSIGNAL $S\nRUN --mount=target=. t", ""),
        ("FROM a\nENV A=$B\nEXPOSE $A", ""),
        ("FROM a\nENV A=$B A=x\nEXPOSE $A", ""),
        ("FROM a\nENV A=$B\nENV A=x\nEXPOSE $A", "expose: $A"),
        ("FROM a\nARG A=x\nEXPOSE $A", "expose: $A"),
        (
            "FROM a AS b\nFROM b\nADD --keep-git-dir=true a b",
            "git-source: ADD --keep-git-dir=true a b (leave it out)",
        ),
    ] {
        let source = Source::new("Dockerfile", text);
        let parsed = kiln_frontend::parse(&source);
        let planner = Planner::survey(&source, &parsed.file, Asked::default().options());
        assert_eq!(describe(&source, planner.errors()), expected, "{text}");
    }
}

#[test]
fn a_file_with_errors_is_told_what_else_is_certainly_wrong() {
    for (text, expected) in [
        ("FROM a\nBOGUS\nEXPOSE 99999\n", "unknown-instruction: BOGUS\nexpose: 99999"),
        (
            "FROM a\nENV A\nEXPOSE $A ${B?}\nCOPY --from=7 / /",
            "key-value: A\nundefined-stage: 7 (the file has one stage, number 0)",
        ),
        ("ARG =x\nFROM $a\nEXPOSE x", "blank-name: =x\nexpose: x"),
        (
            "FROM a AS b\nFROM c d\nCOPY --from=7 / /\nFROM e\nEXPOSE x",
            "from-arguments: c d (write `FROM image` or `FROM image AS name`)",
        ),
        ("FROM a\nRUN <<E\nFROM b\nEXPOSE x", "heredoc-unterminated: RUN <<E"),
        ("FROM a\nBOGUS\nFROM b\nEXPOSE 7", "unknown-instruction: BOGUS"),
        ("FROM a\nEXPOSE x\nBOGUS\nFROM b", "unknown-instruction: BOGUS"),
    ] {
        assert_eq!(Asked::default().errors(text), expected, "{text}");
    }
}

#[test]
fn hostile_files_are_refused_before_they_fill_the_memory() {
    let mut chain = "FROM scratch AS s0\n".to_owned();
    for index in 0..1500 {
        chain.push_str(&format!("ENV V{index}=1\nFROM s{index} AS s{}\n", index + 1));
    }
    let ports = "FROM scratch\n".to_owned() + &"EXPOSE 0-65535\n".repeat(30);
    for text in [chain, ports] {
        let said = Asked::default().errors(&text);
        assert!(said.starts_with("too-large: "), "{}", &said[..said.len().min(200)]);
        assert_eq!(said.lines().count(), 1);
    }
}

#[test]
fn every_example_of_the_manual_has_its_error() {
    let page = include_str!("../../../docs/errors.md");
    let (mut count, mut wrong) = (0, Vec::new());
    for row in page.lines().filter_map(|line| line.strip_prefix("| `")) {
        let (code, rest) = row.split_once('`').unwrap();
        let example = rest.rsplit(" | ").next().unwrap().trim_end_matches('|').trim();
        if example.is_empty() {
            continue;
        }
        let lines = example.split("<br>").map(|line| line.trim_matches('`'));
        let mut text = lines.collect::<Vec<_>>().join("\n");
        let begins = ["FROM", "ARG", "#"].iter().any(|first| text.starts_with(first));
        if !begins && !text.contains("\nFROM scratch") {
            text.insert_str(0, "FROM scratch\n");
        }
        let errors = Asked::default().errors(&text);
        let has_it = errors.lines().any(|error| error.starts_with(&format!("{code}:")));
        if !has_it {
            wrong.push(format!("{code}: {text:?} gives {errors:?}"));
        }
        count += 1;
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(count > 40, "{count} examples");
}

#[test]
fn a_repository_is_a_step_that_add_contexts_and_named_contexts_read() {
    let said = |op: &GitOp| {
        let reference = &op.reference;
        let checksum = reference.checksum.as_deref().unwrap_or_default();
        format!("{} {checksum} {}", reference.shown(), reference.keeps_git_directory())
    };
    let repositories = |options: PlanOptions, text: &str| -> Vec<String> {
        let source = Source::new("Dockerfile", text);
        let parsed = kiln_frontend::parse(&source);
        let plan = Planner::new(&source, &parsed.file, options).unwrap().finish().plan;
        let found = plan.steps().filter_map(|(_, step)| match &step.op {
            Op::Git(op) => Some(said(op)),
            _ => None,
        });
        found.collect()
    };
    let add = "FROM scratch\nARG V=v1\nADD --checksum=AB --keep-git-dir https://me:p@h/a.git#$V /\n";
    assert_eq!(repositories(Asked::default().options(), add), ["https://h/a.git#v1 ab true"]);
    let history = Asked::default().history(add);
    assert_eq!(history, "ARG V=v1 (empty)\nADD https://h/a.git#v1 /");
    let reference = |text: &str| GitReference::parse(text, Standing::Context).unwrap().unwrap();
    let contexts = PlanOptions {
        git_context: Some(reference("github.com/a/b")),
        named_contexts: [("n".to_owned(), NamedContext::Git(Box::new(reference("git@h:n"))))].into(),
        ..Asked::default().options()
    };
    let text = "FROM scratch\nCOPY a a\nCOPY --from=n b b\nADD git@h:n c\n";
    assert_eq!(repositories(contexts, text), ["https://github.com/a/b  false", "git@h:n  false"]);
}

#[test]
fn the_git_directory_of_the_context_follows_the_build_argument_and_the_address() {
    let keeps = |address: &str, argument: Option<&str>| {
        let reference = GitReference::parse(address, Standing::Context).unwrap().unwrap();
        let argument = argument.map(|value| ("BUILDKIT_CONTEXT_KEEP_GIT_DIR".to_owned(), value.to_owned()));
        let request = BuildRequest {
            context: ContextPlace::Git(Box::new(reference)),
            build_args: argument.into_iter().collect(),
            ..BuildRequest::new("/")
        };
        request.git_context().unwrap().keeps_git_directory()
    };
    let (plain, kept, part) = ("git@h:a", "git@h:a?keep-git-dir", "git@h:a?keep-git-dir#:part");
    for (address, argument, expected) in [
        (plain, None, false),
        (plain, Some("1"), true),
        (plain, Some("false"), false),
        (plain, Some("yes"), false),
        (kept, None, true),
        (kept, Some("0"), true),
        (part, None, false),
    ] {
        assert_eq!(keeps(address, argument), expected, "{address} {argument:?}");
    }
}
