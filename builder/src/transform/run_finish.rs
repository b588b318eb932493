//! The end of a RUN: what it changed becomes a layer, and its directory that layer's unpacked form.

use std::sync::Arc;

use kiln_layer::{ArchivePath, DiffOptions, DirectoryOrigin, Metadata, Tree, WithTime};
use kiln_sandbox::Exit;
use kiln_store::Flight;

use super::again::Again;
use super::finish::{NewLayer, write_layer};
use super::known::Probe;
use super::recorded::Recorded;
use super::run_root::{Made, StepRoot};
use super::{Bench, StepError};
use crate::request::Timestamp;
use crate::rootfs::Layer;

/// A step that ran well, before its changes are looked at.
pub(super) struct Ran {
    pub(super) root: StepRoot,
    pub(super) tree: Arc<Tree>,
    pub(super) stack: Vec<Layer>,
    pub(super) exit: Exit,
    pub(super) again: Option<Arc<Again>>,
}

/// Turns what the step changed into a layer, and its directory into that layer's unpacked form.
pub(super) fn finish(
    bench: &Bench,
    ran: Ran,
    probe: Probe,
    flight: Option<Flight>,
) -> Result<Layer, StepError> {
    let (step, again) = (probe.step, ran.again.as_deref());
    let workshop = &bench.workshop;
    let opened = |source| StepError::Io { what: "cannot open the directory of the step".to_owned(), source };
    let directory = Arc::new(DirectoryOrigin::open(ran.root.plan().changes()).map_err(opened)?);
    let recorded = Recorded::new(workshop, &ran.exit.ownership, &directory, ran.root.is_overlay());
    let stubs = stub_paths(&ran.exit);
    let is_stub = |path: &ArchivePath, _is_directory: bool| stubs.contains(path);
    let metadata = |path: &ArchivePath, found: Metadata| recorded.metadata(path, found, &ran.tree);
    let options = DiffOptions {
        ignore: (!stubs.is_empty()).then_some(&is_stub),
        metadata: recorded.is_needed().then_some(&metadata),
        with_time: match bench.timestamp {
            Timestamp::Epoch(_) => WithTime::No,
            Timestamp::Preserve { .. } => WithTime::Yes,
        },
        hold: None,
    };
    let mut found = ran.root.changes(&directory, &ran.tree, options)?;
    recorded.apply_devices(&mut found.changes, &ran.tree, options.with_time);
    found.changes.record_parents(&ran.tree);
    let layer = write_layer(
        bench,
        NewLayer {
            step,
            op: &probe.op,
            content: Some((probe.key, probe.fields)),
            flight,
            changes: &found.changes,
            stacks: std::slice::from_ref(&ran.stack),
            reuse: probe.reuse,
            again,
        },
    )?;
    if again.is_some() {
        return Ok(layer);
    }
    let made = Made { step, stack: &ran.stack, layer: &layer, below: &ran.tree, exit: &ran.exit };
    ran.root.keep(bench, &found, &made)?;
    Ok(layer)
}

fn stub_paths(exit: &Exit) -> Vec<ArchivePath> {
    let path = |stub: &std::path::PathBuf| ArchivePath::clamp(stub.as_os_str().as_encoded_bytes()).ok();
    exit.stubs.iter().filter_map(path).collect()
}
