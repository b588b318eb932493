//! Flags and settings → a [`BuildRequest`]: every text becomes a checked value here, and nothing is done yet.

mod cache;
pub(crate) mod call;
mod compression;
pub(crate) mod container;
mod context;
mod csv;
pub(crate) mod images;
mod limits;
pub(crate) mod lint;
mod output;
mod secret;
mod ssh;
pub(crate) mod stdin;
pub(crate) mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;

use kiln_builder::agents::AgentSources;
use kiln_builder::plan::Network;
use kiln_builder::request::{
    Arguments, BuildRequest, Compat, Compression, ContextPlace, DEFAULT_EPOCH, Destination, DockerfilePlace,
    NamedContext, NoCache, OutputSpec, Repeat, Timestamp,
};
use kiln_builder::secrets::Secrets;
use kiln_oci::{Platform, Reference};

use crate::cli::{ArgumentsWord, BuildArgs, CompatWord, NetworkWord};
use crate::failure::{Failure, Kind};
use crate::settings::Settings;
use output::Output;

/// A flag whose value cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use `{value}` {} `{flag}`: {reason}", if *flag == "CONTEXT" { "as" } else { "with" })]
pub(crate) struct SpecError {
    /// The flag.
    pub(crate) flag: &'static str,
    /// Its value, as given.
    pub(crate) value: String,
    /// What is wrong.
    pub(crate) reason: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// What the failure is: wrong usage, or a place that is not there.
    pub(crate) kind: Kind,
}

impl SpecError {
    fn new(flag: &'static str, value: &str, reason: impl Into<String>) -> Self {
        Self { flag, value: value.to_owned(), reason: reason.into(), hint: None, kind: Kind::Usage }
    }

    fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<SpecError> for Failure {
    fn from(error: SpecError) -> Self {
        let failure = Self::of(error.kind, &error);
        match error.hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

/// Where context and Dockerfile come from, when one of them is on standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FromStdin {
    /// Neither is.
    Nothing,
    /// The context: an archive, or a Dockerfile without a context. Until it is read the request has an empty context.
    Context,
    /// The Dockerfile. Until it is read the request has an empty text.
    Dockerfile,
}

/// Returns the request that the flags ask for, and what is still to be read from standard input.
///
/// # Errors
/// A [`Failure`] of wrong usage that names the flag and the value.
pub(crate) fn build(args: &BuildArgs, settings: &Settings) -> Result<(BuildRequest, FromStdin), Failure> {
    let base = settings.working_directory.as_path();
    let (context, dockerfile, from_stdin) = places(args, base)?;
    let outputs = args.output.iter().map(|line| output::parse(line, base)).collect::<Result<Vec<_>, _>>()?;
    let compression = compression_of(args, &outputs)?;
    let tags = args.tag.iter().map(|name| tag(name)).collect::<Result<Vec<_>, _>>()?;
    let outputs = outputs_of(args, outputs, &tags)?;
    let (build_args, timestamp) = build_args(&args.build_arg, args.timestamp.as_deref(), settings)?;
    let request = BuildRequest {
        context,
        dockerfile,
        tags,
        build_args,
        target: args.target.clone(),
        labels: labels(&args.label)?,
        platforms: platforms(&args.platform)?,
        named_contexts: named_contexts(&args.build_context, base)?,
        secrets: secrets(&args.secret, settings)?,
        agents: agents(&args.ssh, settings)?,
        no_cache: no_cache(args),
        repeat: repeat(args),
        pull: args.pull,
        outputs,
        network: match args.network {
            Some(NetworkWord::None) => Network::None,
            Some(NetworkWord::Default | NetworkWord::Host) | None => Network::Host,
        },
        extra_hosts: args.add_host.iter().map(|host| limits::host(host)).collect::<Result<_, _>>()?,
        ulimits: args.ulimit.iter().map(|limit| limits::ulimit(limit)).collect::<Result<_, _>>()?,
        shm_size_bytes: args.shm_size.as_deref().map(limits::shm_size).transpose()?,
        timestamp,
        compression,
        compat: match args.compat {
            Some(CompatWord::Buildkit) => Compat::BuildKit,
            None => Compat::Kiln,
        },
        arguments: match args.args {
            Some(ArgumentsWord::Referenced) => Arguments::Referenced,
            Some(ArgumentsWord::Declared) | None => Arguments::Declared,
        },
        fail_on_miss: args.fail_on_miss,
        jobs: jobs(args, settings),
        on_error: None,
        cache_from: cache::sources(&args.cache_from, settings)?,
        cache_to: cache::targets(&args.cache_to, settings)?,
    };
    Ok((request, from_stdin))
}

fn places(args: &BuildArgs, base: &Path) -> Result<(ContextPlace, DockerfilePlace, FromStdin), Failure> {
    let Some(operand) = &args.context else {
        return Err(Failure::usage("CONTEXT is missing: the directory with the files to copy from")
            .with_hint("`kiln build .` builds the current directory"));
    };
    let operand = context::operand(operand, base)?;
    let file = args.file.as_deref();
    if file == Some(Path::new("-")) {
        return match operand {
            context::Operand::Stdin => {
                Err(Failure::usage("both CONTEXT and `-f` are `-`: standard input can be only one of them"))
            }
            context::Operand::Place(place) => {
                Ok((place, DockerfilePlace::Text(Vec::new()), FromStdin::Dockerfile))
            }
        };
    }
    let dockerfile = match file {
        Some(file) => context::dockerfile(file, &operand, base)?,
        None => DockerfilePlace::Default,
    };
    Ok(match operand {
        context::Operand::Place(place) => (place, dockerfile, FromStdin::Nothing),
        context::Operand::Stdin => (ContextPlace::Empty, dockerfile, FromStdin::Context),
    })
}

/// Returns a reference that names a tag, `latest` where none is given, or says why not.
pub(crate) fn name(text: &str) -> Result<Reference, String> {
    let reference = text.parse::<Reference>().map_err(|error| error.to_string())?;
    match reference.familiar_name().as_str() {
        // Docker's words: it is what FROM calls the empty image.
        "scratch" => Err("'scratch' is a reserved name".to_owned()),
        _ => Ok(reference.or_latest()),
    }
}

fn tag(text: &str) -> Result<Reference, SpecError> {
    let reference = name(text).map_err(|reason| SpecError::new("-t", text, reason))?;
    match reference.digest() {
        Some(_) => Err(SpecError::new("-t", text, "a new image cannot be named by a digest")),
        None => Ok(reference),
    }
}

fn compression_of(args: &BuildArgs, outputs: &[Output]) -> Result<Compression, Failure> {
    let flag = args.compression.as_deref().map(compression::flag).transpose()?;
    let mut wanted = flag.into_iter().chain(outputs.iter().filter_map(|output| output.compression));
    let first = wanted.next();
    match wanted.find(|other| Some(*other) != first) {
        Some(_) => Err(Failure::usage("two compressions are asked for").with_hint(
            "layers are compressed once; build again for another compression, the steps are cached",
        )),
        None => Ok(first.unwrap_or_default()),
    }
}

fn outputs_of(
    args: &BuildArgs,
    outputs: Vec<Output>,
    tags: &[Reference],
) -> Result<Vec<OutputSpec>, Failure> {
    let mut specs: Vec<OutputSpec> = outputs.into_iter().map(|output| output.spec).collect();
    let has_image = specs.iter().any(|spec| matches!(spec, OutputSpec::Image { .. }));
    if (args.push || args.load) && !has_image {
        specs.push(OutputSpec::Image { names: Vec::new(), push: false });
    }
    for spec in &mut specs {
        let OutputSpec::Image { names, push } = spec else { continue };
        *push |= args.push;
        if *push && names.is_empty() && tags.is_empty() {
            return Err(Failure::usage("there is no name to push to")
                .with_hint("name the result: `-t registry.example/app:1`"));
        }
    }
    check_destinations(&specs)?;
    Ok(specs)
}

fn check_destinations(specs: &[OutputSpec]) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    for spec in specs {
        let place = match spec {
            OutputSpec::Oci { destination, .. }
            | OutputSpec::Docker { destination, .. }
            | OutputSpec::Tar { destination } => match destination {
                Destination::Stdout => Path::new("-"),
                Destination::Path(path) => path,
            },
            OutputSpec::Local { directory } => directory,
            OutputSpec::Image { .. } | OutputSpec::CacheOnly => continue,
        };
        if !seen.insert(place) {
            return Err(Failure::usage(format!("two outputs go to `{}`", place.display())));
        }
    }
    Ok(())
}

/// Whether some output goes to standard output.
pub(crate) fn writes_to_stdout(request: &BuildRequest) -> bool {
    request.outputs.iter().any(|spec| {
        matches!(
            spec,
            OutputSpec::Oci { destination: Destination::Stdout, .. }
                | OutputSpec::Docker { destination: Destination::Stdout, .. }
                | OutputSpec::Tar { destination: Destination::Stdout }
        )
    })
}

const EPOCH_NAME: &str = "SOURCE_DATE_EPOCH";

/// Returns the values of ARGs, and the time: from `--timestamp`, else the argument, else the variable.
fn build_args(
    given: &[String],
    flag: Option<&str>,
    settings: &Settings,
) -> Result<(BTreeMap<String, String>, Timestamp), Failure> {
    let mut values = BTreeMap::new();
    for (name, value) in settings.environment.proxies() {
        values.insert(name.to_owned(), utf8(name, value)?);
    }
    let variable = settings.source_date_epoch()?;
    if let Some(seconds) = variable {
        values.insert(EPOCH_NAME.to_owned(), seconds.to_string());
    }
    for text in given {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text.as_str(), variable_value(text, settings)?),
        };
        if name.is_empty() {
            return Err(SpecError::new("--build-arg", text, "the name is empty").into());
        }
        // As in Docker, an argument without a value keeps its default when there is no such variable.
        if let Some(value) = value {
            values.insert(name.to_owned(), value);
        }
    }
    let argument = match values.get(EPOCH_NAME).map(String::as_str) {
        None | Some("") => None,
        Some(text) => Some(seconds(text).ok_or_else(|| {
            let value = format!("{EPOCH_NAME}={text}");
            Failure::from(SpecError::new("--build-arg", &value, "it must be whole seconds since 1970"))
        })?),
    };
    Ok((values, timestamp(flag, argument.unwrap_or(DEFAULT_EPOCH))?))
}

