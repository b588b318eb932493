//! Environment and configuration file → [`Settings`]. The only reader of the environment and of the clock.
//!
//! | Variable | Decides |
//! |---|---|
//! | `KILN_HOME`, else `XDG_DATA_HOME`, else `HOME` | where the store is |
//! | `KILN_CONFIG`, else `XDG_CONFIG_HOME`, else `HOME` | where the configuration file is |
//! | `DOCKER_CONFIG`, else `HOME` | Docker's credentials |
//! | `REGISTRY_AUTH_FILE`, else `XDG_RUNTIME_DIR`, `XDG_CONFIG_HOME` | podman's credentials |
//! | `PATH` | where credential helpers are |
//! | `HTTP_PROXY`, `HTTPS_PROXY`, `FTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, in small letters too | proxies, for registries and for RUN |
//! | `PATH`, `HOME`, `XDG_CONFIG_HOME`, `SSH_AUTH_SOCK`, `GIT_SSH_COMMAND` | git: where it is, and how it says who asks; the agent of `--ssh default` |
//! | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, else `AWS_PROFILE` of `AWS_SHARED_CREDENTIALS_FILE`, else `HOME` | who asks object stores |
//! | `AWS_REGION`, `AWS_DEFAULT_REGION`, `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL` | which object store, where a flag does not say |
//! | `SOURCE_DATE_EPOCH` | time of files and documents |
//! | `NO_COLOR`, `TERM`, `BUILDKIT_PROGRESS` | how progress is shown |
//!
//! An empty variable counts as one that is not set.

mod config;
mod environment;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use kiln_builder::{AGENT_VARIABLE, GitSurroundings};
use kiln_registry::{AwsKey, AwsSettings, Secret};

pub(crate) use config::{Config, ConfigError, Keypair, Registry, Root};
pub(crate) use environment::Environment;

/// Everything that the surroundings say, in one place.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The variables, for what names one itself: `--build-arg NAME`, `--secret env=…`.
    pub(crate) environment: Environment,
    /// The words that this program was called with.
    pub(crate) command_line: Vec<OsString>,
    /// Where relative paths start.
    pub(crate) working_directory: PathBuf,
    /// Directory of the store.
    pub(crate) store: PathBuf,
    /// What the configuration file says.
    pub(crate) config: Config,
    /// Docker's `config.json`.
    pub(crate) docker_config: Option<PathBuf>,
    /// Files in podman's format, in order.
    pub(crate) auth_files: Vec<PathBuf>,
    /// Where credential helpers are, in the form of `PATH`.
    pub(crate) helper_path: OsString,
    /// Whether colour is wanted, on a terminal that has it.
    pub(crate) is_colour_wanted: bool,
}

/// What the command line says about the surroundings.
#[derive(Debug, Default)]
pub(crate) struct Overrides {
    /// `--store`.
    pub(crate) store: Option<PathBuf>,
    /// `--config`.
    pub(crate) config: Option<PathBuf>,
}

