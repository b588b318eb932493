//! `kiln ps`: containers, in Docker's columns.

use kiln_builder::container_record::{ContainerMountKind, ContainerNetwork, ContainerRecord, ContainerState};
use kiln_builder::containers::{ContainerRow, list};
use serde_json::{Value, json};

use super::failed;
use super::ps_filter::{Filters, state_word};
use crate::cli::{Format, PsArgs};
use crate::commands::{Context, print};
use crate::failure::Failure;
use crate::settings::now_seconds;
use crate::ui::{heading, human, table};

/// Longest command that is shown, in characters.
const COMMAND_LENGTH_MAX: usize = 20;
const HEADER: [&str; 7] = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"];

/// Lists containers.
pub(crate) fn ps(args: &PsArgs, context: Context) -> Result<(), Failure> {
    let filters = Filters::read(&args.filter)?;
    let (workshop, _) = context.open(1)?;
    let rows = list(&workshop).map_err(failed)?;
    print(&render(rows, args, &filters, now_seconds())?)
}

fn render(rows: Vec<ContainerRow>, args: &PsArgs, filters: &Filters, now: i64) -> Result<String, Failure> {
    let last = if args.latest { Some(1) } else { args.last };
    let mut rows = filters.apply(rows)?;
    let is_running = |row: &ContainerRow| matches!(row.known, Ok((_, ContainerState::Running)));
    rows.retain(|row| args.all || last.is_some() || filters.speak_of_ended() || is_running(row));
    rows.truncate(last.unwrap_or(usize::MAX));
    let shown: Vec<Shown> = rows.iter().map(|row| Shown::of(row, args.no_trunc, now)).collect();
    if args.quiet {
        return Ok(shown.iter().map(|row| format!("{}\n", row.id)).collect());
    }
    if args.format == Some(Format::Json) {
        return Ok(shown.iter().map(|row| format!("{}\n", row.as_json())).collect());
    }
    let cells = |row: &Shown| {
        [&row.id, &row.image, &row.command, &row.running_for, &row.status, &row.ports, &row.names]
            .map(String::clone)
            .to_vec()
    };
    Ok(table::render(&HEADER, &shown.iter().map(cells).collect::<Vec<_>>()))
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
    ports: String,
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
        let mount = |mount: &kiln_builder::container_record::ContainerMount| match &mount.kind {
            ContainerMountKind::Bind { source, .. } => Some(source.to_string_lossy().into_owned()),
            ContainerMountKind::Tmpfs { .. } => None,
        };
        let mounts: Vec<String> = record.surroundings.mounts.iter().filter_map(mount).collect();
        Self {
            id,
            image: record.image_name.clone(),
            command: command(&record.argv, is_whole),
            created_at: human::rfc3339(record.created()),
            running_for: human::ago(record.created(), now),
            status: status(record, *state, now),
            state: state_word(*state).to_owned(),
            ports: String::new(),
            names: record.name.clone(),
            labels: labels.collect::<Vec<_>>().join(","),
            mounts: mounts.join(","),
            networks: match record.surroundings.network {
                ContainerNetwork::Host => "host".to_owned(),
                ContainerNetwork::None => "none".to_owned(),
            },
        }
    }

    /// One container as JSON, in Docker's words. The format is number 1; a new field is no new format.
    fn as_json(&self) -> Value {
        json!({
            "Command": self.command, "CreatedAt": self.created_at, "Format": 1, "ID": self.id, "Image": self.image,
            "Labels": self.labels, "Mounts": self.mounts, "Names": self.names, "Networks": self.networks,
            "Ports": self.ports, "RunningFor": self.running_for, "State": self.state, "Status": self.status,
        })
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
