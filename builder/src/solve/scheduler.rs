//! Which step next? A pure state machine: it says what to do and is told what happened.
//!
//! ```text
//! Unneeded ──needed──► Probing ──► Done (cached)
//!                         └──miss──► Waiting ──inputs done──► Running ──► Done (built)
//!                                       │                        └──► Failed
//!                                       └──an input failed──► Skipped
//! ```
//!
//! Need travels backward from what is wanted: a step is looked up only when something that missed needs it, so if the last
//! step hits nothing else is even asked for. Unaware of keys, caches and of how a step is done.

use std::collections::VecDeque;

use crate::plan::{Plan, StepId};

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Look the step up; answer with [`Event::Probed`].
    Probe(StepId),
    /// Do the step, all of whose inputs are done; answer with [`Event::Executed`].
    Execute(StepId),
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A step was looked up.
    Probed {
        /// The step.
        step: StepId,
        /// Whether its result is there.
        hit: bool,
    },
    /// A step was done.
    Executed {
        /// The step.
        step: StepId,
        /// Whether it has a result.
        succeeded: bool,
    },
    /// Nothing new may start.
    Interrupted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing that missed needs it.
    Unneeded,
    /// It is being looked up.
    Probing,
    /// It must be done, and some input is not there yet.
    Waiting,
    /// It is being done, or about to be.
    Running,
    /// Its result is there.
    Done,
    /// It failed.
    Failed,
    /// Something it needs failed, or the build was interrupted.
    Skipped,
}

/// The state of every step of one plan.
#[derive(Debug)]
pub struct Scheduler {
    states: Vec<State>,
    inputs: Vec<Vec<StepId>>,
    dependents: Vec<Vec<StepId>>,
    actions: VecDeque<Action>,
    open: usize,
    interrupted: bool,
}

impl Scheduler {
    /// Starts with the steps that are wanted.
    pub fn new(plan: &Plan, wanted: &[StepId]) -> Self {
        let inputs: Vec<Vec<StepId>> = plan.steps().map(|(_, step)| step.op.inputs()).collect();
        let mut dependents = vec![Vec::new(); inputs.len()];
        for (id, step) in plan.steps() {
            for input in step.op.inputs() {
                dependents[input.index()].push(id);
            }
        }
        let states = vec![State::Unneeded; inputs.len()];
        let mut scheduler =
            Self { states, inputs, dependents, actions: VecDeque::new(), open: 0, interrupted: false };
        for step in wanted {
            scheduler.need(*step);
        }
        scheduler
    }

    /// Returns something to do now, if there is anything.
    pub fn next_action(&mut self) -> Option<Action> {
        loop {
            let action = self.actions.pop_front()?;
            let (Action::Probe(step) | Action::Execute(step)) = action;
            if !self.interrupted {
                self.open += 1;
                return Some(action);
            }
            self.set(step, State::Skipped);
        }
    }

    /// Takes what happened.
    pub fn on(&mut self, event: Event) {
        match event {
            Event::Probed { step, hit } => {
                self.open -= 1;
                assert_eq!(self.states[step.index()], State::Probing, "only what was asked for is answered");
                if hit { self.finish(step, State::Done) } else { self.miss(step) }
            }
            Event::Executed { step, succeeded } => {
                self.open -= 1;
                assert_eq!(self.states[step.index()], State::Running, "only what was asked for is answered");
                self.finish(step, if succeeded { State::Done } else { State::Failed });
            }
            Event::Interrupted => self.interrupted = true,
        }
    }

    /// Whether nothing is going on and nothing is left to do.
    pub fn is_finished(&self) -> bool {
        self.open == 0 && (self.actions.is_empty() || self.interrupted)
    }

    /// Whether the result of a step is there.
    pub fn is_done(&self, step: StepId) -> bool {
        self.states[step.index()] == State::Done
    }

    fn need(&mut self, step: StepId) {
        if self.states[step.index()] == State::Unneeded {
            self.set(step, State::Probing);
            self.actions.push_back(Action::Probe(step));
        }
    }

    fn miss(&mut self, step: StepId) {
        self.set(step, State::Waiting);
        for input in self.inputs[step.index()].clone() {
            self.need(input);
        }
        self.advance(step);
    }

