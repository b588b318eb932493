//! WORKDIR: makes the directories that are missing. Where none is, there is no layer.

use std::sync::Arc;

use kiln_layer::owner::{Owner, resolve_owner};
use kiln_layer::{ArchivePath, Changes, CopyError, Entry, Metadata, NoLayers, Tree};

use super::accounts::{self, AccountFiles};
use super::finish::{NewLayer, fetch_unlisted, is_listed, on_cpu, weigh, write_layer};
use super::{Bench, Foreseen, Given, Reuse, StepError};
use crate::layers::{self, UnpackedLayers};
use crate::plan::{MakeDirOp, Op, StepId};
use crate::rootfs::{Layer, Rootfs};

pub(super) async fn make_dir(
    bench: &Arc<Bench>,
    step: StepId,
    op: &MakeDirOp,
    given: Given,
) -> Result<Rootfs, StepError> {
    // Directories on the same file system are not made anew, only found anew.
    if given.reason.is_some() {
        bench.misses(step, given.reason.as_ref());
    }
    let parent = given.parent.unwrap_or_default();
    fetch_unlisted(bench, &parent.layers).await?;
    if accounts::are_needed(&op.user) {
        accounts::fetch(bench, &parent.layers).await?;
    }
    let (op, stack) = (op.clone(), parent.layers.clone());
    let layer = on_cpu(bench, move |bench| {
        let changes = changes(bench, &op, &stack)?;
        if changes.is_empty() {
            return Ok(None);
        }
        let own = Op::MakeDir(op);
        let reuse = Reuse { is_allowed: true, age_max: None };
        let (op, changes, stacks) = (&own, &changes, &[][..]);
        let flight = None;
        write_layer(bench, NewLayer { step, op, content: None, flight, changes, stacks, reuse, again: None })
            .map(Some)
    })
    .await?;
    Ok(parent.with(layer))
}

/// Says whether directories would be made, and what the step comes to. That is known without doing it, as nothing runs.
pub(super) async fn foresee(bench: &Arc<Bench>, op: &MakeDirOp, given: Given) -> Result<Foreseen, StepError> {
    let parent = given.parent.unwrap_or_default();
    if !is_listed(bench, &parent.layers) {
        return Ok(Foreseen::Unsure);
    }
    // Accounts are in files, which may have to be fetched to be read.
    let needs_files = accounts::are_needed(&op.user) && !parent.layers.is_empty();
    let (op, below) = (op.clone(), parent.clone());
    on_cpu(bench, move |bench| {
        if needs_files {
            let tree = layers::tree(&bench.workshop, &below.layers)?;
            return Ok(match missing_directories(&tree, &op.path, None)?.is_empty() {
                true => Foreseen::Known(below.with(None)),
                false => Foreseen::Runs,
            });
        }
        let changes = changes(bench, &op, &below.layers)?;
        if changes.is_empty() {
            return Ok(Foreseen::Known(below.with(None)));
        }
        let (layer, committed) = weigh(bench, &changes, &NoLayers)?;
        // What follows asks what is in it. Nothing is done after a look ahead that finds something to do, so nobody takes this
        // for a listing that is on the disk.
        layers::know_listing(&bench.workshop, committed.listing);
        Ok(Foreseen::Makes(below.with(Some(layer))))
    })
    .await
}

/// Returns the directories that are to be made.
fn changes(bench: &Bench, op: &MakeDirOp, stack: &[Layer]) -> Result<Changes, StepError> {
    let tree = layers::tree(&bench.workshop, stack)?;
    let owner = owner(bench, &op.user, &tree, stack)?;
    let mut changes = missing_directories(&tree, &op.path, owner)?;
    if !changes.is_empty() {
        changes.record_parents(&tree);
    }
    Ok(changes)
}

fn owner(bench: &Bench, user: &str, tree: &Tree, stack: &[Layer]) -> Result<Option<Owner>, StepError> {
    if user.is_empty() {
        return Ok(None);
    }
    let files = if accounts::are_needed(user) {
        let stacks = [stack.to_vec()];
        AccountFiles::read(tree, &UnpackedLayers { workshop: &bench.workshop, stacks: &stacks })?
    } else {
        AccountFiles::default()
    };
    // A number alone is the group too, as in `--chown`; for a process it would not be.
    let owner = resolve_owner(user, files.accounts());
    owner.map(Some).map_err(|source| StepError::Owner { what: "USER", text: user.to_owned(), source })
}

/// Returns the directories on the way to `path` that `tree` does not have, symlinks followed. Without an owner they are root's, or
/// inherit a group.
fn missing_directories(tree: &Tree, path: &str, owner: Option<Owner>) -> Result<Changes, StepError> {
    let path = ArchivePath::clamp(path.as_bytes())
        .map_err(|source| CopyError::NotAPath { text: path.to_owned(), source })?;
    let unreachable = |source| CopyError::Destination { destination: path.clone(), source };
    let resolved = tree.resolve(&path).map_err(unreachable)?;
    let mut changes = Changes::new();
    if let Some(entry) = tree.get(&resolved.path)
        && !entry.is_directory()
        && !resolved.path.is_root()
    {
        let noun = entry.kind.noun();
        return Err(CopyError::DestinationNotDirectory { destination: resolved.path, noun }.into());
    }
    let steps = resolved.path.ancestors().chain([resolved.path.clone()]).filter(|step| !step.is_root());
    for step in steps.filter(|step| tree.get(step).is_none()) {
        let parent =
            step.parent().and_then(|parent| changes.entries.get(&parent).or_else(|| tree.get(&parent)));
        let mut metadata = Metadata::inherited(parent);
        metadata.mode |= 0o755;
        if let Some(owner) = owner {
            (metadata.uid, metadata.gid) = (owner.uid, owner.gid);
        }
        changes.entries.insert(step, Entry::directory(metadata));
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_made_and_links_are_followed() {
        let path = |text: &str| ArchivePath::parse(text.as_bytes()).unwrap();
        let mut tree = Tree::new();
        tree.insert(path("real"), Entry::implied_directory());
        let link = kiln_layer::Kind::Symlink(b"/real"[..].into());
        tree.insert(path("link"), Entry { metadata: Metadata::with_mode(0o777), kind: link });
        let made = |text: &str| -> Vec<String> {
            let changes = missing_directories(&tree, text, None).unwrap();
            changes.entries.iter().map(|(path, _)| path.to_string()).collect()
        };
        assert_eq!(made("/real"), Vec::<String>::new());
        assert_eq!(made("/link/a/b"), ["real/a", "real/a/b"]);
        assert_eq!(made("/x"), ["x"]);
    }

    #[test]
    fn a_new_directory_inherits_the_group_unless_it_has_an_owner() {
        let mut tree = Tree::new();
        let shared = Metadata { gid: 7, ..Metadata::with_mode(0o2775) };
        tree.insert(ArchivePath::parse(b"s").unwrap(), Entry::directory(shared));
        let made = |owner| -> Vec<(u32, u32, u32)> {
            let changes = missing_directories(&tree, "/s/a/b", owner).unwrap();
            let metadata = |entry: &Entry| (entry.metadata.mode, entry.metadata.uid, entry.metadata.gid);
            changes.entries.iter().map(|(_, entry)| metadata(entry)).collect()
        };
        assert_eq!(made(None), [(0o2755, 0, 7); 2]);
        assert_eq!(made(Some(Owner { uid: 5, gid: 6 })), [(0o2755, 5, 6); 2]);
    }
}
