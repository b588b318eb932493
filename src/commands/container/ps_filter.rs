//! The filters of `kiln ps`. Those of one key are alternatives, those of several all hold, as in Docker.

use std::collections::BTreeMap;

use kiln_builder::container_record::{ContainerRecord, ContainerState};
use kiln_builder::containers::ContainerRow;

use crate::failure::Failure;

/// The keys that are known.
const KEYS: [&str; 8] = ["id", "name", "label", "status", "exited", "ancestor", "before", "since"];
const STATES: [&str; 3] = ["created", "running", "exited"];

/// Filters, by key.
#[derive(Debug, Default)]
pub(super) struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Reads `KEY=VALUE` texts.
    ///
    /// # Errors
    /// Of wrong usage, which names the filter.
    pub(super) fn read(texts: &[String]) -> Result<Self, Failure> {
        let mut filters = Self::default();
        for text in texts {
            let wrong =
                |reason: &str| Failure::usage(format!("cannot use `{text}` with `--filter`: {reason}"));
            let (key, value) =
                text.split_once('=').ok_or_else(|| wrong("it is not of the form KEY=VALUE"))?;
            if !KEYS.contains(&key) {
                return Err(wrong("there is no such filter")
                    .with_hint(format!("the filters are `{}`", KEYS.join("`, `"))));
            }
            if key == "status" && !STATES.contains(&value) {
                return Err(wrong("there is no such state")
                    .with_hint(format!("the states are `{}`", STATES.join("`, `"))));
            }
            if key == "exited" && value.parse::<u8>().is_err() {
                return Err(wrong("it is no exit code"));
            }
            filters.0.entry(key.to_owned()).or_default().push(value.to_owned());
        }
        Ok(filters)
    }

    /// Whether containers that do not run were asked for.
    pub(super) fn speak_of_ended(&self) -> bool {
        self.0.contains_key("exited") || self.0.contains_key("status")
    }

    /// Keeps what all filters let through. `rows` are newest first.
    ///
    /// # Errors
    /// When `before` or `since` names no container.
    pub(super) fn apply(&self, rows: Vec<ContainerRow>) -> Result<Vec<ContainerRow>, Failure> {
        let place = |key: &str| -> Result<Option<usize>, Failure> {
            let Some(text) = self.0.get(key).and_then(|texts| texts.last()) else { return Ok(None) };
            let found = rows.iter().position(|row| is_called(row, text));
            found.map(Some).ok_or_else(|| Failure::usage(format!("no such container: `{text}`")))
        };
        let (before, since) = (place("before")?, place("since")?);
        let is_wanted = |index: usize, row: &ContainerRow| {
            before.is_none_or(|other| index > other)
                && since.is_none_or(|other| index < other)
                && self.0.iter().all(|(key, values)| values.iter().any(|value| holds(row, key, value)))
        };
        let wanted: Vec<bool> = rows.iter().enumerate().map(|(index, row)| is_wanted(index, row)).collect();
        Ok(rows.into_iter().zip(wanted).filter(|(_, is_wanted)| *is_wanted).map(|(row, _)| row).collect())
    }
}

fn is_called(row: &ContainerRow, text: &str) -> bool {
    let is_name = row.known.as_ref().is_ok_and(|(record, _)| record.name == text);
    is_name || !text.is_empty() && row.id.to_string().starts_with(text)
}

fn holds(row: &ContainerRow, key: &str, value: &str) -> bool {
    if key == "id" {
        return row.id.to_string().starts_with(value);
    }
    let Ok((record, state)) = &row.known else { return false };
    match key {
        "name" => record.name.contains(value.trim_start_matches('/')),
        "label" => has_label(record, value),
        "status" => state_word(*state) == value,
        "exited" => *state == ContainerState::Exited(value.parse().unwrap_or_default()),
        "ancestor" => is_of(row, record, value),
        // These are about places in the list.
        _ => true,
    }
}

fn has_label(record: &ContainerRecord, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((name, value)) => record.config.labels.get(name).is_some_and(|found| found == value),
        None => record.config.labels.contains_key(wanted),
    }
}

fn is_of(row: &ContainerRow, record: &ContainerRecord, image: &str) -> bool {
    let hex = image.strip_prefix("sha256:").unwrap_or(image);
    let has_id = hex.len() >= 4 && record.image_id.hex().starts_with(hex);
    let named = image.parse::<kiln_oci::Reference>().ok().map(|name| name.or_latest());
    has_id || record.image_name == image || named.is_some_and(|name| row.image_names.contains(&name))
}

/// Returns Docker's word for a state.
pub(super) fn state_word(state: ContainerState) -> &'static str {
    match state {
        ContainerState::Created => "created",
        ContainerState::Running => "running",
        ContainerState::Exited(_) => "exited",
    }
}
