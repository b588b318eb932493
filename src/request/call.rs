//! `--call METHOD[,format=json|text][,ignorestatus=BOOL]` and `--check`: what is asked about a build instead of running it.
//! The words are those of buildx.

use super::SpecError;
use super::csv;
use crate::cli::BuildArgs;
use crate::failure::Failure;
use crate::suggest::nearest;

/// What is asked about a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// What is wrong with it.
    Check,
    /// What its target takes.
    Outline,
    /// Which targets there are.
    Targets,
}

/// A question and how it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    /// What is asked.
    pub(crate) method: Method,
    /// How the answer is printed.
    pub(crate) format: CallFormat,
    /// Whether findings are no failure.
    pub(crate) ignores_status: bool,
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum CallFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

const FLAG: &str = "--call";
/// `build` runs the build, as without the flag; `lint` is the older word for `check`.
const METHODS: [(&str, Option<Method>); 5] = [
    ("build", None),
    ("check", Some(Method::Check)),
    ("lint", Some(Method::Check)),
    ("outline", Some(Method::Outline)),
    ("targets", Some(Method::Targets)),
];
const FIELDS: [&str; 2] = ["format", "ignorestatus"];

/// What the value of `--call` says.
#[derive(Debug, Clone, Copy)]
struct Asked {
    method: Method,
    format: Option<CallFormat>,
    ignores_status: bool,
}

/// Returns what is asked about a build, or `None` where it is to be run.
///
/// # Errors
/// A [`Failure`] of wrong usage: a method or field that does not exist, or two formats.
pub(crate) fn call(args: &BuildArgs) -> Result<Option<Call>, Failure> {
    let asked = match args.call.as_deref().map(parse).transpose()?.flatten() {
        Some(asked) if args.check && asked.method != Method::Check => {
            return Err(Failure::usage("`--check` and `--call` ask for two things"));
        }
        None if args.check => Some(Asked { method: Method::Check, format: None, ignores_status: false }),
        asked => asked,
    };
    let of_steps = [
        ("--plan", args.plan.is_some()),
        ("--fail-on-miss", args.fail_on_miss),
        ("--check-repro", !args.check_repro.is_empty()),
        ("--explain", args.explain),
    ];
    if asked.is_some()
        && let Some((flag, _)) = of_steps.into_iter().find(|(_, is_given)| *is_given)
    {
        return Err(Failure::usage(format!("`{flag}` is about the steps, which a check does not know")));
    }
    if args.plan.is_some() && !args.check_repro.is_empty() {
        return Err(Failure::usage("`--plan` does no step, and `--check-repro` does some twice"));
    }
    let Some(Asked { method, format, ignores_status }) = asked else {
        return match args.format.as_deref() {
            Some(value) => Err(without_call(value)),
            None => Ok(None),
        };
    };
    let flag = args.format.as_deref().map(|value| format_of("--format", value, value)).transpose()?;
    match (format, flag) {
        (Some(one), Some(other)) if one != other => {
            Err(Failure::usage("`--format` and `--call` ask for two formats"))
        }
        _ => Ok(Some(Call { method, format: flag.or(format).unwrap_or_default(), ignores_status })),
    }
}

fn parse(line: &str) -> Result<Option<Asked>, SpecError> {
    let (mut method, mut format, mut ignores_status) = (None, None, false);
    for field in csv::fields(FLAG, line)? {
        match field.split_once('=') {
            Some(("format", value)) => format = Some(format_of(FLAG, line, value)?),
            Some(("ignorestatus", value)) => ignores_status = boolean(line, value)?,
            Some((name, _)) => {
                let error = SpecError::new(FLAG, line, format!("there is no field `{name}`"));
                return Err(did_you_mean(error, nearest(name, &FIELDS)));
            }
            None if method.is_some() => return Err(SpecError::new(FLAG, line, "it names two methods")),
            None => method = Some(method_of(line, &field)?),
        }
    }
    match method {
        Some(method) => Ok(method.map(|method| Asked { method, format, ignores_status })),
        None => Err(SpecError::new(FLAG, line, "it names no method").with_hint(METHODS_HINT)),
    }
}

const METHODS_HINT: &str = "the methods are `check`, `outline`, `targets`, and `build`, which runs the build";

