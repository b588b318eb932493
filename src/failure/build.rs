//! A build that failed: which kind it is, the place in the Dockerfile that it speaks of, hints about stages and outputs.

use kiln_builder::build::{BuildError, EnterError};
use kiln_frontend::suggest::nearest;

use super::{Failure, Kind, agent, git, step};

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        let failure = Self::of(Kind::Failed, &error);
        match error {
            BuildError::Dockerfile { source_text, diagnostics } => {
                failure.with_report(*source_text, diagnostics)
            }
            BuildError::Step { origin, source_text, error } => step::failure(&origin, *source_text, &error),
            BuildError::Image { span, source_text, meant, error } => {
                let failure = Self::of(Kind::Failed, &*error).at(span, *source_text, String::new());
                match meant {
                    Some(stage) => failure
                        .with_hint(format!("no stage has this name; did you mean the stage `{stage}`?")),
                    None => failure,
                }
            }
            BuildError::Git(error) => git::failure(&error),
            BuildError::Agent(error) => match agent::hint(&error) {
                Some(hint) => failure.with_hint(hint),
                None => failure,
            },
            BuildError::Invalid(error) => Self::of(Kind::Bug, &BuildError::Invalid(error)),
            BuildError::Interrupted => Self::interrupted(),
            BuildError::CacheExport(_) => {
                failure.with_hint("with `--cache-to …,ignore-error=true` this is a warning")
            }
            _ => failure,
        }
    }
}

impl From<EnterError> for Failure {
    fn from(error: EnterError) -> Self {
        let failure = Self::of(Kind::Failed, &error);
        match error {
            EnterError::Build(error) => error.into(),
            EnterError::NoStage { name, known } => {
                failure.with_hint(match nearest(&name, known.iter().map(String::as_str)) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None if known.is_empty() => "its stages have numbers only, the first is 0".to_owned(),
                    None => format!("there are `{}`", known.join("`, `")),
                })
            }
            EnterError::NotBuilt { .. } => failure
                .with_hint("`kiln build --target STAGE` builds a stage that the last one does not need"),
            EnterError::NoStep => failure,
        }
    }
}
