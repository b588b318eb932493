//! The flags of `kiln lint` → what is checked: a build for each Dockerfile, and where the file is.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use kiln_builder::check::{CheckOptions, ImageSources};
use kiln_builder::lower::{Config, unknown_rule};
use kiln_builder::request::{BuildRequest, ContextPlace, DockerfilePlace};

use super::{SpecError, build_args, named_contexts, platforms};
use crate::cli::LintArgs;
use crate::failure::{Failure, Kind};
use crate::settings::Settings;

/// A Dockerfile that is checked.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// The build that it is for. Its text is empty where it comes from standard input.
    pub(crate) request: BuildRequest,
    /// The file; `None` for standard input.
    pub(crate) path: Option<PathBuf>,
}

const PLACE: &str = "FILE|DIR";

/// Returns what is checked. Files are named as given, relative to the working directory.
///
/// # Errors
/// A [`Failure`] of wrong usage, or for a place that is not there.
pub(crate) fn subjects(args: &LintArgs, settings: &Settings) -> Result<Vec<Subject>, Failure> {
    let base = settings.working_directory.as_path();
    let (build_args, timestamp) = build_args(&args.build_arg, None, settings)?;
    let template = BuildRequest {
        context: ContextPlace::Empty,
        build_args,
        timestamp,
        target: args.target.clone(),
        platforms: platforms(&args.platform)?,
        named_contexts: named_contexts(&args.build_context, base)?,
        ..BuildRequest::new("")
    };
    let places = places(args, base)?;
    if places.iter().filter(|place| place.dockerfile.is_none()).count() > 1 {
        return Err(Failure::usage("standard input can be only one Dockerfile"));
    }
    if args.fix && places.iter().any(|place| place.dockerfile.is_none()) {
        return Err(Failure::usage("`--fix` mends files, and standard input is none"));
    }
    let subject = |place: Place| {
        let dockerfile = match &place.dockerfile {
            Some(path) => DockerfilePlace::Path(path.clone()),
            None => DockerfilePlace::Text(Vec::new()),
        };
        let context = place.context.map_or(ContextPlace::Empty, ContextPlace::Directory);
        Subject { request: BuildRequest { context, dockerfile, ..template.clone() }, path: place.dockerfile }
    };
    Ok(places.into_iter().map(subject).collect())
}

/// Returns which rules are looked at beside what files say, and where images are looked up.
///
/// # Errors
/// A [`Failure`] of wrong usage for a rule that does not exist.
pub(crate) fn options(args: &LintArgs) -> Result<CheckOptions, Failure> {
    let is_all = |name: &&String| name.as_str() == "all";
    for (flag, names) in [("--skip", &args.skip), ("--enable", &args.enable)] {
        for name in names.iter().filter(|name| !(flag == "--skip" && is_all(name))) {
            if let Some(remark) = unknown_rule(name, None) {
                let error = SpecError::new(flag, name, remark.message);
                let hint = remark.help.unwrap_or_else(|| "`kiln lint --rules` lists them".to_owned());
                return Err(error.with_hint(hint).into());
            }
        }
    }
    let changes = Config {
        skip_all: args.skip.iter().any(|name| is_all(&name)),
        skip: args.skip.iter().filter(|name| !is_all(name)).cloned().collect(),
        enabled: args.enable.iter().cloned().collect(),
        experimental_all: args.experimental,
        ..Config::default()
    };
    if let Some(name) = changes.skip.intersection(&changes.enabled).next() {
        return Err(Failure::usage(format!("`--skip` and `--enable` both name the rule `{name}`")));
    }
    let sources = if args.offline { ImageSources::Here } else { ImageSources::Registries };
    Ok(CheckOptions { changes, sources })
}

/// A Dockerfile, and the context that it belongs to where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    dockerfile: Option<PathBuf>,
    context: Option<PathBuf>,
}

fn places(args: &LintArgs, base: &Path) -> Result<Vec<Place>, Failure> {
    let Some(file) = &args.file else {
        let here = [OsStr::new(".").to_owned()];
        let given = if args.places.is_empty() { &here[..] } else { &args.places };
        return given.iter().map(|text| place(text, base)).collect();
    };
    let directory = match args.places.as_slice() {
        [] => PathBuf::from("."),
        [only] if base.join(only).is_dir() => PathBuf::from(only),
        _ => {
            return Err(Failure::usage("`-f` names the Dockerfile of one directory")
                .with_hint("without `-f`, any number of Dockerfiles can be given"));
        }
    };
    if file == Path::new("-") {
        return Ok(vec![Place { dockerfile: None, context: Some(directory) }]);
    }
    let found = super::context::dockerfile_beside(file, &base.join(&directory), base)?;
    // As given, where that is what was found.
    let shown = if found == base.join(file) { file.clone() } else { directory.join(file) };
    Ok(vec![Place { dockerfile: Some(shown), context: Some(directory) }])
}

