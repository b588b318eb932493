//! The variables of this process, as a value.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use super::SettingsError;

/// Variables as they were when the program began. `Debug` shows names only: values may be secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// Reads the variables of this process.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    pub(crate) fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// Returns an environment of these variables.
    #[cfg(test)]
    pub(crate) fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// Returns the value of a variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        self.raw(name).filter(|value| !value.is_empty())
    }

    /// Returns the value of a variable that is set, perhaps to nothing.
    pub(crate) fn raw(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// Returns the value of a variable as a path.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// Returns the value of a variable as a path.
    ///
    /// # Errors
    /// When it is relative: the XDG base directory specification calls that invalid.
    pub(crate) fn absolute(&self, variable: &'static str) -> Result<Option<PathBuf>, SettingsError> {
        match self.path(variable) {
            Some(value) if value.is_relative() => Err(SettingsError::RelativePath { variable, value }),
            path => Ok(path),
        }
    }

    /// Whether the terminal can move its cursor.
    pub(crate) fn is_terminal_capable(&self) -> bool {
        self.get("TERM").is_some_and(|term| term != "dumb")
    }

    /// Whether colour is wanted, on a terminal that has it.
    pub(crate) fn is_colour_wanted(&self) -> bool {
        self.get("NO_COLOR").is_none() && self.is_terminal_capable()
    }

    /// Returns the proxies that are set, by the names BuildKit predefines as build arguments.
    pub(crate) fn proxies(&self) -> impl Iterator<Item = (&'static str, &OsStr)> {
        PROXIES.iter().filter_map(|name| Some((*name, self.get(name)?)))
    }

    /// Returns the proxy of a kind, `http` or `no`: small letters win, as in curl.
    pub(crate) fn proxy(&self, kind: &str) -> Option<String> {
        let small = format!("{kind}_proxy");
        let value = self.get(&small).or_else(|| self.get(&small.to_ascii_uppercase()))?;
        Some(value.to_string_lossy().into_owned())
    }
}

/// Names of proxy variables that reach RUN steps without being declared.
pub(crate) const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
];

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_no_values() {
        let environment = Environment::of([("TOKEN", "hunter2")]);
        assert_eq!(format!("{environment:?}"), r#"{"TOKEN"}"#);
    }

    #[test]
    fn small_letters_win_among_proxies() {
        let environment =
            Environment::of([("HTTP_PROXY", "http://big"), ("http_proxy", "http://small"), ("NO_PROXY", "")]);
        assert_eq!(environment.proxy("http"), Some("http://small".to_owned()));
        assert_eq!((environment.proxy("https"), environment.proxy("no")), (None, None));
        assert_eq!(environment.proxies().count(), 2);
    }
}
