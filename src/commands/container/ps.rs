//! `kiln ps`: containers, in Docker's columns and under the names that Docker's templates have for them.

use std::collections::BTreeMap;

use kiln_builder::Workshop;
use kiln_builder::container_record::{
    ContainerMount, ContainerMountKind, ContainerNetwork, ContainerRecord, ContainerState,
};
use kiln_builder::containers::{ContainerRow, list};
use kiln_builder::upkeep::{Item, disk_usage};
use kiln_template::{Struct, Value};

use super::failed;
use super::ps_filter::{Filters, state_word};
use crate::cli::PsArgs;
use crate::commands::{Context, print};
use crate::failure::{Failure, Kind};
use crate::listing::{Listing, render};
use crate::settings::now_seconds;
use crate::ui::{heading, human};

/// Longest command that is shown, in characters.
const COMMAND_LENGTH_MAX: usize = 20;

/// Docker's table, and with `--size`.
const TABLE: &str = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
const TABLE_OF_SIZES: &str =
    "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}";

/// Docker's headings.
const HEADINGS: [(&str, &str); 14] = [
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Labels", "LABELS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Mounts", "MOUNTS"),
    ("Names", "NAMES"),
    ("Networks", "NETWORKS"),
    ("Ports", "PORTS"),
    ("RunningFor", "CREATED"),
    ("Size", "SIZE"),
    ("State", "STATE"),
    ("Status", "STATUS"),
];

/// Lists containers.
pub(crate) fn ps(args: &PsArgs, context: Context) -> Result<(), Failure> {
    let filters = Filters::read(&args.filter)?;
    let (workshop, _) = context.open(1)?;
    let rows = selected(list(&workshop).map_err(failed)?, args, &filters)?;
    let sizes = if wants_sizes(args) { sizes(&workshop)? } else { BTreeMap::new() };
    print(&listed(&rows, args, &sizes, now_seconds())?)
}

fn selected(rows: Vec<ContainerRow>, args: &PsArgs, filters: &Filters) -> Result<Vec<ContainerRow>, Failure> {
    let last = if args.latest { Some(1) } else { args.last };
    let mut rows = filters.apply(rows)?;
    let is_running = |row: &ContainerRow| matches!(row.known, Ok((_, ContainerState::Running)));
    rows.retain(|row| args.all || last.is_some() || filters.speak_of_ended() || is_running(row));
    rows.truncate(last.unwrap_or(usize::MAX));
    Ok(rows)
}

/// Whether somebody looks at sizes. To know them takes a walk through the store, so they are found out for nobody else; Docker
/// reads templates for the word, too.
fn wants_sizes(args: &PsArgs) -> bool {
    args.size || args.format.as_ref().is_some_and(|format| format.contains(".Size"))
}

/// Returns how much was written into each container, by id.
fn sizes(workshop: &Workshop) -> Result<BTreeMap<String, u64>, Failure> {
    let usage = disk_usage(&workshop.store).map_err(|error| Failure::of(Kind::Failed, &error))?;
    let size = |verdict: &kiln_builder::upkeep::Verdict| match &verdict.item {
        Item::Container(id) => Some((id.to_string(), verdict.bytes.apparent)),
        _ => None,
    };
    Ok(usage.things.iter().filter_map(|(_, verdict)| size(verdict)).collect())
}

fn listed(
    rows: &[ContainerRow],
    args: &PsArgs,
    sizes: &BTreeMap<String, u64>,
    now: i64,
) -> Result<String, Failure> {
    let format = args.format.as_deref().filter(|format| !format.is_empty()).unwrap_or("table");
    let format = if args.quiet { "{{.ID}}" } else { format };
    let row = |row: &ContainerRow| {
        let size = sizes.get(&row.id.to_string()).copied();
        Shown::of(row, args.no_trunc, now).value(size)
    };
    let rows: Vec<Value> = rows.iter().map(row).collect();
    let table = if args.size { TABLE_OF_SIZES } else { TABLE };
    render(format, &Listing { table, headings: &HEADINGS }, &rows)
}

/// What is shown of one container: the fields that templates of Docker know.
#[derive(Debug, Default)]
struct Shown {
    id: String,
    image: String,
    command: String,
    created_at: String,
    running_for: String,
    status: String,
    state: String,
    names: String,
    labels: String,
    mounts: String,
    networks: String,
}

impl Shown {
    fn of(row: &ContainerRow, is_whole: bool, now: i64) -> Self {
        let id = if is_whole { row.id.to_string() } else { row.id.short() };
        let (record, state) = match &row.known {
            Ok(known) => known,
            Err(_) => {
                return Self {
                    id,
                    status: "Damaged".to_owned(),
                    state: "damaged".to_owned(),
                    ..Self::default()
                };
            }
        };
        let labels = record.config.labels.iter().map(|(name, value)| format!("{name}={value}"));
        let mount = |mount: &ContainerMount| match &mount.kind {
            ContainerMountKind::Bind { source, .. } => Some(source.to_string_lossy().into_owned()),
            ContainerMountKind::Tmpfs { .. } => None,
        };
        let mounts: Vec<String> = record.surroundings.mounts.iter().filter_map(mount).collect();
        Self {
            id,
            image: record.image_name.clone(),
            command: command(&record.argv, is_whole),
            created_at: human::go_time(record.created()),
            running_for: human::ago(record.created(), now),
            status: status(record, *state, now),
            state: state_word(*state).to_owned(),
            names: record.name.clone(),
            labels: labels.collect::<Vec<_>>().join(","),
            mounts: mounts.join(","),
            networks: match record.surroundings.network {
                ContainerNetwork::Host => "host".to_owned(),
                ContainerNetwork::None => "none".to_owned(),
            },
        }
    }

    /// Returns the container under Docker's names. No port is published, and no volume has a name. What was not looked at is `N/A`.
    fn value(self, size: Option<u64>) -> Value {
        Struct::new("container")
            .field("Command", self.command)
            .field("CreatedAt", self.created_at)
            .field("ID", self.id)
            .field("Image", self.image)
            .field("Labels", self.labels)
            .field("LocalVolumes", "0")
            .field("Mounts", self.mounts)
            .field("Names", self.names)
            .field("Networks", self.networks)
            .field("Ports", "")
            .field("RunningFor", self.running_for)
            .field("Size", size.map_or_else(|| "N/A".to_owned(), human::size))
            .field("State", self.state)
            .field("Status", self.status)
            .into()
    }
}

/// Returns a command in quotes, cut as Docker cuts it.
fn command(argv: &[String], is_whole: bool) -> String {
    let text = heading(&argv.join(" "), usize::MAX);
    let is_long = text.chars().count() > COMMAND_LENGTH_MAX;
    match is_long && !is_whole {
        true => format!("\"{}…\"", text.chars().take(COMMAND_LENGTH_MAX - 1).collect::<String>()),
        false => format!("\"{text}\""),
    }
}

fn status(record: &ContainerRecord, state: ContainerState, now: i64) -> String {
    let since = |then: Option<i64>| human::ago(then.unwrap_or(record.created()), now);
    match state {
        ContainerState::Created => "Created".to_owned(),
        ContainerState::Running => {
            let since = since(record.started);
            format!("Up {}", since.strip_suffix(" ago").unwrap_or(&since))
        }
        ContainerState::Exited(code) => format!("Exited ({code}) {}", since(record.ended.or(record.started))),
    }
}
