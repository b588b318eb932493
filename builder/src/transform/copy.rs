//! COPY and ADD: trees in, a layer out. Nothing is unpacked but the layers whose contents are copied.

use std::collections::BTreeSet;
use std::sync::Arc;

use kiln_layer::owner::{Owner, resolve_owner};
use kiln_layer::tar::read::Limits;
use kiln_layer::{
    ArchivePath, Chmod, Content, CopyRequest, CopySource as LayerSource, DirectoryOrigin, Entry, Metadata,
    NoLayers, PathMatcher, Selected, Tree, WithTime,
};
use kiln_oci::{DiffId, Digest};
use kiln_store::Flight;

use super::accounts::{self, AccountFiles};
use super::finish::{NewLayer, fetch_contents, fetch_unlisted, holder, is_listed, on_cpu, write_layer};
use super::flight::{Boarding, board};
use super::known::Probe;
use super::selection::{Selector, copy_selection, exclude_matcher};
use super::{Again, Bench, Foreseen, Given, Reuse, StepError, StepOutput};
use crate::lanes::discard;
use crate::layers::{self, UnpackedLayers};
use crate::plan::key::Inputs;
use crate::plan::{CopyOp, CopySource, Op, Plan, StepId, Unpack};
use crate::request::Timestamp;
use crate::rootfs::{Layer, Rootfs};

pub(super) async fn copy(
    bench: &Arc<Bench>,
    (step, op): (StepId, &Op),
    copy: &CopyOp,
    given: Given,
    reuse: Reuse,
) -> Result<Rootfs, StepError> {
    let parent = given.parent.unwrap_or_default();
    fetch_unlisted(bench, &parent.layers).await?;
    for read in &given.reads {
        if let StepOutput::Rootfs(rootfs) = read {
            fetch_unlisted(bench, &rootfs.layers).await?;
        }
    }
    if copy.chown.as_deref().is_some_and(accounts::are_needed) {
        accounts::fetch(bench, &parent.layers).await?;
    }
    let Given { reads, selections, reason, again, .. } = given;
    let (op, copy, below) = (op.clone(), copy.clone(), parent.clone());
    let work = Work { step, op, copy, parent: below, reads, selections, reuse, again };
    let stacks: Vec<Vec<Layer>> = work.stacks();
    // Contents are read from unpacked layers, so the blobs of layers that are not unpacked must be there.
    let prepared = on_cpu(bench, move |bench| prepare(bench, work)).await?;
    let layer = match prepared {
        Prepared::Known(layer) => layer.map(|layer| *layer),
        Prepared::New(mut new) => {
            if let Some(layer) = new.probe.far_layer(bench).await {
                return Ok(parent.with(layer));
            }
            if reuse.is_allowed {
                match board(bench, &new.probe).await? {
                    Boarding::Ours(flight) => new.flight = Some(flight),
                    Boarding::Done(layer) => return Ok(parent.with(layer.map(|layer| *layer))),
                }
            }
            if new.again.is_none() {
                bench.misses(step, reason.as_ref());
            }
            fetch_contents(bench, holders(&new), &stacks).await?;
            Some(on_cpu(bench, move |bench| finish(bench, *new, &stacks)).await?)
        }
    };
    Ok(parent.with(layer))
}

