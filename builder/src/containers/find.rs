//! From what people write to a container: its name, its id, or how that begins.

use std::collections::BTreeSet;

use kiln_store::{ContainerId, ContainerUse, HeldContainer, Store};

use super::ContainerError;
use crate::container_record::{ContainerRecord, ContainerState, FoundContainer, all};
use crate::lower::nearest;

/// Returns the container that a text means: by its name, else by its id or the beginning of one.
pub(super) fn locate(store: &Store, text: &str) -> Result<FoundContainer, ContainerError> {
    let mut found = all(store)?;
    // Docker's own names begin so.
    let name = text.strip_prefix('/').unwrap_or(text);
    let has_name = |found: &FoundContainer| found.known.as_ref().is_ok_and(|known| known.record.name == name);
    if let Some(position) = found.iter().position(has_name) {
        return Ok(found.swap_remove(position));
    }
    let begins = |found: &FoundContainer| {
        !text.is_empty() && found.id.to_string().starts_with(&text.to_ascii_lowercase())
    };
    let candidates: Vec<usize> = (0..found.len()).filter(|index| begins(&found[*index])).collect();
    match candidates.as_slice() {
        [only] => Ok(found.swap_remove(*only)),
        [] => {
            let names: Vec<&str> = found
                .iter()
                .filter_map(|found| Some(found.known.as_ref().ok()?.record.name.as_str()))
                .collect();
            let suggestion = nearest(text, names).map(str::to_owned);
            Err(ContainerError::NotFound { container: text.to_owned(), suggestion })
        }
        several => {
            let candidates = several.iter().map(|index| shown(&found[*index])).collect();
            Err(ContainerError::Ambiguous { container: text.to_owned(), candidates })
        }
    }
}

/// What a container is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Its files are read; its command may run meanwhile.
    Read,
    /// Its command is to run.
    Start,
    /// Files are to be put into it.
    CopyInto,
}

impl Purpose {
    fn as_use(self) -> ContainerUse {
        match self {
            Self::Read => ContainerUse::Reading,
            Self::Start | Self::CopyInto => ContainerUse::Changing,
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Start => "start",
            Self::CopyInto => "copy into",
        }
    }
}

/// Holds the container that a text means.
pub(super) fn hold(
    store: &Store,
    text: &str,
    purpose: Purpose,
) -> Result<(HeldContainer, ContainerRecord), ContainerError> {
    let found = locate(store, text)?;
    let Some(held) = store.containers().hold(&found.id, purpose.as_use())? else {
        return Err(in_use(&found, purpose.in_words()));
    };
    // Anew: it may have been changed meanwhile.
    let record = record_of(&held)?;
    Ok((held, record))
}

/// Says why a container cannot be had for something.
pub(super) fn in_use(found: &FoundContainer, doing: &'static str) -> ContainerError {
    let name = name_of(found);
    match &found.known {
        Ok(known) if known.state == ContainerState::Running => ContainerError::Running { doing, name },
        _ => ContainerError::InUse { name },
    }
}

/// Reads the record of a container.
pub(super) fn record_of(held: &HeldContainer) -> Result<ContainerRecord, ContainerError> {
    let damaged = |reason| ContainerError::Damaged { id: held.id(), reason };
    ContainerRecord::of(&held.facts()?).map_err(damaged)
}

/// Returns what a container is called in messages.
pub(super) fn name_of(found: &FoundContainer) -> String {
    found.known.as_ref().map_or_else(|_| found.id.short(), |known| known.record.name.clone())
}

/// Returns the names that containers have.
fn names(store: &Store) -> Result<Vec<(String, ContainerId)>, ContainerError> {
    let named = all(store)?.into_iter().filter_map(|found| Some((found.known.ok()?.record.name, found.id)));
    Ok(named.collect())
}

/// Refuses a name that a container has.
pub(super) fn check_free(store: &Store, name: &str) -> Result<(), ContainerError> {
    match names(store)?.into_iter().find(|(other, _)| other == name) {
        Some((_, id)) => Err(ContainerError::NameTaken { name: name.to_owned(), id }),
        None => Ok(()),
    }
}

/// Returns a name for a container that is being made: the one asked for, if nobody has it.
pub(super) fn free_name(
    store: &Store,
    id: &ContainerId,
    asked: Option<&str>,
) -> Result<String, ContainerError> {
    let Some(name) = asked else {
        let taken: BTreeSet<String> = names(store)?.into_iter().map(|(name, _)| name).collect();
        return Ok(super::name::of(id, &taken));
    };
    check_free(store, name)?;
    Ok(name.to_owned())
}

fn shown(found: &FoundContainer) -> String {
    format!("{} ({})", name_of(found), found.id.short())
}