    /// Starts a waiting step whose inputs are all there, or gives it up when one cannot be.
    fn advance(&mut self, step: StepId) {
        if self.states[step.index()] != State::Waiting {
            return;
        }
        let of = |input: &StepId| self.states[input.index()];
        let inputs = &self.inputs[step.index()];
        if inputs.iter().any(|input| matches!(of(input), State::Failed | State::Skipped)) {
            self.finish(step, State::Skipped);
        } else if inputs.iter().all(|input| of(input) == State::Done) {
            self.set(step, State::Running);
            self.actions.push_back(Action::Execute(step));
        }
    }

    fn finish(&mut self, step: StepId, state: State) {
        let mut finished = vec![(step, state)];
        // A list and not recursion: a plan can be thousands of steps deep.
        while let Some((step, state)) = finished.pop() {
            self.set(step, state);
            for dependent in self.dependents[step.index()].clone() {
                if self.states[dependent.index()] != State::Waiting {
                    continue;
                }
                if matches!(state, State::Failed | State::Skipped) {
                    finished.push((dependent, State::Skipped));
                } else {
                    self.advance(dependent);
                }
            }
        }
    }

    fn set(&mut self, step: StepId, state: State) {
        self.states[step.index()] = state;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{MakeDirOp, Op, Origin};
    use proptest::prelude::*;

    /// A plan of steps, each on top of an earlier one; `parents[i]` is taken modulo what is there.
    fn plan(parents: &[usize]) -> Plan {
        let mut plan = Plan::default();
        let mut ids = vec![plan.push(Op::Scratch, Origin::default())];
        for (number, parent) in parents.iter().enumerate() {
            let parent = ids[parent % ids.len()];
            let op = MakeDirOp { parent, path: format!("/{number}"), user: String::new() };
            ids.push(plan.push(Op::MakeDir(op), Origin::default()));
        }
        plan
    }

    #[test]
    fn a_hit_at_the_end_asks_for_nothing_else() {
        let plan = plan(&[0, 1, 2]);
        let last = plan.steps().last().unwrap().0;
        let mut scheduler = Scheduler::new(&plan, &[last]);
        assert_eq!(scheduler.next_action(), Some(Action::Probe(last)));
        scheduler.on(Event::Probed { step: last, hit: true });
        assert_eq!(scheduler.next_action(), None);
        assert!(scheduler.is_finished() && scheduler.is_done(last));
    }

    proptest! {
        #[test]
        fn any_order_of_events_does_each_step_once_after_its_inputs(
            parents in prop::collection::vec(0_usize..20, 1..20),
            hits in prop::collection::vec(any::<bool>(), 21),
            failures in prop::collection::vec(prop::bool::weighted(0.1), 21),
            choices in prop::collection::vec(any::<prop::sample::Index>(), 200),
        ) {
            let plan = plan(&parents);
            let last = plan.steps().last().unwrap().0;
            let mut scheduler = Scheduler::new(&plan, &[last]);
            let (mut open, mut executed, mut done) = (Vec::new(), Vec::new(), Vec::new());
            for choice in choices {
                while let Some(action) = scheduler.next_action() {
                    if let Action::Execute(step) = action {
                        prop_assert!(!executed.contains(&step));
                        prop_assert!(plan.step(step).op.inputs().iter().all(|input| done.contains(input)));
                        executed.push(step);
                    }
                    open.push(action);
                }
                if open.is_empty() {
                    break;
                }
                match open.swap_remove(choice.index(open.len())) {
                    Action::Probe(step) => {
                        if hits[step.index()] {
                            done.push(step);
                        }
                        scheduler.on(Event::Probed { step, hit: hits[step.index()] });
                    }
                    Action::Execute(step) => {
                        let succeeded = !failures[step.index()];
                        if succeeded {
                            done.push(step);
                        }
                        scheduler.on(Event::Executed { step, succeeded });
                    }
                }
            }
            prop_assert!(open.is_empty() && scheduler.is_finished());
            let failed = executed.iter().any(|step| failures[step.index()]);
            prop_assert_eq!(scheduler.is_done(last), !failed);
        }
    }
}