fn method_of(line: &str, word: &str) -> Result<Option<Method>, SpecError> {
    if let Some((_, method)) = METHODS.iter().find(|(name, _)| *name == word) {
        return Ok(*method);
    }
    let names = METHODS.map(|(name, _)| name);
    let error = SpecError::new(FLAG, line, format!("there is no method `{word}`"));
    Err(match nearest(word, &names) {
        Some(near) => did_you_mean(error, Some(near)),
        None => error.with_hint(METHODS_HINT),
    })
}

fn format_of(flag: &'static str, line: &str, value: &str) -> Result<CallFormat, SpecError> {
    match value {
        "text" => Ok(CallFormat::Text),
        "json" => Ok(CallFormat::Json),
        _ => Err(SpecError::new(flag, line, "the formats are `text` and `json`")),
    }
}

fn boolean(line: &str, value: &str) -> Result<bool, SpecError> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(SpecError::new(FLAG, line, "`ignorestatus` is `true` or `false`")),
    }
}

fn did_you_mean(error: SpecError, near: Option<&str>) -> SpecError {
    match near {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None => error,
    }
}

/// Returns the failure of `--format` without a question: other tools have it for the form of documents.
fn without_call(value: &str) -> Failure {
    let failure = Failure::usage("`--format` says how `--check` and `--call` print, and neither is given");
    match value {
        "oci" | "docker" => failure.with_hint(
            "documents are OCI's with Docker's fields; `-o type=docker,dest=FILE` is for `docker load`",
        ),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn check(flags: &[&str]) -> Result<Option<Call>, String> {
        let words = ["kiln", "build", "."].iter().chain(flags);
        let Command::Build(args) = Cli::try_parse_from(words).unwrap().command else { panic!("{flags:?}") };
        call(&args).map_err(|failure| failure.message)
    }

    #[test]
    fn a_build_is_asked_about_in_the_words_of_buildx() {
        let asked = |method, format, ignores_status| Some(Call { method, format, ignores_status });
        let (text, json) = (CallFormat::Text, CallFormat::Json);
        for (flags, expected) in [
            (&[][..], None),
            (&["--call=build"], None),
            (&["--call", "build", "--check=false"], None),
            (&["--check"], asked(Method::Check, text, false)),
            (&["--call=check", "--check"], asked(Method::Check, text, false)),
            (&["--call=lint,ignorestatus=true"], asked(Method::Check, text, true)),
            (&["--call=outline,format=json"], asked(Method::Outline, json, false)),
            (&["--call=format=json,targets"], asked(Method::Targets, json, false)),
            (&["--check", "--format", "json"], asked(Method::Check, json, false)),
            (&["--call=outline", "--format=text"], asked(Method::Outline, text, false)),
        ] {
            assert_eq!(check(flags), Ok(expected), "{flags:?}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        for (flags, message) in [
            (&["--call=ask"][..], "cannot use `ask` with `--call`: there is no method `ask`"),
            (&["--call=check,outline"], "cannot use `check,outline` with `--call`: it names two methods"),
            (&["--call=format=json"], "cannot use `format=json` with `--call`: it names no method"),
            (&["--call=check,from=x"], "cannot use `check,from=x` with `--call`: there is no field `from`"),
            (
                &["--call=check,format=xml"],
                "cannot use `check,format=xml` with `--call`: the formats are `text` and `json`",
            ),
            (
                &["--call=check,ignorestatus=2"],
                "cannot use `check,ignorestatus=2` with `--call`: `ignorestatus` is `true` or `false`",
            ),
            (&["--call=outline", "--check"], "`--check` and `--call` ask for two things"),
            (&["--check", "--plan"], "`--plan` is about the steps, which a check does not know"),
            (
                &["--check", "--check-repro"],
                "`--check-repro` is about the steps, which a check does not know",
            ),
            (&["--call=targets", "--explain"], "`--explain` is about the steps, which a check does not know"),
            (&["--plan", "--check-repro"], "`--plan` does no step, and `--check-repro` does some twice"),
            (&["--call=check,format=json", "--format=text"], "`--format` and `--call` ask for two formats"),
            (&["--format=oci"], "`--format` says how `--check` and `--call` print, and neither is given"),
        ] {
            assert_eq!(check(flags), Err(message.to_owned()), "{flags:?}");
        }
    }
}