/// Says without writing a layer whether one would be written, or returns what the step would come to.
pub(super) async fn foresee(
    bench: &Arc<Bench>,
    (step, op): (StepId, &Op),
    copy: &CopyOp,
    given: Given,
    reuse: Reuse,
) -> Result<Foreseen, StepError> {
    let parent = given.parent.unwrap_or_default();
    let Given { reads, selections, .. } = given;
    let is_here = |read: &StepOutput| match read {
        StepOutput::Rootfs(rootfs) => is_listed(bench, &rootfs.layers),
        StepOutput::Files(_) | StepOutput::File(_) => true,
    };
    // Archives and accounts are in files, which may have to be fetched to be read.
    let needs_files = copy.unpack != Unpack::Never || copy.chown.as_deref().is_some_and(accounts::are_needed);
    let reads_layers = reads.iter().any(|read| matches!(read, StepOutput::Rootfs(_)));
    let needs_layers = (copy.unpack != Unpack::Never && reads_layers)
        || (needs_files && !parent.layers.is_empty() && copy.chown.is_some());
    if needs_layers || !is_listed(bench, &parent.layers) || !reads.iter().all(is_here) {
        return Ok(Foreseen::Unsure);
    }
    let (op, copy, below) = (op.clone(), copy.clone(), parent.clone());
    let work = Work { step, op, copy, parent: below, reads, selections, reuse, again: None };
    Ok(match on_cpu(bench, move |bench| prepare(bench, work)).await? {
        Prepared::Known(layer) => Foreseen::Known(parent.with(layer.map(|layer| *layer))),
        Prepared::New(new) => match new.probe.far_content(bench).await {
            Some(found) => Foreseen::Known(parent.with(found.value)),
            None => Foreseen::Runs,
        },
    })
}

/// What a copy works on.
struct Work {
    step: StepId,
    op: Op,
    copy: CopyOp,
    parent: Rootfs,
    reads: Vec<StepOutput>,
    selections: Vec<Option<Digest>>,
    reuse: Reuse,
    again: Option<Arc<Again>>,
}

impl Work {
    fn stacks(&self) -> Vec<Vec<Layer>> {
        let reads = self.reads.iter().filter_map(|read| match read {
            StepOutput::Rootfs(rootfs) => Some(rootfs.layers.clone()),
            StepOutput::Files(_) | StepOutput::File(_) => None,
        });
        reads.chain([self.parent.layers.clone()]).collect()
    }
}

enum Prepared {
    /// The content key was known.
    Known(Option<Box<Layer>>),
    /// A layer must be written.
    New(Box<New>),
}

struct New {
    changes: kiln_layer::Changes,
    probe: Probe,
    flight: Option<Flight>,
    again: Option<Arc<Again>>,
    /// Keeps the files of unpacked archives until the layer is written.
    _scratch: Vec<kiln_store::Scratch>,
}

