//! What the ids of a user cannot express: owners above them, and devices. Where a build meets one it goes on *recording*, as with a
//! single id, in the same user namespace: what its real ids have made stays in reach.
//!
//! A build does so as a whole. Owners of one directory that are partly real and partly recorded would have to be kept apart in each
//! place that reads or writes one; so there are two manners of directories, and a [`Workshop`] has one of them.

use std::error::Error;
use std::sync::PoisonError;

use kiln_layer::{Entry, Item, MissingId};
use kiln_sandbox::{ExecError, Identity};
use kiln_store::{Lookup, Store, StoreError};

use crate::causes::causes;
use crate::layers::known_listing;
use crate::plan::key::{Inputs, KeyBase, KeyKind, step_key};
use crate::plan::{Op, RunOp, StepKey};
use crate::rootfs::Layer;
use crate::workshop::Workshop;

/// Records of what steps lacked, by the step without its inputs: the next one is not begun in vain.
const LACKS: &str = "lacks";
/// Version of the records' form; another one counts as none.
const LACKS_FORMAT: u32 = 1;
const USER: &str = "user";
const GROUP: &str = "group";

/// What a build needs that the kernel would refuse this process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    /// An id.
    #[error(transparent)]
    Id(#[from] MissingId),
    /// A device.
    #[error("devices cannot be made here")]
    Devices,
}

impl Lack {
    /// Returns what a step lacked, if that is why it did not run to its end.
    pub fn of_step(error: &ExecError) -> Option<Self> {
        match *error {
            ExecError::IdNotMapped { kind, id, available } => Some(MissingId { kind, id, available }.into()),
            ExecError::NoDevices => Some(Self::Devices),
            _ => None,
        }
    }
}

/// Returns what the kernel refused, if that is behind an error.
pub fn lack_of(error: &(dyn Error + 'static)) -> Option<Lack> {
    causes(error).into_iter().find_map(|cause| {
        let of_step = || cause.downcast_ref().and_then(Lack::of_step);
        let missing = || cause.downcast_ref().cloned().map(|missing: MissingId| Lack::Id(missing));
        cause.downcast_ref().cloned().or_else(missing).or_else(of_step)
    })
}

/// Whether owners are set for want of nothing but ids, so that recording them is another way.
pub fn may_record(workshop: &Workshop) -> bool {
    !workshop.records_owners && matches!(workshop.identity, Ok(Identity::Subordinate { .. }))
}

/// Says what layers have that cannot be set, as far as their listings are known; nothing where all is recorded. A layer is looked
/// at once.
///
/// # Errors
/// The first [`Lack`].
pub fn check_layers(workshop: &Workshop, layers: &[Layer]) -> Result<(), Lack> {
    if !may_record(workshop) {
        return Ok(());
    }
    let can_be_set = || workshop.can_be_set.lock().unwrap_or_else(PoisonError::into_inner);
    for layer in layers {
        if can_be_set().contains(&layer.diff_id) {
            continue;
        }
        let Some(listing) = known_listing(workshop, &layer.diff_id) else { continue };
        listing.items.iter().try_for_each(|(_, item)| match item {
            Item::Entry(entry) => check_entry(workshop, entry),
            _ => Ok(()),
        })?;
        can_be_set().insert(layer.diff_id);
    }
    Ok(())
}

fn check_entry(workshop: &Workshop, entry: &Entry) -> Result<(), Lack> {
    check_ids(workshop, [entry.metadata.uid], [entry.metadata.gid])?;
    if entry.kind.is_device() { Err(Lack::Devices) } else { Ok(()) }
}

/// The same of users and groups.
///
/// # Errors
/// [`Lack::Id`].
pub fn check_ids(
    workshop: &Workshop,
    users: impl IntoIterator<Item = u32>,
    groups: impl IntoIterator<Item = u32>,
) -> Result<(), Lack> {
    if !may_record(workshop) {
        return Ok(());
    }
    let Ok(Identity::Subordinate { uid_count, gid_count }) = workshop.identity else { return Ok(()) };
    let check = |kind, id, available| match u64::from(id) < available {
        true => Ok(()),
        false => Err(Lack::from(MissingId { kind, id, available })),
    };
    users.into_iter().try_for_each(|id| check(USER, id, uid_count))?;
    groups.into_iter().try_for_each(|id| check(GROUP, id, gid_count))
}

/// Remembers what a step lacked.
///
/// # Errors
/// When the store cannot be written.
pub fn remember(store: &Store, base: &KeyBase, op: &RunOp, lack: &Lack) -> Result<(), StoreError> {
    let id = match lack {
        Lack::Id(missing) => Some((missing.kind == GROUP, missing.id)),
        Lack::Devices => None,
    };
    let payload = postcard::to_stdvec(&(LACKS_FORMAT, id)).expect("records serialize to memory");
    store.records().put(LACKS, &step_without_inputs(base, op).0, &payload, &[])
}

/// Says what a step lacked when it ran last, if that is still so.
///
/// # Errors
/// The [`Lack`].
pub fn check_remembered(workshop: &Workshop, base: &KeyBase, op: &RunOp) -> Result<(), Lack> {
    if !may_record(workshop) {
        return Ok(());
    }
    // A record that cannot be read is as good as none: the step finds out again.
    let record =
        workshop.store.records().get(LACKS, &step_without_inputs(base, op).0).ok().and_then(Lookup::hit);
    let stored =
        record.and_then(|record| postcard::from_bytes::<(u32, Option<(bool, u32)>)>(&record.payload).ok());
    match stored {
        Some((LACKS_FORMAT, None)) => Err(Lack::Devices),
        Some((LACKS_FORMAT, Some((false, id)))) => check_ids(workshop, [id], []),
        Some((LACKS_FORMAT, Some((true, id)))) => check_ids(workshop, [], [id]),
        _ => Ok(()),
    }
}

fn step_without_inputs(base: &KeyBase, op: &RunOp) -> StepKey {
    step_key(KeyKind::Definition, base, &Op::Run(Box::new(op.clone())), &Inputs::default())
}
