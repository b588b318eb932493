//! Which steps far caches are asked for, and what they said.
//!
//! The first question is that for what is wanted; if the answer is yes, there is no other. After the first no, all steps are asked
//! for that the store does not know, at once, and not one after the other as the misses travel backward.

use crate::cache::Found;
use crate::plan::StepId;
use crate::rootfs::Rootfs;

/// What a far cache said of a step.
pub(super) type Answer = Option<Found<Rootfs>>;

#[derive(Debug, Clone)]
enum Lookup {
    /// Nobody was asked.
    Open,
    /// Somebody was asked, and the step does not wait for it yet.
    Asked,
    /// The step waits for the answer.
    Awaited,
    /// The answer is there, and the step has not asked for it yet.
    Answered(Answer),
    /// The step has its answer.
    Closed,
}

/// The lookups of one plan.
#[derive(Debug)]
pub(super) struct Lookups {
    states: Vec<Lookup>,
    has_missed: bool,
}

/// What to do with a step that is to be looked up.
#[derive(Debug)]
pub(super) enum Wanted {
    /// Ask for it.
    Ask,
    /// Wait for the answer.
    Wait,
    /// Here it is.
    Known(Answer),
}

impl Lookups {
    /// Starts with no question asked.
    pub(super) fn new(steps: usize) -> Self {
        Self { states: vec![Lookup::Open; steps], has_missed: false }
    }

    /// Takes note that a step cannot go on without the answer.
    pub(super) fn want(&mut self, step: StepId) -> Wanted {
        let state = &mut self.states[step.index()];
        match std::mem::replace(state, Lookup::Awaited) {
            Lookup::Open => Wanted::Ask,
            Lookup::Asked | Lookup::Awaited => Wanted::Wait,
            Lookup::Answered(answer) => {
                *state = Lookup::Closed;
                Wanted::Known(answer)
            }
            Lookup::Closed => unreachable!("a step is looked up once"),
        }
    }

    /// Takes note that a step is asked for ahead of time. Returns whether it was not before.
    pub(super) fn ask_ahead(&mut self, step: StepId) -> bool {
        let state = &mut self.states[step.index()];
        let is_open = matches!(state, Lookup::Open);
        if is_open {
            *state = Lookup::Asked;
        }
        is_open
    }

    /// Takes an answer. Returns it if the step waits for it.
    pub(super) fn answered(&mut self, step: StepId, answer: Answer) -> Option<Answer> {
        let state = &mut self.states[step.index()];
        match state {
            Lookup::Awaited => {
                *state = Lookup::Closed;
                Some(answer)
            }
            _ => {
                *state = Lookup::Answered(answer);
                None
            }
        }
    }

    /// Whether this is the first miss.
    pub(super) fn is_first_miss(&mut self) -> bool {
        !std::mem::replace(&mut self.has_missed, true)
    }

    /// Whether some step waits for an answer.
    pub(super) fn is_awaited(&self) -> bool {
        self.states.iter().any(|state| matches!(state, Lookup::Awaited))
    }
}
