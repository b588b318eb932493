//! RUN steps that this machine cannot run, and what waits for them.
//!
//! Such a step is refused only where it must really run, which is known when its inputs are there: until then its content may
//! be one that was seen before. So that no other RUN works for a build that is refused in the end, those wait that no such step
//! needs. Unaware of why a step cannot run.

use std::collections::BTreeSet;

use crate::plan::{Plan, StepId};

/// The RUN steps that were looked up in vain, and are not done.
#[derive(Debug, Default)]
pub(super) struct RunsLeft {
    possible: BTreeSet<StepId>,
    impossible: BTreeSet<StepId>,
}

impl RunsLeft {
    pub(super) fn add(&mut self, step: StepId, is_possible: bool) {
        if is_possible {
            self.possible.insert(step)
        } else {
            self.impossible.insert(step)
        };
    }

    pub(super) fn remove(&mut self, step: StepId) {
        self.possible.remove(&step);
        self.impossible.remove(&step);
    }

    /// Returns the RUN steps that have to wait now. There is always something that need not: an impossible step that needs none
    /// of them, or what the impossible ones need.
    pub(super) fn waiting(&self, plan: &Plan, is_done: impl Fn(StepId) -> bool) -> BTreeSet<StepId> {
        if self.impossible.is_empty() {
            return BTreeSet::new();
        }
        let inputs = |step: StepId| {
            let inputs = plan.step(step).op.inputs();
            inputs.into_iter().filter(|input| !is_done(*input)).collect::<Vec<_>>()
        };
        let mut waiting = self.possible.clone();
        // Inputs have smaller ids than what they are for.
        let steps: Vec<StepId> = plan.steps().map(|(step, _)| step).collect();
        let mut needs_run = vec![false; plan.len()];
        for step in steps.iter().copied() {
            let is_run = |input: &StepId| self.possible.contains(input) || needs_run[input.index()];
            needs_run[step.index()] = inputs(step).iter().any(is_run);
        }
        if !self.impossible.iter().all(|step| needs_run[step.index()]) {
            return waiting;
        }
        let mut is_needed = vec![false; plan.len()];
        for step in steps.into_iter().rev() {
            if is_needed[step.index()] || self.impossible.contains(&step) {
                inputs(step).iter().for_each(|input| is_needed[input.index()] = true);
            }
        }
        waiting.retain(|step| !is_needed[step.index()]);
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{MakeDirOp, Op, Origin};

    /// A plan whose steps are each on top of the one with the index named, after a first one.
    fn plan(parents: &[usize]) -> (Plan, Vec<StepId>) {
        let mut plan = Plan::default();
        let mut ids = vec![plan.push(Op::Scratch, Origin::default())];
        for (number, parent) in parents.iter().enumerate() {
            let op = MakeDirOp { parent: ids[*parent], path: format!("/{number}"), user: String::new() };
            ids.push(plan.push(Op::MakeDir(op), Origin::default()));
        }
        (plan, ids)
    }

    #[test]
    fn what_no_impossible_step_needs_waits_for_them() {
        // Chains: 0 ← 1 ← 2 ← 3, and 0 ← 4 ← 5.
        let (plan, ids) = plan(&[0, 1, 2, 0, 4]);
        for (possible, impossible, done, expected) in [
            (&[1, 3, 4][..], &[][..], &[][..], &[][..]),
            // Nothing has to run before 5, or before 1.
            (&[2, 3], &[5], &[], &[2, 3]),
            (&[2, 3, 4], &[1], &[], &[2, 3, 4]),
            // What 3 needs runs, and nothing else.
            (&[1, 2, 4, 5], &[3], &[], &[4, 5]),
            (&[2, 4, 5], &[3], &[], &[4, 5]),
            // 2 is known, so that 3 needs nothing below it.
            (&[1, 4], &[3], &[2], &[1, 4]),
            // 5 is decided first.
            (&[1, 2], &[3, 5], &[], &[1, 2]),
            (&[1, 4], &[3, 5], &[], &[]),
        ] {
            let mut left = RunsLeft::default();
            possible.iter().for_each(|index: &usize| left.add(ids[*index], true));
            impossible.iter().for_each(|index: &usize| left.add(ids[*index], false));
            let waiting = left.waiting(&plan, |step| done.contains(&step.index()));
            let waiting: Vec<usize> = waiting.iter().map(|step| step.index()).collect();
            assert_eq!(waiting, expected, "{possible:?} {impossible:?} {done:?}");
        }
    }
}
