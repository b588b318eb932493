//! What the linter is told of a build: its arguments, platform, contexts, and the images that its stages are based on.

use std::collections::{BTreeMap, BTreeSet};

use kiln_frontend::ast::Dockerfile;
use kiln_frontend::diagnostic::Diagnostic;
use kiln_frontend::dockerignore::Matcher;
use kiln_frontend::expand::Lexer;
use kiln_frontend::lint::{
    Config, ConfigError, ImageFacts, LintRequest, Linted, PlatformWords, Reach, Vocabulary,
};
use kiln_frontend::source::Source;
use kiln_oci::{ImageConfig, Platform, Reference};

use super::planner::{Extent, PlanOptions, Planner};
use super::scope::{automatic_arguments, target_name};

/// The build argument that takes the place of `# check=`.
pub const CHECK_ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// What is linted, and what is known of its surroundings.
#[derive(Debug, Clone, Copy)]
pub struct LintInput<'a> {
    /// The text.
    pub source: &'a Source,
    /// Its tree.
    pub file: &'a Dockerfile,
    /// The build that it is for.
    pub options: &'a PlanOptions,
    /// What is switched on and off, in addition to what the file or the build argument says.
    pub changes: &'a Config,
    /// The ignore file of the main context.
    pub ignore: Option<&'a Matcher>,
    /// Configurations of base images that are known, by the names that FROM has after expansion.
    pub images: &'a BTreeMap<String, ImageConfig>,
    /// Names of stages and images that named contexts replace.
    pub replaced: &'a BTreeSet<String>,
}

/// Lints a Dockerfile for a build: the stages that the build reaches, or all where all are read and none is named.
pub fn lint(input: &LintInput<'_>) -> Linted {
    let (base, remark) = match given_config(&input.options.build_args) {
        Ok(given) => (given, None),
        Err(error) => (Some(Config::default()), Some(unreadable(&error))),
    };
    if base.is_none() && *input.changes == Config::default() {
        return lint_with(input, None);
    }
    let is_given = base.is_some();
    let config = changed(base.or_else(|| config_of(input.file)).unwrap_or_default(), input.changes);
    let mut linted = lint_with(input, Some(&config));
    if !is_given {
        // What is wrong with `# check=` is said only where it counts as it stands.
        linted.remarks = lint_with(input, None).remarks;
    }
    linted.remarks.extend(remark);
    linted
}

fn lint_with(input: &LintInput<'_>, config: Option<&Config>) -> Linted {
    let LintInput { file, options, .. } = input;
    let target = options.platforms.first().unwrap_or(&options.build_platform);
    let (target_platform, reach) = (words(target), reach(options));
    let automatic = automatic_arguments(
        &options.build_platform,
        target,
        target_name(file, options.target.as_deref()),
        &options.build_args,
    );
    let images = input.images.iter().map(|(name, config)| (name.clone(), facts(config))).collect();
    kiln_frontend::lint::lint(&LintRequest {
        source: input.source,
        file,
        config,
        automatic_arguments: &automatic,
        build_args: &options.build_args,
        reach,
        target_platform: Some(&target_platform),
        ignore: input.ignore,
        images: &images,
        contexts: input.replaced,
        vocabulary: VOCABULARY,
    })
}

/// Returns what the build argument [`CHECK_ARGUMENT`] switches on and off, if it is given.
fn given_config(build_args: &BTreeMap<String, String>) -> Result<Option<Config>, ConfigError> {
    build_args.get(CHECK_ARGUMENT).map(|value| Config::parse(value)).transpose()
}

fn unreadable(error: &ConfigError) -> Diagnostic {
    let message = format!("build argument `{CHECK_ARGUMENT}`: {error}");
    Diagnostic::error_at_large("check-option", message)
}

/// Returns what the file's `# check=` switches on and off; its value ends at the first blank.
fn config_of(file: &Dockerfile) -> Option<Config> {
    let directive = file.directives.iter().find(|directive| directive.name == "check")?;
    // The linter says what cannot be read.
    Config::parse(directive.value.text.split(' ').next().unwrap_or_default()).ok()
}

fn changed(mut config: Config, changes: &Config) -> Config {
    config.skip.extend(changes.skip.iter().cloned());
    config.skip_all |= changes.skip_all;
    config.experimental.extend(changes.experimental.iter().cloned());
    config.experimental_all |= changes.experimental_all;
    // Whoever asks for a rule now gets it, whatever the file says.
    config.skip.retain(|name| !changes.enabled.contains(name));
    config.enabled.extend(changes.enabled.iter().cloned());
    config.is_error |= changes.is_error;
    config
}

impl Planner<'_> {
    /// Lints the file for the build that is planned, with the images that the planner was told of.
    pub fn lint(&self, ignore: Option<&Matcher>) -> Linted {
        let known = |request| self.known(request).map(|image| image.config.clone());
        let images = self.bases().iter().filter_map(|(name, request)| Some((name.clone(), known(request)?)));
        lint(&LintInput {
            source: self.source,
            file: self.file,
            options: self.options(),
            changes: &Config::default(),
            ignore,
            images: &images.collect(),
            replaced: self.replaced(),
        })
    }
}

/// Returns the error of a build that findings are to fail; nothing where there are none.
pub fn violation(rules: &[&str]) -> Option<Diagnostic> {
    let message = format!("lint violation found for rules: {}", rules.join(", "));
    let error = Diagnostic::error_at_large("lint-violation", message);
    let help = "`# check=error=true` asks for it; mend the findings, or skip their rules";
    (!rules.is_empty()).then(|| error.with_help(help))
}

/// Tells whether what a word gives depends on variables: it has some, and expands where all are set.
pub fn depends_on_variables(word: &str, escape: char) -> bool {
    let all_set = |_: &str| Some("1".to_owned());
    Lexer::new(escape).expand(word, &all_set).is_ok_and(|expansion| !expansion.used.is_empty())
}

fn reach(options: &PlanOptions) -> Reach<'_> {
    match (options.target.as_deref(), options.extent) {
        (Some(name), _) => Reach::Stage(name),
        (None, Extent::Whole) => Reach::All,
        (None, Extent::Needed) => Reach::Last,
    }
}

const VOCABULARY: Vocabulary = Vocabulary {
    is_image_name: |text| text.parse::<Reference>().is_ok(),
    platform: |text| text.parse::<Platform>().ok().as_ref().map(words),
};

fn words(platform: &Platform) -> PlatformWords {
    PlatformWords {
        os: platform.os.clone(),
        architecture: platform.architecture.clone(),
        text: platform.to_string(),
    }
}

fn facts(config: &ImageConfig) -> ImageFacts {
    let pair = |variable: &String| {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        (name.to_owned(), value.to_owned())
    };
    // An image without layers is made for no platform, whatever its configuration says.
    let has_layers = !config.rootfs.diff_ids.is_empty();
    ImageFacts {
        env: config.config.env.iter().map(pair).collect(),
        has_shell: !config.config.shell.is_empty(),
        platform: (has_layers && !config.os.is_empty()).then(|| words(&config.platform())),
        onbuild: config.config.on_build.clone(),
    }
}