/// Why the surroundings cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// No variable says where a directory is.
    #[error("cannot tell where {what} is: none of {variables} is set")]
    NoPlace {
        /// What is looked for.
        what: &'static str,
        /// The variables, in the order they are asked.
        variables: &'static str,
    },
    /// A variable must hold an absolute path and does not.
    #[error("variable `{variable}` must be an absolute path: `{}`", .value.display())]
    RelativePath {
        /// The variable.
        variable: &'static str,
        /// What it holds.
        value: PathBuf,
    },
    /// A variable has a value that means nothing.
    #[error("variable `{variable}` has the value `{value}`: {reason}")]
    Value {
        /// The variable.
        variable: &'static str,
        /// What it holds.
        value: String,
        /// What it should hold.
        reason: &'static str,
    },
    /// There is no directory to start from.
    #[error("cannot tell the working directory")]
    WorkingDirectory(#[source] std::io::Error),
    /// The configuration file cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Settings {
    /// Reads the surroundings.
    ///
    /// # Errors
    /// [`SettingsError`], naming the variable or the place in the file.
    pub(crate) fn read(environment: Environment, overrides: Overrides) -> Result<Self, SettingsError> {
        let working_directory = std::env::current_dir().map_err(SettingsError::WorkingDirectory)?;
        let config = match config_path(&environment, overrides.config, &working_directory)? {
            Some((path, IsRequired(required))) => Config::read(&path, required)?,
            None => Config::default(),
        };
        Ok(Self {
            store: store(&environment, overrides.store, &working_directory)?,
            docker_config: docker_config(&environment, &working_directory),
            auth_files: auth_files(&environment)?,
            helper_path: environment.get("PATH").unwrap_or_default().to_owned(),
            is_colour_wanted: environment.is_colour_wanted(),
            config,
            environment,
            command_line: std::env::args_os().collect(),
            working_directory,
        })
    }

    /// Returns the time that `SOURCE_DATE_EPOCH` asks for, in seconds since 1970.
    ///
    /// # Errors
    /// When it is no number.
    pub(crate) fn source_date_epoch(&self) -> Result<Option<i64>, SettingsError> {
        let Some(value) = self.environment.get("SOURCE_DATE_EPOCH") else { return Ok(None) };
        let text = value.to_string_lossy();
        let seconds = text.parse().ok().filter(|seconds| *seconds >= 0);
        seconds.map(Some).ok_or_else(|| SettingsError::Value {
            variable: "SOURCE_DATE_EPOCH",
            value: text.into_owned(),
            reason: "it must be whole seconds since 1970",
        })
    }

    /// Returns who asks object stores.
    pub(crate) fn aws(&self) -> AwsSettings {
        let text = |name| self.environment.get(name).map(|value| value.to_string_lossy().into_owned());
        let key = match (text("AWS_ACCESS_KEY_ID"), text("AWS_SECRET_ACCESS_KEY")) {
            (Some(id), Some(secret)) => Some(AwsKey {
                id,
                secret: Secret::new(secret),
                token: text("AWS_SESSION_TOKEN").map(Secret::new),
            }),
            _ => None,
        };
        let home = || self.environment.path("HOME").map(|home| home.join(".aws/credentials"));
        AwsSettings {
            key,
            credentials_file: self.environment.path("AWS_SHARED_CREDENTIALS_FILE").or_else(home),
            profile: text("AWS_PROFILE"),
        }
    }

    /// Returns the first of these variables that is set.
    pub(crate) fn first_of(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| Some(self.environment.get(name)?.to_string_lossy().into_owned()))
    }

    /// Returns what git may use of the surroundings.
    pub(crate) fn git(&self) -> GitSurroundings {
        let owned = |(name, value): (&str, &OsStr)| (name.to_owned(), value.to_owned());
        let agent = self.environment.get(AGENT_VARIABLE).map(|socket| (AGENT_VARIABLE, socket));
        GitSurroundings {
            search_path: self.helper_path.clone(),
            home: self.environment.path("HOME"),
            config_home: self.environment.path("XDG_CONFIG_HOME"),
            shell_command: self.environment.get("GIT_SSH_COMMAND").map(OsStr::to_owned),
            variables: self.environment.proxies().chain(agent).map(owned).collect(),
            ..GitSurroundings::default()
        }
    }

    /// Whether the terminal can move its cursor.
    pub(crate) fn is_terminal_capable(&self) -> bool {
        self.environment.is_terminal_capable()
    }
}

/// Returns the present time in seconds since 1970, for "3 weeks ago". Nothing that is stored depends on it.
pub(crate) fn now_seconds() -> i64 {
    i64::try_from(now_nanoseconds() / 1_000_000_000).unwrap_or(i64::MAX)
}

/// Returns the present time in nanoseconds since 1970; zero before.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub(crate) fn now_nanoseconds() -> i128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i128::try_from(since.as_nanos()).unwrap_or(i128::MAX))
}

fn store(environment: &Environment, flag: Option<PathBuf>, base: &Path) -> Result<PathBuf, SettingsError> {
    if let Some(path) = flag.or_else(|| environment.path("KILN_HOME")) {
        return Ok(base.join(path));
    }
    if let Some(data) = environment.absolute("XDG_DATA_HOME")? {
        return Ok(data.join("kiln"));
    }
    let home = environment.absolute("HOME")?.ok_or(SettingsError::NoPlace {
        what: "the store",
        variables: "KILN_HOME, XDG_DATA_HOME and HOME",
    })?;
    Ok(home.join(".local/share/kiln"))
}

/// Whether a file that was named must exist.
struct IsRequired(bool);

fn config_path(
    environment: &Environment,
    flag: Option<PathBuf>,
    base: &Path,
) -> Result<Option<(PathBuf, IsRequired)>, SettingsError> {
    if let Some(path) = flag {
        return Ok(Some((base.join(path), IsRequired(true))));
    }
    if let Some(path) = environment.path("KILN_CONFIG") {
        return Ok(Some((base.join(path), IsRequired(false))));
    }
    let folder = config_home(environment)?;
    Ok(folder.map(|folder| (folder.join("kiln/config.toml"), IsRequired(false))))
}

fn config_home(environment: &Environment) -> Result<Option<PathBuf>, SettingsError> {
    if let Some(folder) = environment.absolute("XDG_CONFIG_HOME")? {
        return Ok(Some(folder));
    }
    Ok(environment.absolute("HOME")?.map(|home| home.join(".config")))
}

