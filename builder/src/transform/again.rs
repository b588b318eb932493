//! A step is done a second time, under other conditions, and what it makes is compared with what it made. Nothing of it is kept:
//! the layer is hashed and thrown away, no record says it, and its root is no spare one.
//!
//! | Condition | Second time |
//! |---|---|
//! | root of a RUN | an overlay of two copies of the layers' files, every other file in each, which lists one's names after the other's; where roots are copies, one in which every other file was made after the rest |
//! | host name | [`OTHER_HOSTNAME`], unless the build says which one |
//! | process ids | begin [`BURNED_PIDS`] higher |
//! | processors | one, if there are several |
//! | clock | whatever it is by then |
//!
//! What is compared with is what the content key leads to: the layer that the step made of the very same inputs. If it has made
//! none of these, because the file system that its definition leads to was made when an input was another, it does so first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_layer::{Aspect, Committed, Content, Difference, LayerDirectories, Tree};
use kiln_sandbox::Conditions;

use super::finish::{NewLayer, fetch_contents, fetch_unlisted, weigh};
use super::{Bench, Given, Reuse, StepError, copy, execute, run};
use crate::difference::FileDifference;
use crate::layers::{self, UnpackedLayers};
use crate::lower::DEFAULT_HOSTNAME;
use crate::plan::{Op, RunOp, Step, StepId};
use crate::repeated::{Differing, DifferingFile, FILES_TOLD_MAX, FirstByte, Verdict, first_byte};
use crate::rootfs::{Layer, Rootfs};

/// The host name of steps that are done a second time.
const OTHER_HOSTNAME: &str = "another-machine";
/// How many process ids are used up before the step has its first child.
const BURNED_PIDS: u32 = 211;

/// A step that is done a second time.
#[derive(Debug)]
pub struct Again {
    parent: Vec<Layer>,
    first: Option<Layer>,
    verdict: Mutex<Option<Verdict>>,
}

/// Does a step a second time, and says whether it makes what it made the first time of what it is given. What is
/// done [aside](crate::aside) must be going on.
///
/// # Errors
/// [`StepError`] of what is not the step's own: a layer cannot be had, this machine runs no steps, the disk is full.
pub async fn repeat(bench: &Arc<Bench>, id: StepId, step: &Step, given: Given) -> Result<Verdict, StepError> {
    let parent = given.parent.as_ref().map(|parent| parent.layers.clone()).unwrap_or_default();
    let made = first_result(bench, id, step, given.clone()).await?;
    let first = made.layers.last().filter(|_| made.made.last() == Some(&true)).cloned();
    if let Some(first) = &first {
        let stack = [parent.as_slice(), std::slice::from_ref(first)].concat();
        fetch_unlisted(bench, &stack).await?;
        fetch_contents(bench, [first.diff_id].into(), &[stack]).await?;
    }
    let again = Arc::new(Again { parent, first, verdict: Mutex::default() });
    let given = Given { again: Some(Arc::clone(&again)), ..given };
    match execute(bench, id, step, given).await {
        Ok(_) => Ok(again.verdict()),
        Err(StepError::Run(failure)) => {
            Ok(Verdict::Failed { message: failure.to_string(), log: failure.log.clone() })
        }
        Err(error) => Err(error),
    }
}

/// Returns the file system that a step made of what it is given.
async fn first_result(
    bench: &Arc<Bench>,
    id: StepId,
    step: &Step,
    given: Given,
) -> Result<Rootfs, StepError> {
    let reuse = Reuse { is_allowed: true, age_max: None };
    match &step.op {
        Op::Run(op) => run::run(bench, id, op, given, reuse).await,
        Op::Copy(op) => copy::copy(bench, (id, &step.op), op, given, reuse).await,
        _ => unreachable!("only what `can_repeat` is done again"),
    }
}

/// Returns a RUN as it is done the second time.
pub(super) fn elsewhere(op: &RunOp) -> RunOp {
    let is_said = op.hostname != DEFAULT_HOSTNAME;
    let hostname = if is_said { op.hostname.clone() } else { OTHER_HOSTNAME.to_owned() };
    RunOp { hostname, ..op.clone() }
}

