//! Instructions applied to a configuration without a build: `--change` of `import` and `commit`.

use std::collections::BTreeMap;

use kiln_frontend::source::Source;
use kiln_oci::config::RunConfig;
use kiln_oci::{Digest, ImageConfig, Platform};

use super::planner::{Extent, PlanOptions, Planner};
use super::stages::{ImageRequest, ResolvedImage};
use crate::plan::Network;
use crate::request::{Arguments, Compat};

/// Instructions that change a configuration only.
const ALLOWED: [&str; 11] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// A change that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("change `{change}`: {reason}")]
pub struct ChangeError {
    /// The change as given.
    pub change: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Returns the configuration that instructions make of an empty one.
///
/// # Errors
/// [`ChangeError`] of the first that is no instruction, or one that does more than change a configuration.
pub fn changed_config(changes: &[String], platform: &Platform) -> Result<RunConfig, ChangeError> {
    for (position, change) in changes.iter().enumerate() {
        check_word(change)?;
        // Alone first, so that what is wrong is said of the right one.
        plan(&changes[..=position], platform, None)
            .map_err(|reason| ChangeError { change: change.clone(), reason })?;
    }
    let broken = |reason| ChangeError { change: changes.last().cloned().unwrap_or_default(), reason };
    let untouched = plan(&[], platform, None).map_err(broken)?;
    let mut config = plan(changes, platform, None).map_err(broken)?;
    // What every build on nothing gets is no change of anybody's.
    if !changes.iter().any(|change| change.contains("PATH")) {
        config.env.retain(|variable| !untouched.env.contains(variable));
    }
    if !changes.iter().any(|change| word(change) == "WORKDIR") {
        config.working_dir.clear();
    }
    config.args_escaped = false;
    Ok(config)
}

/// Returns the configuration that instructions make of another one.
///
/// # Errors
/// As for [`changed_config`].
pub fn changed_config_of(
    base: &RunConfig,
    changes: &[String],
    platform: &Platform,
) -> Result<RunConfig, ChangeError> {
    // What is to be done by builds on it is not done now.
    let quiet = RunConfig { on_build: Vec::new(), ..base.clone() };
    let mut config = quiet.clone();
    for (position, change) in changes.iter().enumerate() {
        check_word(change)?;
        config = plan(&changes[..=position], platform, Some(&quiet))
            .map_err(|reason| ChangeError { change: change.clone(), reason })?;
    }
    config.on_build.splice(..0, base.on_build.iter().cloned());
    Ok(config)
}

fn check_word(change: &str) -> Result<(), ChangeError> {
    let fail = |reason: String| Err(ChangeError { change: change.escape_debug().to_string(), reason });
    let first = word(change);
    if change.contains(['\n', '\r']) {
        return fail("it has more than one line".to_owned());
    }
    if ALLOWED.contains(&first.as_str()) {
        return Ok(());
    }
    let near = kiln_frontend::suggest::nearest(&first, ALLOWED);
    let hint = near.map_or_else(String::new, |near| format!(" (did you mean `{near}`?)"));
    fail(format!("`{first}` is none of {}{hint}", ALLOWED.join(", ")))
}

fn word(change: &str) -> String {
    change.split_whitespace().next().unwrap_or_default().to_ascii_uppercase()
}

fn plan(changes: &[String], platform: &Platform, base: Option<&RunConfig>) -> Result<RunConfig, String> {
    let from = if base.is_some() { "base" } else { "scratch" };
    let source = Source::new("changes", format!("FROM {from}\n{}\n", changes.join("\n")));
    let first = |diagnostics: Vec<kiln_frontend::diagnostic::Diagnostic>| {
        let error = diagnostics.into_iter().find(kiln_frontend::diagnostic::Diagnostic::is_error);
        error.map_or_else(|| "it cannot be understood".to_owned(), |error| error.message)
    };
    let parsed = kiln_frontend::parse(&source);
    if parsed.has_errors() {
        return Err(first(parsed.diagnostics));
    }
    let options = PlanOptions {
        target: None,
        extent: Extent::Needed,
        platforms: vec![platform.clone()],
        build_platform: platform.clone(),
        build_args: BTreeMap::new(),
        labels: BTreeMap::new(),
        git_context: None,
        named_contexts: BTreeMap::new(),
        network: Network::Host,
        extra_hosts: Vec::new(),
        ulimits: Vec::new(),
        shm_size_bytes: None,
        epoch: None,
        compat: Compat::Kiln,
        arguments: Arguments::Declared,
    };
    let mut planner = Planner::new(&source, &parsed.file, options).map_err(first)?;
    if let Some(config) = base {
        let image = |request: &ImageRequest| ResolvedImage {
            request: request.clone(),
            manifest: Digest::of(b""),
            config: ImageConfig { config: config.clone(), ..ImageConfig::empty(platform) },
            layers: Vec::new(),
        };
        planner.provide(planner.wants().iter().map(image).collect()).map_err(first)?;
    }
    let lowered = planner.finish();
    let output = lowered.plan.outputs.first().ok_or_else(|| "it leads to nothing".to_owned())?;
    Ok(output.config.config.clone())
}

/// Returns the option nearest to a word, for "did you mean".
pub fn nearest<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    kiln_frontend::suggest::nearest(word, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: &[&str]) -> Result<RunConfig, String> {
        let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
        changed_config(&changes, &Platform::linux("amd64")).map_err(|error| error.to_string())
    }

