//! The files that steps select of contexts: listed once in a build, and compared once with each list of an earlier one. Both take
//! time with many files, and are wanted when the nearest version of a step is looked for, when what differs is told, and when the
//! step is remembered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_oci::Digest;

use super::keys::Keys;
use crate::explain::{Change, FileList, InputNote};
use crate::plan::{Op, Plan, StepId};
use crate::transform::{Bench, Selection};

/// What steps of one build select.
pub(super) struct Lists {
    bench: Arc<Bench>,
    plan: Arc<Plan>,
    keys: Arc<Keys>,
    known: Mutex<HashMap<(StepId, Digest), Arc<FileList>>>,
    compared: Mutex<HashMap<Comparison, Arc<[Change]>>>,
}

/// A step, what an earlier version of it selected, and what it selects.
type Comparison = (StepId, Digest, Digest);

impl Lists {
    pub(super) fn new(bench: &Arc<Bench>, plan: &Arc<Plan>, keys: &Arc<Keys>) -> Self {
        let (bench, plan, keys) = (Arc::clone(bench), Arc::clone(plan), Arc::clone(keys));
        Self { bench, plan, keys, known: Mutex::default(), compared: Mutex::default() }
    }

    /// Returns which files differ, where both lists are there.
    pub(super) fn changes(
        &self,
        step: StepId,
        before: &InputNote,
        after: &InputNote,
    ) -> Option<Arc<[Change]>> {
        let InputNote::Files { selection: was, list: Some(list) } = before else { return None };
        let is = selection_of(after)?;
        // Only whole entries come to either map, so a panic elsewhere harmed nothing.
        let compared = || self.compared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(changes) = compared().get(&(step, *was, is)) {
            return Some(Arc::clone(changes));
        }
        let earlier = FileList::of(&self.bench.workshop.store, list, *was)?;
        let changes: Arc<[Change]> = earlier.changes_to(&*self.of(step, is)?).into();
        compared().insert((step, *was, is), Arc::clone(&changes));
        Some(changes)
    }

    /// Lists the files that a step selects of a context.
    pub(super) fn of(&self, step: StepId, selection: Digest) -> Option<Arc<FileList>> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = known().get(&(step, selection)) {
            return Some(Arc::clone(list));
        }
        let list = Arc::new(self.listed(step, selection)?);
        known().insert((step, selection), Arc::clone(&list));
        Some(list)
    }

    fn listed(&self, step: StepId, selection: Digest) -> Option<FileList> {
        let op = &self.plan.step(step).op;
        let is_meant = |known: &Option<Digest>| *known == Some(selection);
        let selections = self.keys.selections(step);
        let read = op.reads().into_iter().zip(selections).find(|(_, known)| is_meant(known))?.0;
        let number = selections.iter().filter(|known| known.is_some()).position(is_meant)?;
        let is_context = |step: StepId| matches!(self.plan.step(step).op, Op::Context(_));
        let of_contexts = Selection::all_of(op).into_iter().filter(|(from, _)| is_context(*from));
        let (_, selected) = of_contexts.into_iter().nth(number)?;
        let Op::Context(context) = &self.plan.step(read).op else { return None };
        // A context that cannot be read any more fails the step, which says why.
        let tree = self.bench.contexts.get(&context.name)?.tree().ok()?;
        let entries = selected.entries(&tree).ok()?;
        Some(FileList::new(selection, &entries))
    }
}

/// The digest of the files that an input selects.
pub(super) fn selection_of(note: &InputNote) -> Option<Digest> {
    match note {
        InputNote::Files { selection, .. } => Some(*selection),
        _ => None,
    }
}