/// Returns what else its processes find otherwise.
pub(super) fn conditions() -> Conditions {
    Conditions { burned_pids: BURNED_PIDS, has_one_processor: true }
}

/// Returns two trees with all directories, and every other file in each; all names of one file are in one of them.
pub(super) fn halves(tree: &Tree) -> [Tree; 2] {
    let mut halves = [tree.clone(), tree.clone()];
    let mut inodes = BTreeMap::new();
    for (path, inode) in tree.names().filter(|(_, inode)| !tree.entry(*inode).is_directory()) {
        let next = inodes.len() % 2;
        halves[*inodes.entry(inode).or_insert(next)].remove(path);
    }
    halves
}

impl Again {
    /// What was found out; a step that made nothing had nothing to compare.
    fn verdict(&self) -> Verdict {
        let verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner).take();
        verdict.unwrap_or(Verdict::Same)
    }

    /// Compares what the step made now, in place of writing it.
    pub(super) fn compare(&self, bench: &Bench, new: &NewLayer<'_>) -> Result<Layer, StepError> {
        let directories = UnpackedLayers { workshop: &bench.workshop, stacks: new.stacks };
        let (layer, made) = weigh(bench, new.changes, &directories)?;
        let verdict = match &self.first {
            Some(first) if first.diff_id == made.diff_id => Verdict::Same,
            _ => Verdict::Differs(self.differing(bench, &made, (new, &directories))?),
        };
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
        Ok(layer)
    }

    fn differing(
        &self,
        bench: &Bench,
        made: &Committed,
        (new, directories): (&NewLayer<'_>, &dyn LayerDirectories),
    ) -> Result<Differing, StepError> {
        let workshop = &bench.workshop;
        let mut after = (*layers::tree(workshop, &self.parent)?).clone();
        after.add_layer(&made.listing).map_err(layers::LayerError::from)?;
        let stack: Vec<Layer> = self.parent.iter().chain(&self.first).cloned().collect();
        let before = layers::tree(workshop, &stack)?;
        let stacks = [stack];
        let old = UnpackedLayers { workshop, stacks: &stacks };
        let found = before.differences(&after);
        let told = found.iter().take(FILES_TOLD_MAX).map(|difference| {
            // The layer that was made now is nowhere: its contents are still where they were found.
            let content = new.changes.entries.get(difference.path).and_then(|entry| entry.content());
            let first_byte = match content {
                Some(content) => place(difference, &old, (content, directories))?,
                None => None,
            };
            Ok(DifferingFile { difference: FileDifference::of(difference), first_byte })
        });
        let files = told.collect::<Result<_, StepError>>()?;
        Ok(Differing { files, count: found.len() })
    }
}

/// Returns where the contents of two files differ.
fn place(
    difference: &Difference<'_>,
    old: &dyn LayerDirectories,
    (now, directories): (&Content, &dyn LayerDirectories),
) -> Result<Option<FirstByte>, StepError> {
    let was = difference.before.and_then(|before| before.content());
    let Some(was) = was.filter(|_| difference.aspects.contains(&Aspect::Content)) else { return Ok(None) };
    let failed = |source| StepError::Io { what: format!("cannot read `{}`", difference.path), source };
    let (before, after) = (was.open(old).map_err(failed)?, now.open(directories).map_err(failed)?);
    let contents: [&crate::repeated::ReadAt<'_>; 2] =
        [&|buffer: &mut [u8], offset| before.read_at(buffer, offset), &|buffer: &mut [u8], offset| {
            after.read_at(buffer, offset)
        }];
    first_byte(difference.path.as_bytes(), contents, [was.size, now.size]).map_err(failed)
}

/// Says whether a step can be done a second time.
pub fn can_repeat(op: &Op) -> bool {
    matches!(op, Op::Run(_) | Op::Copy(_))
}
