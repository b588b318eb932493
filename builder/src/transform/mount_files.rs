//! The files that a mount of a RUN reads from a context, a stage or an image, and a path of this machine that shows them.

use std::path::PathBuf;
use std::sync::Arc;

use kiln_layer::{Ownership, Tree};
use kiln_store::Scratch;

use super::selection::mount_source;
use super::{Bench, StepError, StepOutput};
use crate::layers;
use crate::rootfs::Layer;
use crate::upper;

/// Returns the files that a mount reads, and the layers they lie in.
pub(super) fn tree_of(bench: &Bench, read: &StepOutput) -> Result<(Arc<Tree>, Vec<Vec<Layer>>), StepError> {
    match read {
        StepOutput::Files(tree) => Ok((Arc::clone(tree), Vec::new())),
        StepOutput::Rootfs(rootfs) => {
            Ok((layers::tree(&bench.workshop, &rootfs.layers)?, vec![rootfs.layers.clone()]))
        }
        StepOutput::File(_) => unreachable!("the plan mounts no downloads"),
    }
}

/// Returns a path of this machine that shows `source` of what is read, while the scratch lives.
///
/// The files are copied aside: what an ignore file hides must not be seen, owners of a context are root's, and times are the
/// layer's, or those of `live`, the same tree with times of its own.
pub(super) fn host_path(
    bench: &Bench,
    target: &str,
    source: &str,
    read: &StepOutput,
    live: Option<&Arc<Tree>>,
) -> Result<(PathBuf, Scratch), StepError> {
    let scratch = bench.workshop.store.scratch("bind")?;
    let (tree, stacks) = tree_of(bench, read)?;
    let tree = live.unwrap_or(&tree);
    let path = mount_source(tree, source)?;
    let directories = layers::UnpackedLayers { workshop: &bench.workshop, stacks: &stacks };
    let options = kiln_layer::MaterializeOptions {
        ownership: layers::ownership(&bench.workshop),
        devices: layers::devices(&bench.workshop),
        time: if live.is_some() { None } else { bench.timestamp.files() },
    };
    let failed = |reason| StepError::Mount { target: target.to_owned(), reason };
    let shown = kiln_layer::materialize(tree, &path, scratch.path(), &directories, options)
        .map_err(|error| failed(error.to_string()))?;
    if options.ownership == Ownership::Recorded {
        upper::write_owners_of(tree, &path, &shown).map_err(|error| failed(error.to_string()))?;
    }
    Ok((shown, scratch))
}