/// Finds the changes, and whether a layer with them is known.
fn prepare(bench: &Bench, work: Work) -> Result<Prepared, StepError> {
    let copy = &work.copy;
    let target = layers::tree(&bench.workshop, &work.parent.layers)?;
    let owner =
        copy.chown.as_deref().map(|text| owner(bench, text, &target, &work.parent.layers)).transpose()?;
    let trees = trees(bench, &work.reads)?;
    let mut scratch = Vec::new();
    let (sources, reads) = sources(bench, &work, &trees, &mut scratch)?;
    let matcher = exclude_matcher(&copy.exclude)?;
    let excluded = |path: &ArchivePath, _is_directory: bool| matcher.excluded_by(path.as_bytes()).is_some();
    let request = CopyRequest {
        sources: sources.iter().map(Source::borrowed).collect(),
        destination: copy.destination.as_bytes(),
        workdir: b"/",
        owner,
        chmod: copy.chmod.as_deref().map(Chmod::parse).transpose()?,
        link: copy.link,
        exclude: (!matcher.is_empty()).then_some(&excluded as &PathMatcher<'_>),
        with_time: match bench.timestamp {
            Timestamp::Epoch(_) => WithTime::No,
            Timestamp::Preserve { .. } => WithTime::Yes,
        },
    };
    let mut copied = kiln_layer::copy(&target, &request)?;
    if !copy.link {
        copied.changes.record_parents(&target);
    }
    // The owner's numbers are part of what the layer is, and names may mean others in another base.
    let owner_digest = owner.map(|owner| Digest::of(format!("{}:{}", owner.uid, owner.gid).as_bytes()));
    let mut reads = reads;
    reads.extend(owner_digest);
    let seen = copied.observed.depends_on_target().then(|| copied.observed.digest());
    let parent = match bench.timestamp {
        Timestamp::Epoch(_) => seen,
        // Directories on the way keep their times, which nobody observed.
        Timestamp::Preserve { .. } => Some(work.parent.chain()),
    };
    let inputs = Inputs { parent, reads };
    let Work { step, op, reuse, again, .. } = work;
    let probe = Probe::new(bench, (step, op), &inputs, reuse);
    if let Some(layer) = probe.near_layer(bench) {
        return Ok(Prepared::Known(layer.map(Box::new)));
    }
    let new = New { changes: copied.changes, probe, flight: None, again, _scratch: scratch };
    Ok(Prepared::New(Box::new(new)))
}

fn finish(bench: &Bench, new: New, stacks: &[Vec<Layer>]) -> Result<Layer, StepError> {
    let Probe { step, op, key, fields, reuse } = new.probe;
    let (op, content, changes) = (&op, Some((key, fields)), &new.changes);
    let (again, flight) = (new.again.as_deref(), new.flight);
    let layer = write_layer(bench, NewLayer { step, op, content, flight, changes, stacks, reuse, again })?;
    discard(new.changes);
    Ok(layer)
}

/// Returns the layers that hold contents of the changes.
fn holders(new: &New) -> BTreeSet<DiffId> {
    new.changes.entries.iter().filter_map(|(_, entry)| holder(entry)).collect()
}

fn owner(bench: &Bench, text: &str, target: &Tree, stack: &[Layer]) -> Result<Owner, StepError> {
    let files = if accounts::are_needed(text) {
        let stacks = [stack.to_vec()];
        AccountFiles::read(target, &UnpackedLayers { workshop: &bench.workshop, stacks: &stacks })?
    } else {
        AccountFiles::default()
    };
    resolve_owner(text, files.accounts()).map_err(|source| StepError::Owner {
        what: "--chown",
        text: text.to_owned(),
        source,
    })
}

/// Returns the tree of each thing that is read, in order.
fn trees(bench: &Bench, reads: &[StepOutput]) -> Result<Vec<Arc<Tree>>, StepError> {
    let tree = |read: &StepOutput| match read {
        StepOutput::Rootfs(rootfs) => Ok(layers::tree(&bench.workshop, &rootfs.layers)?),
        StepOutput::Files(tree) => Ok(Arc::clone(tree)),
        StepOutput::File(_) => Ok(Arc::new(Tree::new())),
    };
    reads.iter().map(tree).collect()
}

/// A source with what it needs to live.
enum Source<'a> {
    Path { tree: &'a Tree, selector: Selector<'a> },
    Entry { tree: &'a Tree, selected: Selected },
    File { name: Vec<u8>, entry: Entry },
    Archive { tree: Tree },
}

impl Source<'_> {
    fn borrowed(&self) -> LayerSource<'_> {
        match self {
            Self::Path { tree, selector } => {
                LayerSource::Path { tree, pattern: selector.pattern, part: selector.part() }
            }
            Self::Entry { tree, selected } => LayerSource::Entry { tree, selected: selected.clone() },
            Self::File { name, entry } => LayerSource::File { name, entry: entry.clone() },
            Self::Archive { tree } => LayerSource::Archive { tree },
        }
    }
}

