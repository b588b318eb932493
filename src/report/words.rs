//! What became of a step, in a word and a sign: colour only repeats them.

use std::time::Duration;

use kiln_builder::journal::{BuildStory, Ended, State, StepStory};

use crate::ui::human;

/// How a step looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// It was found in the cache.
    Cached,
    /// It ran.
    Ran,
    /// It failed.
    Failed,
    /// It was running when the build ended, or still is.
    Running,
    /// Its turn did not come.
    Waiting,
    /// It is where a stage begins.
    Source,
}

impl Look {
    /// All, in the order of the legend.
    pub(super) const ALL: [Self; 6] =
        [Self::Cached, Self::Ran, Self::Failed, Self::Running, Self::Waiting, Self::Source];

    /// Returns its class in the style.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Ran => "ran",
            Self::Failed => "failed",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Source => "source",
        }
    }

    /// Returns its sign.
    pub(super) fn mark(self) -> &'static str {
        match self {
            Self::Cached => "✓",
            Self::Ran => "▶",
            Self::Failed => "✕",
            Self::Running => "◐",
            Self::Waiting => "○",
            Self::Source => "◆",
        }
    }

    /// Returns its word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Ran => "ran",
            Self::Failed => "failed",
            Self::Running => "unfinished",
            Self::Waiting => "not reached",
            Self::Source => "base",
        }
    }

    /// Returns what the legend says of it.
    pub(super) fn meaning(self) -> &'static str {
        match self {
            Self::Cached => "taken from the cache",
            Self::Source => "base image",
            other => other.word(),
        }
    }
}

/// Returns how a step looks.
pub(crate) fn look(step: &StepStory) -> Look {
    match step.state {
        State::Cached => Look::Cached,
        State::Ran => Look::Ran,
        State::Failed => Look::Failed,
        State::Running => Look::Running,
        State::Waiting | State::Unneeded => Look::Waiting,
        State::Source => Look::Source,
    }
}

/// Returns what became of a step: `ran · 1.5s · 4.27MB`.
pub(super) fn outcome_words(step: &StepStory) -> String {
    let mut words = vec![look(step).word().to_owned()];
    words.extend(step.took.map(duration));
    words.extend(step.layer_bytes.map(layer_words));
    words.join(" · ")
}

/// Returns the size of a layer.
pub(crate) fn layer_words(bytes: u64) -> String {
    if bytes == 0 { "no layer".to_owned() } else { human::size(bytes) }
}

/// Returns how long something took.
pub(crate) fn duration(milliseconds: u64) -> String {
    match milliseconds {
        0..1000 => format!("{milliseconds}ms"),
        _ => human::duration(Duration::from_millis(milliseconds)),
    }
}

/// Returns how a build ended, in a word.
pub(crate) fn outcome(story: &BuildStory) -> &'static str {
    match (&story.ended, story.is_living) {
        (Some(ended @ Ended::Done { .. }), _) => {
            if ended.is_good() {
                "done"
            } else {
                "differs"
            }
        }
        (Some(Ended::Failed { .. }), _) => "failed",
        (Some(Ended::Interrupted), _) => "interrupted",
        (None, true) => "running",
        (None, false) => "killed",
    }
}

/// Returns how a build is called: its command line, as a shell reads it.
pub(crate) fn command(story: &BuildStory) -> String {
    let mut words: Vec<String> = story.header.words.iter().map(|word| quoted(word)).collect();
    if let Some(program) = words.first_mut()
        && let Some(at) = program.rfind('/')
    {
        program.drain(..=at);
    }
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let is_plain = |char: char| char.is_alphanumeric() || "-_./:=@,+%".contains(char);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}
