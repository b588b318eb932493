//! The environment and the configuration file.

use super::{Failure, Kind};
use crate::settings::{ConfigError, SettingsError};

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        let failure = Self::of(Kind::Usage, &error);
        match error {
            SettingsError::NoPlace { .. } => {
                failure.with_hint("name a directory with `--store DIR` or KILN_HOME")
            }
            SettingsError::Config(ConfigError::UnknownKey { hint, .. }) => failure.with_hint(hint),
            _ => failure,
        }
    }
}