/// Returns the sources, archives unpacked, and the digest of what each reads.
fn sources<'a>(
    bench: &Bench,
    work: &'a Work,
    trees: &'a [Arc<Tree>],
    scratch: &mut Vec<kiln_store::Scratch>,
) -> Result<(Vec<Source<'a>>, Vec<Digest>), StepError> {
    let (mut sources, mut digests) = (Vec::new(), Vec::new());
    let copy = &work.copy;
    let mut inputs = work.reads.iter().zip(trees).zip(&work.selections);
    for source in &copy.sources {
        match source {
            CopySource::Inline { name, text } => {
                let content = Content::inline(text.clone().into_bytes());
                let entry = Entry::file(Metadata::with_mode(0o644), content);
                sources.push(Source::File { name: name.clone().into_bytes(), entry });
            }
            CopySource::Path { pattern, .. } => {
                let ((_, tree), known) = inputs.next().expect("every source that reads has an input");
                digests.push(match known {
                    Some(known) => *known,
                    None => copy_selection(tree, copy, pattern)?,
                });
                match copy.unpack {
                    Unpack::Never => {
                        sources.push(Source::Path { tree, selector: Selector::new(pattern, copy.parents)? })
                    }
                    Unpack::Local | Unpack::All => {
                        unpack_selected(bench, tree, pattern, &mut sources, scratch)?
                    }
                }
            }
            CopySource::Remote { .. } => {
                let ((read, _), _) = inputs.next().expect("every source that reads has an input");
                let StepOutput::File(download) = read else {
                    unreachable!("the plan gives a download its own step")
                };
                digests.push(download.announced.key());
                let name = &download.announced.name;
                if copy.unpack == Unpack::All
                    && let Some(tree) =
                        unpack_archive(bench, &kiln_layer::escape(name), &download.content, scratch)?
                {
                    sources.push(Source::Archive { tree });
                } else {
                    sources.push(Source::File { name: name.clone(), entry: download.entry() });
                }
            }
        }
    }
    Ok((sources, digests))
}

/// ADD: each selected file that is an archive is unpacked, the others are copied.
fn unpack_selected<'a>(
    bench: &Bench,
    tree: &'a Tree,
    pattern: &'a str,
    sources: &mut Vec<Source<'a>>,
    scratch: &mut Vec<kiln_store::Scratch>,
) -> Result<(), StepError> {
    let selected = kiln_layer::select_sources(tree, pattern.as_bytes(), None)?;
    let mut archives = Vec::new();
    for Selected { path, .. } in &selected {
        let content = tree.get(path).and_then(|entry| entry.content());
        let archive = match content {
            Some(content) => unpack_archive(bench, &path.to_string(), content, scratch)?,
            None => None,
        };
        archives.push(archive);
    }
    if archives.iter().all(Option::is_none) {
        sources.push(Source::Path { tree, selector: Selector::new(pattern, false)? });
        return Ok(());
    }
    for (selected, archive) in selected.into_iter().zip(archives) {
        sources.push(match archive {
            Some(tree) => Source::Archive { tree },
            None => Source::Entry { tree, selected },
        });
    }
    Ok(())
}

fn unpack_archive(
    bench: &Bench,
    name: &str,
    content: &Content,
    scratch: &mut Vec<kiln_store::Scratch>,
) -> Result<Option<Tree>, StepError> {
    let read = |source| StepError::Io { what: format!("cannot read `{name}`"), source };
    if !kiln_layer::is_archive(content.open(&NoLayers).map_err(read)?).map_err(read)? {
        return Ok(None);
    }
    let directory = bench.workshop.store.scratch("archive")?;
    let origin = Arc::new(DirectoryOrigin::open(directory.path()).map_err(read)?);
    let reader = content.open(&NoLayers).map_err(read)?;
    let tree = kiln_layer::extract_archive(reader, &origin, Limits::default())
        .map_err(|error| StepError::Archive { name: name.to_owned(), source: Box::new(error) })?;
    scratch.push(directory);
    Ok(Some(tree))
}

/// Says of a source that is missing in a context whether the ignore file hides it.
pub fn explain_copy(bench: &Bench, plan: &Plan, from: StepId, error: StepError) -> StepError {
    let StepError::NoSource { path: source_path, .. } = &error else { return error };
    let Op::Context(context) = &plan.step(from).op else { return error };
    let context = bench.contexts.get(&context.name);
    let rule =
        context.and_then(|context| Some((context, context.ignore.excluded_by(source_path.as_bytes())?)));
    match rule {
        Some((context, rule)) => StepError::Ignored {
            path: source_path.to_string(),
            pattern: String::from_utf8_lossy(rule.text()).into_owned(),
            line: rule.line,
            file: context.ignore_name.clone(),
        },
        None => error,
    }
}