fn variable_value(name: &str, settings: &Settings) -> Result<Option<String>, Failure> {
    settings.environment.raw(name).map(|value| utf8(name, value)).transpose()
}

fn utf8(name: &str, value: &OsStr) -> Result<String, Failure> {
    let text = value.to_str().map(str::to_owned);
    text.ok_or_else(|| Failure::usage(format!("the value of the variable `{name}` is not UTF-8")))
}

fn seconds(text: &str) -> Option<i64> {
    text.parse().ok().filter(|seconds| *seconds >= 0)
}

fn timestamp(flag: Option<&str>, documents: i64) -> Result<Timestamp, SpecError> {
    match flag {
        None => Ok(Timestamp::Epoch(documents)),
        Some("preserve") => Ok(Timestamp::Preserve { documents }),
        Some(text) => seconds(text).map(Timestamp::Epoch).ok_or_else(|| {
            SpecError::new("--timestamp", text, "it is neither `preserve` nor whole seconds since 1970")
        }),
    }
}

fn labels(texts: &[String]) -> Result<BTreeMap<String, String>, SpecError> {
    let mut labels = BTreeMap::new();
    for text in texts {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        if name.is_empty() {
            return Err(SpecError::new("--label", text, "the name is empty"));
        }
        labels.insert(name.to_owned(), value.to_owned());
    }
    Ok(labels)
}

/// Reads platforms, each once, in the order given.
pub(crate) fn platforms(texts: &[String]) -> Result<Vec<Platform>, SpecError> {
    let mut platforms = Vec::new();
    for text in texts {
        let parsed: Result<Platform, _> = text.trim().parse();
        let platform = parsed.map_err(|error| SpecError::new("--platform", text, error.reason))?;
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    Ok(platforms)
}

fn named_contexts(specs: &[OsString], base: &Path) -> Result<BTreeMap<String, NamedContext>, SpecError> {
    specs.iter().map(|spec| context::named(spec, base)).collect()
}

/// Reads secrets, each id once.
pub(crate) fn secrets(lines: &[String], settings: &Settings) -> Result<Secrets, Failure> {
    let mut secrets = BTreeMap::new();
    for line in lines {
        let (id, source) = secret::parse(line, &settings.working_directory, &settings.environment)?;
        if secrets.insert(id.clone(), source).is_some() {
            return Err(Failure::usage(format!("two secrets have the id `{id}`")));
        }
    }
    Ok(secrets)
}

/// Reads agents of the secure shell, each id once.
pub(crate) fn agents(lines: &[String], settings: &Settings) -> Result<AgentSources, Failure> {
    let mut agents = BTreeMap::new();
    for line in lines {
        let (id, source) = ssh::parse(line, &settings.working_directory, &settings.environment)?;
        if agents.insert(id.clone(), source).is_some() {
            return Err(Failure::usage(format!("two agents have the id `{id}`")));
        }
    }
    Ok(agents)
}

/// Which steps a flag means that is given alone, or with stages.
enum Chosen {
    Nothing,
    Everything,
    Stages(BTreeSet<String>),
}

fn chosen(words: &[String], more: &[String]) -> Chosen {
    let mut stages: BTreeSet<String> = more.iter().cloned().collect();
    let mut is_everything = false;
    for word in words.iter().flat_map(|word| word.split(',')) {
        match word {
            "true" => is_everything = true,
            "false" | "" => {}
            stage => {
                stages.insert(stage.to_owned());
            }
        }
    }
    match (is_everything, stages.is_empty()) {
        (true, _) => Chosen::Everything,
        (false, true) => Chosen::Nothing,
        (false, false) => Chosen::Stages(stages),
    }
}

fn no_cache(args: &BuildArgs) -> NoCache {
    match chosen(&args.no_cache, &args.no_cache_filter) {
        Chosen::Nothing => NoCache::Nothing,
        Chosen::Everything => NoCache::Everything,
        Chosen::Stages(stages) => NoCache::Stages(stages),
    }
}

fn repeat(args: &BuildArgs) -> Repeat {
    match chosen(&args.check_repro, &[]) {
        Chosen::Nothing => Repeat::Nothing,
        Chosen::Everything => Repeat::Everything,
        Chosen::Stages(stages) => Repeat::Stages(stages),
    }
}

fn jobs(args: &BuildArgs, settings: &Settings) -> usize {
    let wanted = args.jobs.or(settings.config.build.jobs);
    wanted.or_else(|| std::thread::available_parallelism().ok()).map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests;
