//! Which errors get which hints, and how findings are shown.

use kiln_builder::build::BuildError;
use kiln_builder::catalog::CatalogError;
use kiln_builder::export::ExportError;
use kiln_builder::plan::Origin;
use kiln_builder::remote::RemoteError;
use kiln_builder::source::image::ImageError;
use kiln_builder::transform::{RunFailure, StepError};
use kiln_registry::WebError;
use kiln_sandbox::{ExecError, ExitStatus};

use super::step::hint_of_exit;
use super::*;

#[derive(Debug, thiserror::Error)]
#[error("cannot write the layer")]
struct Outer(#[source] io::Error);

#[test]
fn causes_are_listed_once_and_a_full_disk_has_a_hint() {
    let full = io::Error::from_raw_os_error(28);
    let failure = Failure::of(Kind::Failed, &Outer(full));
    assert_eq!(failure.message, "cannot write the layer");
    assert_eq!(failure.causes, ["No space left on device (os error 28)"]);
    assert_eq!(failure.hints.len(), 1);
}

#[derive(Debug, thiserror::Error)]
#[error("cannot push")]
struct Boxed(#[source] Box<kiln_registry::Error>);

#[test]
fn a_registry_that_refuses_has_the_hint_to_log_in() {
    let refused = || kiln_registry::Error::Unauthorized {
        registry: "example.com".to_owned(),
        subject: "app".to_owned(),
        with_credentials: false,
        code: None,
        message: None,
    };
    for failure in
        [Failure::of(Kind::Failed, &refused()), Failure::of(Kind::Failed, &Boxed(Box::new(refused())))]
    {
        assert!(failure.hints.iter().any(|hint| hint.contains("kiln login")), "{failure:?}");
    }
}

fn answered(status: u16, retry_after: Option<u64>) -> kiln_registry::Error {
    kiln_registry::Error::Status {
        registry: "mirror.example".to_owned(),
        subject: "app:1".to_owned(),
        status,
        code: None,
        message: None,
        retry_after: retry_after.map(std::time::Duration::from_secs),
    }
}

#[test]
fn a_registry_that_gives_nothing_now_has_the_hint_what_to_wait_for_or_to_reach() {
    let (kind, detail) = (kiln_registry::TransportKind::Connect, "Connection refused".to_owned());
    let source = kiln_registry::TransportError { kind, detail };
    let (absent, registry) = (answered(404, None).into(), "docker.io".to_owned());
    for (error, hint) in [
        (answered(429, None), ""),
        (answered(429, Some(0)), ""),
        (answered(429, Some(3600)), "the registry asks to be left alone for 3600 s"),
        (
            kiln_registry::Error::OnlyMirror { absent, registry, source },
            "if the name is right, the registry itself",
        ),
    ] {
        let hints = Failure::of(Kind::Failed, &error).hints;
        assert_eq!(hints.len(), usize::from(!hint.is_empty()));
        assert!(hints.iter().all(|text| text.starts_with(hint)), "{hints:?}");
    }
}

#[test]
fn a_mirror_is_advised_only_where_one_would_have_been_asked() {
    let unreachable = |registry: &str| {
        let (kind, detail) = (kiln_registry::TransportKind::Connect, "Connection refused".to_owned());
        let source = kiln_registry::TransportError { kind, detail };
        kiln_registry::Error::Transport { registry: registry.to_owned(), source }
    };
    let reference = || "me/app".parse::<kiln_oci::Reference>().unwrap();
    let pull = |error| {
        let error = ImageError::Registry { reference: Box::new(reference()), source: Box::new(error) };
        CatalogError::from(error)
    };
    let push = |error| ExportError::Registry { reference: reference(), source: Box::new(error) };
    let written = |error| RemoteError::Write { reference: Box::new(reference()), source: Box::new(error) };
    type Made<'a> = (&'a str, Box<dyn Fn(kiln_registry::Error) -> Box<dyn Error> + 'a>, bool);
    let made: [Made<'_>; 6] = [
        ("pull", Box::new(|error| Box::new(pull(error))), true),
        ("search", Box::new(|error| Box::new(error)), false),
        ("push", Box::new(|error| Box::new(CatalogError::from(push(error)))), false),
        ("build --push", Box::new(|error| Box::new(BuildError::Export(push(error)))), false),
        ("copy", Box::new(|error| Box::new(written(error))), false),
        ("manifest push", Box::new(|error| Box::new(CatalogError::from(written(error)))), false),
    ];
    for (what, made, has_mirror) in made {
        for (registry, has_http) in [("registry-1.docker.io", false), ("registry.example", true)] {
            let hints = Failure::of(Kind::Failed, &*made(unreachable(registry))).hints;
            let says = |words: &str| hints.len() == 1 && hints[0].contains(words);
            assert!(says("a proxy is taken from HTTPS_PROXY"), "{what} {registry}: {hints:?}");
            assert_eq!(says("can name a mirror"), has_mirror, "{what} {registry}: {hints:?}");
            assert_eq!(says("`http = true`"), has_http, "{what} {registry}: {hints:?}");
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot fetch")]
struct Fetch(#[source] WebError);

#[test]
fn a_file_that_is_not_given_has_the_hint_how_to_ask() {
    let status = |status| WebError::Status { host: "h:1".to_owned(), status, retry_after: None };
    let downgrade = WebError::Downgrade { host: "h".to_owned(), target: "http://h".to_owned() };
    for (error, says) in [
        (status(401), "HTTP_AUTH_TOKEN_HOST"),
        (status(403), "HTTP_AUTH_TOKEN_HOST"),
        (status(404), ""),
        (downgrade, "--checksum=sha256:"),
    ] {
        let hints = Failure::of(Kind::Failed, &Fetch(error)).hints;
        assert_eq!(hints.len(), usize::from(!says.is_empty()));
        assert!(hints.iter().all(|hint| hint.contains(says)), "{hints:?}");
    }
}

#[test]
fn a_failed_step_is_shown_under_its_line_with_its_kind() {
    let origin = || Origin { stage: "build".to_owned(), span: Some((7, 15)), ..Origin::default() };
    let run = RunFailure { status: ExitStatus::Code(2), argv: Vec::new(), log: "/logs/1".into() };
    for (error, kind, label) in [
        (StepError::Run(run), Kind::Failed, "in stage `build`; its output is above"),
        (StepError::Impossible { reason: "no".to_owned() }, Kind::Machine, "in stage `build`"),
        (StepError::Exec(ExecError::EmptyCommand), Kind::Failed, "in stage `build`"),
    ] {
        let source_text = Box::new(Source::new("Dockerfile", "FROM a\nRUN make\n"));
        let message = error.to_string();
        let error = BuildError::Step { origin: Box::new(origin()), source_text, error: Box::new(error) };
        let failure = Failure::from(error);
        let expected = Diagnostic::error("", Span::new(7, 15), message).with_label(label);
        assert_eq!((failure.kind, failure.report.unwrap().diagnostics), (kind, vec![expected]));
    }
    let cancelled = StepError::Exec(ExecError::Cancelled);
    assert_eq!(step::failure(&origin(), Source::new("D", ""), &cancelled).kind, Kind::Interrupted);
    assert_eq!(Failure::from(BuildError::Interrupted).exit_code(), 130);
}

#[test]
fn the_end_of_a_step_is_explained_where_it_is_known_what_it_mostly_means() {
    for (status, says) in [
        (ExitStatus::Code(1), None),
        (ExitStatus::Code(126), Some("chmod +x")),
        (ExitStatus::Code(127), Some("was not found")),
        (ExitStatus::Code(137), Some("memory ran out")),
        (ExitStatus::Signal(9), Some("memory ran out")),
        (ExitStatus::Signal(11), None),
        (ExitStatus::Signal(25), Some("--ulimit")),
    ] {
        let hint = hint_of_exit(status);
        assert_eq!(hint.is_some(), says.is_some(), "{status:?}");
        assert!(hint.is_none_or(|hint| hint.contains(says.unwrap_or_default())), "{hint:?}");
    }
}

#[test]
fn exit_codes_are_those_that_are_documented() {
    use Kind::{Bug, Failed, Findings, Interrupted, Machine, Usage};
    let codes = [Failed, Usage, Findings, Machine, Bug, Interrupted].map(Kind::exit_code);
    assert_eq!(codes, [1, 2, 3, 4, 70, 130]);
}