fn place(text: &OsStr, base: &Path) -> Result<Place, Failure> {
    if text == "-" {
        return Ok(Place { dockerfile: None, context: None });
    }
    let (given, path) = (PathBuf::from(text), base.join(text));
    if path.is_dir() {
        let lower = !path.join("Dockerfile").exists() && path.join("dockerfile").exists();
        let name = if lower { "dockerfile" } else { "Dockerfile" };
        let dockerfile = if text == "." { PathBuf::from(name) } else { given.join(name) };
        return Ok(Place { dockerfile: Some(dockerfile), context: Some(given) });
    }
    match fs_err::metadata(&path) {
        Ok(_) => Ok(Place { dockerfile: Some(given), context: None }),
        Err(cause) => {
            let reason = match cause.kind() {
                ErrorKind::NotFound => "there is no such file or directory".to_owned(),
                _ => cause.to_string(),
            };
            let error = SpecError::new(PLACE, &text.to_string_lossy(), reason);
            Err(SpecError { kind: Kind::Failed, ..error }.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn args(words: &[&str]) -> LintArgs {
        let words = ["kiln", "lint"].iter().chain(words);
        let Command::Lint(args) = Cli::try_parse_from(words).unwrap().command else { panic!("no lint") };
        args.into_inner()
    }

    #[test]
    fn places_are_files_directories_and_standard_input() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        std::fs::create_dir(base.join("dir")).unwrap();
        std::fs::create_dir(base.join("lower")).unwrap();
        for name in ["Dockerfile", "dir/Dockerfile", "dir/Other", "lower/dockerfile", "file"] {
            std::fs::write(base.join(name), "").unwrap();
        }
        let outcome = |words: &[&str]| {
            let settings = Settings::for_test(&[], base);
            let shown = |path: PathBuf| path.display().to_string();
            let subjects = subjects(&args(words), &settings).map_err(|failure| failure.message)?;
            let show = |subject: Subject| {
                let context = match subject.request.context {
                    ContextPlace::Directory(path) => shown(path),
                    _ => String::new(),
                };
                (subject.path.map(shown).unwrap_or_default(), context)
            };
            Ok(subjects.into_iter().map(show).collect::<Vec<_>>())
        };
        for (words, expected) in [
            (&[][..], vec![("Dockerfile", ".")]),
            (&["dir"], vec![("dir/Dockerfile", "dir")]),
            (&["lower", "file", "-"], vec![("lower/dockerfile", "lower"), ("file", ""), ("", "")]),
            (&["-f", "Other", "dir"], vec![("dir/Other", "dir")]),
            (&["-f", "file", "dir"], vec![("file", "dir")]),
            (&["-f", "file"], vec![("file", ".")]),
            (&["-f", "-", "dir"], vec![("", "dir")]),
        ] {
            let owned = expected.into_iter().map(|(file, context)| (file.to_owned(), context.to_owned()));
            assert_eq!(outcome(words), Ok(owned.collect()), "{words:?}");
        }
        for (words, message) in [
            (&["missing"][..], "cannot use `missing` with `FILE|DIR`: there is no such file or directory"),
            (&["-", "-"], "standard input can be only one Dockerfile"),
            (&["--fix", "-"], "`--fix` mends files, and standard input is none"),
            (&["-f", "file", "dir", "lower"], "`-f` names the Dockerfile of one directory"),
        ] {
            assert_eq!(outcome(words), Err(message.to_owned()), "{words:?}");
        }
    }

    #[test]
    fn rules_are_switched_by_name() {
        let outcome = |words: &[&str]| {
            options(&args(words)).map(|options| options.changes).map_err(|failure| failure.message)
        };
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let changes = Config {
            skip: set(&["UndefinedVar", "WorkdirRelativePath"]),
            enabled: set(&["InvalidDefinitionDescription"]),
            ..Config::default()
        };
        let words = &["--skip=UndefinedVar,WorkdirRelativePath", "--enable", "InvalidDefinitionDescription"];
        assert_eq!(outcome(words), Ok(changes));
        let all = Config { skip_all: true, experimental_all: true, ..Config::default() };
        assert_eq!(outcome(&["--skip=all", "--experimental"]), Ok(all));
        let message = "cannot use `UndefinedVra` with `--skip`: there is no rule `UndefinedVra`";
        assert_eq!(outcome(&["--skip=UndefinedVra"]), Err(message.to_owned()));
        let both = "`--skip` and `--enable` both name the rule `UndefinedVar`";
        assert_eq!(outcome(&["--skip=UndefinedVar", "--enable=UndefinedVar"]), Err(both.to_owned()));
    }
}