    #[test]
    fn changes_are_instructions_on_an_empty_configuration() {
        assert_eq!(changed(&[]).unwrap(), RunConfig::default());
        let config =
            changed(&["ENV A=1 B=2", "env C=$A", "CMD [\"/bin/sh\"]", "USER 7", "WORKDIR /w", "EXPOSE 80"]);
        let config = config.unwrap();
        assert_eq!(config.env, ["A=1", "B=2", "C=1"]);
        assert_eq!(
            (config.cmd, config.user.as_str(), config.working_dir.as_str()),
            (vec!["/bin/sh".to_owned()], "7", "/w")
        );
        assert!(config.exposed_ports.contains_key("80/tcp"));
    }

    #[test]
    fn changes_of_another_configuration_see_its_variables_and_keep_the_rest() {
        let base = RunConfig {
            env: vec!["PATH=/bin".to_owned(), "A=1".to_owned()],
            cmd: vec!["sh".to_owned()],
            on_build: vec!["RUN false".to_owned()],
            user: "7".to_owned(),
            working_dir: "/w".to_owned(),
            ..RunConfig::default()
        };
        let of = |changes: &[&str]| {
            let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
            changed_config_of(&base, &changes, &Platform::linux("amd64")).unwrap()
        };
        assert_eq!(of(&[]), base);
        let config = of(&["ENV PATH=$PATH:/x B=$A", "ONBUILD RUN true", "WORKDIR d", "ENTRYPOINT [\"/e\"]"]);
        assert_eq!(config.env, ["PATH=/bin:/x", "A=1", "B=1"]);
        assert_eq!(
            (config.on_build, config.working_dir.as_str()),
            (vec!["RUN false".to_owned(), "RUN true".to_owned()], "/w/d")
        );
        assert_eq!(
            (config.cmd, config.entrypoint, config.user),
            (Vec::new(), vec!["/e".to_owned()], "7".to_owned())
        );
    }

    #[test]
    fn what_is_no_change_of_a_configuration_is_an_error_that_names_it() {
        for (change, expected) in [
            ("RUN true", "`RUN` is none of"),
            ("EVN A=1", "did you mean `ENV`?"),
            ("", "`` is none of"),
            ("ENV A=1\nRUN true", "more than one line"),
            ("ENV", "change `ENV`: "),
            ("EXPOSE 99999", "change `EXPOSE 99999`: "),
        ] {
            let error = changed(&[change]).unwrap_err();
            assert!(error.contains(expected), "{change}: {error}");
        }
    }
}
