//! A small language of steps: what has to be done for an image, in which order, and what each step's key is made of.
//!
//! A plan is acyclic by construction: a step's inputs have smaller ids, which [`Plan::push`] asserts. Metadata instructions
//! make no step; they only change the configuration of an [`Output`]. Unaware of Dockerfiles, caches and of how work is done.

pub mod key;
mod op;

#[cfg(test)]
mod tests;

pub use key::{KeyKind, StepKey};
pub use op::{
    ContextOp, CopyOp, CopySource, GitOp, HttpOp, ImageOp, MakeDirOp, MountKind, Network, Op, RunMount,
    RunOp, Script, Sharing, Ulimit, Unpack,
};

use std::time::Duration;

use kiln_oci::{ImageConfig, Platform};

use crate::rootfs::Layer;

/// Names a step of one plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(u32);

impl StepId {
    /// Returns the position in the plan, counted from zero.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Everything that has to be done for some images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<Step>,
    /// The images, in the order asked for.
    pub outputs: Vec<Output>,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it does.
    pub op: Op,
    /// Where it comes from.
    pub origin: Origin,
    /// How far its author wants it to come from the cache. Not part of its key.
    pub caching: Caching,
}

/// How far the result of a step may come from the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Caching {
    /// As long as its inputs are the same.
    #[default]
    Always,
    /// As long as it is not older, too.
    Within(Duration),
    /// Not at all.
    Never,
}

/// Where a step comes from, for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// Stage, as `name` or its number, with `platform` where several are built.
    pub stage: String,
    /// Name of the stage in lower case, for options that name stages; empty when it has none.
    pub stage_name: String,
    /// Position among the stage's instructions that make steps: `[stage 2/5]`. Zero when it is no instruction.
    pub position: u32,
    /// How many such instructions the stage has.
    pub count: u32,
    /// The instruction as people know it: `RUN make`, `COPY . /app`.
    pub text: String,
    /// First and last byte of the instruction in the Dockerfile, where it has a place there.
    pub span: Option<(usize, usize)>,
    /// First line in the Dockerfile, counted from one; zero when it has none.
    pub line: u32,
}

/// One image that a plan makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The step that gives its file system.
    pub root: StepId,
    /// Its platform.
    pub platform: Platform,
    /// Its configuration, without layers, history and time. The base image's history is in it.
    pub config: ImageConfig,
    /// What happened since the base image, oldest first.
    pub history: Vec<HistoryLine>,
}

/// One line of history that is still to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryLine {
    /// The instruction, in the form of the history.
    pub created_by: String,
    /// The step, when the instruction has one.
    pub step: Option<StepId>,
}

impl Plan {
    /// Tells, for each transform that made the file system `root` out of a base image, whether it put files there by COPY or ADD;
    /// the first one first.
    pub fn copies_in(&self, root: Option<StepId>) -> Vec<bool> {
        let transforms = std::iter::successors(root, |made| self.step(*made).op.parent());
        let mut copies: Vec<bool> = transforms
            .map(|id| &self.step(id).op)
            .filter(|op| op.parent().is_some())
            .map(|op| matches!(op, Op::Copy(_)))
            .collect();
        copies.reverse();
        copies
    }

    /// Adds a step and returns its name. A step that is there already is not added again.
    ///
    /// # Panics
    /// When an input is not a step of this plan: the caller is wrong.
    pub fn push(&mut self, op: Op, origin: Origin) -> StepId {
        let next = StepId(
            u32::try_from(self.steps.len()).expect("a plan has less than four thousand million steps"),
        );
        for input in op.inputs() {
            assert!(input < next, "inputs of a step come before it");
        }
        if !matches!(op, Op::Run(_) | Op::Copy(_) | Op::MakeDir(_))
            && let Some(same) = self.steps.iter().position(|step| step.op == op)
        {
            return StepId(u32::try_from(same).expect("smaller than `next`"));
        }
        self.steps.push(Step { op, origin, caching: Caching::Always });
        next
    }

    /// Limits how far a step may come from the cache.
    pub fn limit(&mut self, step: StepId, caching: Caching) {
        self.steps[step.index()].caching = caching;
    }

    /// Returns a step.
    pub fn step(&self, id: StepId) -> &Step {
        &self.steps[id.index()]
    }

    /// Returns the steps, inputs before what needs them.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = (StepId, &Step)> {
        self.steps
            .iter()
            .enumerate()
            .map(|(index, step)| (StepId(u32::try_from(index).unwrap_or(u32::MAX)), step))
    }

    /// Returns the number of steps.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Returns the layers of the base image that a step stands on, and how many transforms of them its file system is.
    pub fn base_of(&self, step: StepId) -> (&[Layer], usize) {
        let mut transforms = 0;
        let mut below = step;
        while let Some(parent) = self.step(below).op.parent() {
            transforms += 1;
            below = parent;
        }
        match &self.step(below).op {
            Op::Image(image) => (&image.layers, transforms),
            _ => (&[], transforms),
        }
    }

    /// Returns, for each step, whether some output has what it made: the outputs' steps and all that they stand on.
    pub fn stacked(&self) -> Vec<bool> {
        let mut stacked = vec![false; self.steps.len()];
        for output in &self.outputs {
            for step in std::iter::successors(Some(output.root), |step| self.step(*step).op.parent()) {
                stacked[step.index()] = true;
            }
        }
        stacked
    }

    /// Returns, for each step, whether some output needs it.
    pub fn reachable(&self) -> Vec<bool> {
        let mut reachable = vec![false; self.steps.len()];
        for output in &self.outputs {
            reachable[output.root.index()] = true;
        }
        for index in (0..self.steps.len()).rev() {
            if reachable[index] {
                for input in self.steps[index].op.inputs() {
                    reachable[input.index()] = true;
                }
            }
        }
        reachable
    }
}
