//! Definition keys: forward from the sources, without running anything.

use kiln_oci::Digest;

use crate::cache::LocalCache;
use crate::explain::{InputNote, Portrait};
use crate::plan::key::{Inputs, KeyRecord, describe, step_key};
use crate::plan::{CopySource, KeyKind, Op, Plan, Step, StepId, StepKey};
use crate::transform::{Bench, Reuse, Selection, StepError, explain_copy};

use super::SolveError;

/// What is known of the steps of a plan before anything runs.
#[derive(Debug)]
pub struct Keys {
    keys: Vec<Option<StepKey>>,
    records: Vec<Option<Inputs>>,
    selections: Vec<Vec<Option<Digest>>>,
    volatile: Vec<bool>,
}

impl Keys {
    /// Returns a step's definition key, unless it or something below it may not be taken from the cache.
    pub fn lookup(&self, step: StepId) -> Option<StepKey> {
        self.keys[step.index()].filter(|_| !self.volatile[step.index()])
    }

    /// Returns, for each thing that a step reads, the digest of what it selects there, where that was computed.
    pub fn selections(&self, step: StepId) -> &[Option<Digest>] {
        &self.selections[step.index()]
    }

    /// Returns a step's definition key, whether or not it may be taken from the cache.
    pub fn key(&self, step: StepId) -> Option<StepKey> {
        self.keys[step.index()]
    }

    /// Returns what a step's definition key is made of, for people.
    pub fn portrait(&self, bench: &Bench, plan: &Plan, step: StepId) -> Option<Portrait> {
        let (op, inputs) = (&plan.step(step).op, self.records[step.index()].as_ref()?);
        let mut fields = KeyRecord::new();
        describe(KeyKind::Definition, &bench.key_base, op, inputs, &mut fields);
        let selections = std::iter::once(None).chain(self.selections(step).iter().copied());
        let notes = op.inputs().into_iter().zip(selections);
        let notes = notes.map(|(input, selection)| match selection {
            Some(selection) => InputNote::Files { selection, list: None },
            None => self.note(bench, plan, input),
        });
        let arguments = match op {
            Op::Run(run) => run.arguments.clone(),
            _ => Vec::new(),
        };
        Some(Portrait::new(fields, notes.collect(), arguments))
    }

    fn note(&self, bench: &Bench, plan: &Plan, input: StepId) -> InputNote {
        match &plan.step(input).op {
            Op::Image(image) => {
                InputNote::Image { name: image.reference.familiar().to_string(), manifest: image.manifest }
            }
            Op::Http(http) => match bench.downloads.get(&input) {
                Some(download) => InputNote::Web { url: http.url.to_string(), digest: download.digest },
                None => InputNote::Other,
            },
            Op::Git(git) => match bench.commits.get(&input) {
                Some(commit) => {
                    InputNote::Git { name: git.reference.shown(), commit: commit.commit().to_owned() }
                }
                None => InputNote::Other,
            },
            Op::Run(_) | Op::Copy(_) | Op::MakeDir(_) => match self.key(input) {
                Some(key) => InputNote::Step { key: key.0 },
                None => InputNote::Other,
            },
            Op::Scratch | Op::Context(_) => InputNote::Other,
        }
    }
}

/// Computes the definition keys of the needed steps.
///
/// # Errors
/// A step whose sources are missing or malformed.
pub fn definition_keys(bench: &Bench, plan: &Plan, needed: &[bool]) -> Result<Keys, SolveError> {
    let count = plan.len();
    let mut keys = Keys {
        keys: vec![None; count],
        records: vec![None; count],
        selections: vec![Vec::new(); count],
        volatile: vec![false; count],
    };
    for (id, step) in plan.steps() {
        if !needed[id.index()] {
            continue;
        }
        let failed = |error| SolveError::Step { step: id, error: Box::new(error) };
        let mut reads = reads(bench, plan, &step.op, &keys).map_err(failed)?;
        if let (Op::Git(git), Some(commit)) = (&step.op, bench.commits.get(&id)) {
            reads.push(Read::Source(commit.identity(&git.reference)));
        }
        let parent = step.op.parent().and_then(|parent| keys.keys[parent.index()]).map(|key| key.0);
        let inputs = Inputs { parent, reads: reads.iter().map(Read::digest).collect() };
        keys.selections[id.index()] = reads.iter().map(Read::selection).collect();
        keys.keys[id.index()] = Some(step_key(KeyKind::Definition, &bench.key_base, &step.op, &inputs));
        keys.records[id.index()] = Some(inputs);
        let below = step.op.inputs().iter().any(|input| keys.volatile[input.index()]);
        keys.volatile[id.index()] = below || !may_be_known(bench, step, keys.keys[id.index()]);
    }
    Ok(keys)
}

/// Says whether a step may be taken from the cache. What has become too old counts as forbidden, so that what stands on it
/// is not taken without asking for it.
fn may_be_known(bench: &Bench, step: &Step, key: Option<StepKey>) -> bool {
    let reuse = Reuse::of(&bench.no_cache, step);
    if reuse.age_max.is_none() || !reuse.is_allowed {
        return reuse.is_allowed;
    }
    let known = key.and_then(|key| LocalCache::new(&bench.workshop).definition(key));
    let layer = known.as_ref().and_then(|rootfs| rootfs.layers.last());
    layer.is_some_and(|layer| reuse.takes(bench, &step.op, &layer.diff_id))
}

/// What stands in a key for something that a step reads.
enum Read {
    /// The files it selects.
    Selection(Digest),
    /// Where it comes from.
    Source(Digest),
}

impl Read {
    fn digest(&self) -> Digest {
        match self {
            Self::Selection(digest) | Self::Source(digest) => *digest,
        }
    }

    fn selection(&self) -> Option<Digest> {
        match self {
            Self::Selection(digest) => Some(*digest),
            Self::Source(_) => None,
        }
    }
}

fn reads(bench: &Bench, plan: &Plan, op: &Op, keys: &Keys) -> Result<Vec<Read>, StepError> {
    let key_of = |step: StepId| {
        let key = keys.keys[step.index()].expect("inputs come before what needs them");
        Read::Source(key.0)
    };
    let mut reads = Vec::new();
    match op {
        Op::Copy(copy) => {
            for source in &copy.sources {
                match source {
                    CopySource::Inline { .. } => {}
                    CopySource::Remote { from } => reads.push(Read::Source(bench.downloads[from].key())),
                    CopySource::Path { from, pattern } => {
                        let selection = selection(bench, plan, *from, Selection::Copy { copy, pattern })
                            .map_err(|error| explain_copy(bench, plan, *from, error))?;
                        reads.push(selection.map_or_else(|| key_of(*from), Read::Selection));
                    }
                }
            }
        }
        Op::Run(run) => {
            for mount in &run.mounts {
                let Some(from) = mount.kind.reads() else { continue };
                let source = mount.kind.source();
                let selection = match source {
                    Some(source) => selection(bench, plan, from, Selection::Mount(source))?,
                    None => None,
                };
                reads.push(selection.map_or_else(|| key_of(from), Read::Selection));
            }
        }
        _ => {}
    }
    Ok(reads)
}

/// The digest of what is selected, if that is of a context.
fn selection(
    bench: &Bench,
    plan: &Plan,
    from: StepId,
    selection: Selection<'_>,
) -> Result<Option<Digest>, StepError> {
    let Op::Context(context) = &plan.step(from).op else { return Ok(None) };
    let Some(context) = bench.contexts.get(&context.name) else { return Ok(None) };
    context.selection(selection.query(), |tree| selection.digest(tree)).map(Some)
}