fn docker_config(environment: &Environment, base: &Path) -> Option<PathBuf> {
    let folder = environment.path("DOCKER_CONFIG").map(|folder| base.join(folder));
    let folder = folder.or_else(|| environment.path("HOME").map(|home| home.join(".docker")))?;
    Some(folder.join("config.json"))
}

fn auth_files(environment: &Environment) -> Result<Vec<PathBuf>, SettingsError> {
    if let Some(file) = environment.path("REGISTRY_AUTH_FILE") {
        return Ok(vec![file]);
    }
    let folders = [environment.absolute("XDG_RUNTIME_DIR")?, config_home(environment)?];
    Ok(folders.into_iter().flatten().map(|folder| folder.join("containers/auth.json")).collect())
}

#[cfg(test)]
impl Settings {
    /// Returns settings for tests: variables, and a directory that everything lies beneath.
    pub(crate) fn for_test(variables: &[(&str, &str)], base: &Path) -> Self {
        Self {
            environment: Environment::of(variables.iter().copied()),
            command_line: Vec::new(),
            working_directory: base.to_owned(),
            store: base.join("store"),
            config: Config::default(),
            docker_config: None,
            auth_files: Vec::new(),
            helper_path: OsString::new(),
            is_colour_wanted: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(variables: &[(&str, &str)]) -> Result<(PathBuf, Option<PathBuf>), String> {
        let environment = Environment::of(variables.iter().copied());
        let base = Path::new("/here");
        let store = store(&environment, None, base).map_err(|error| error.to_string())?;
        let config = config_path(&environment, None, base).map_err(|error| error.to_string())?;
        Ok((store, config.map(|(path, _)| path)))
    }

    #[test]
    fn places_follow_kiln_then_xdg_then_home() {
        for (variables, store, config) in [
            (&[("HOME", "/h")][..], "/h/.local/share/kiln", Some("/h/.config/kiln/config.toml")),
            (&[("HOME", "/h"), ("XDG_DATA_HOME", "/d")], "/d/kiln", Some("/h/.config/kiln/config.toml")),
            (
                &[("HOME", "/h"), ("XDG_CONFIG_HOME", "/c")],
                "/h/.local/share/kiln",
                Some("/c/kiln/config.toml"),
            ),
            (&[("KILN_HOME", "/k"), ("KILN_CONFIG", "/k.toml")], "/k", Some("/k.toml")),
            (&[("KILN_HOME", "k"), ("KILN_CONFIG", "")], "/here/k", None),
        ] {
            assert_eq!(places(variables), Ok((store.into(), config.map(PathBuf::from))), "{variables:?}");
        }
    }

    #[test]
    fn a_missing_or_relative_home_is_an_error_that_names_the_variable() {
        for (variables, says) in [
            (&[][..], "cannot tell where the store is: none of KILN_HOME, XDG_DATA_HOME and HOME is set"),
            (&[("XDG_DATA_HOME", "d")], "variable `XDG_DATA_HOME` must be an absolute path: `d`"),
        ] {
            assert_eq!(places(variables), Err(says.to_owned()));
        }
    }

    #[test]
    fn credentials_are_podmans_then_dockers() {
        let variables = [("XDG_RUNTIME_DIR", "/run/u"), ("HOME", "/h")];
        let environment = Environment::of(variables);
        let files = auth_files(&environment).unwrap();
        assert_eq!(
            files,
            ["/run/u/containers/auth.json", "/h/.config/containers/auth.json"].map(PathBuf::from)
        );
        let docker = docker_config(&environment, Path::new("/here"));
        assert_eq!(docker, Some("/h/.docker/config.json".into()));
        let named = Environment::of([("REGISTRY_AUTH_FILE", "/a.json"), ("DOCKER_CONFIG", "/dc")]);
        assert_eq!(auth_files(&named).unwrap(), [PathBuf::from("/a.json")]);
        assert_eq!(docker_config(&named, Path::new("/here")), Some("/dc/config.json".into()));
    }

    #[test]
    fn a_source_date_that_is_no_number_is_an_error() {
        let epoch = |value| {
            let settings = Settings::for_test(&[("SOURCE_DATE_EPOCH", value)], Path::new("/"));
            settings.source_date_epoch().map_err(|error| error.to_string())
        };
        assert_eq!(epoch("12"), Ok(Some(12)));
        assert_eq!(epoch(""), Ok(None));
        for wrong in ["soon", "-1", "1.5"] {
            let says = format!(
                "variable `SOURCE_DATE_EPOCH` has the value `{wrong}`: it must be whole seconds since 1970"
            );
            assert_eq!(epoch(wrong), Err(says));
        }
    }
}
