//! `kiln history`.

use serde::Serialize;

use super::{Context, platform, print};
use crate::cli::{Format, HistoryArgs};
use crate::failure::{Failure, Kind};
use crate::settings::now_seconds;
use crate::ui::{heading, human, short, table};
use kiln_builder::catalog::{self, HistoryRow};

/// Longest command that is shown, in characters, as in Docker.
const COMMAND_LENGTH_MAX: usize = 44;

/// Shows how an image came to be.
pub(super) fn run(args: &HistoryArgs, context: Context) -> Result<(), Failure> {
    let platform = platform(args.platform.as_ref())?;
    let (workshop, _) = context.open(1)?;
    let rows = catalog::history(&workshop, &args.image, platform.as_ref());
    print(&render(&rows.map_err(|error| Failure::of(Kind::Failed, &error))?, args, now_seconds()))
}

/// One line of history as JSON. The format is number 1; a new field is no new format.
#[derive(Serialize)]
struct Json<'a> {
    format: u32,
    id: Option<String>,
    created: Option<&'a str>,
    created_by: &'a str,
    size_bytes: u64,
    comment: &'a str,
}

/// Returns the lines, newest first.
fn render(rows: &[HistoryRow], args: &HistoryArgs, now: i64) -> String {
    let id = |row: &HistoryRow| match row.id {
        Some(id) if args.no_trunc => id.to_string(),
        Some(id) => short(id),
        None => "<missing>".to_owned(),
    };
    if args.quiet {
        return rows.iter().map(|row| format!("{}\n", id(row))).collect();
    }
    if args.format == Some(Format::Json) {
        return rows.iter().map(json).collect();
    }
    let length = if args.no_trunc { usize::MAX } else { COMMAND_LENGTH_MAX };
    let cells = |row: &HistoryRow| {
        let then = row.created.as_deref().and_then(human::parse_rfc3339);
        let created = match (then, args.human) {
            (None, _) => "N/A".to_owned(),
            (Some(then), true) => human::ago(then, now),
            (Some(then), false) => human::rfc3339(then),
        };
        let size = if args.human { human::size(row.size_bytes) } else { row.size_bytes.to_string() };
        let comment = heading(&row.comment, usize::MAX);
        vec![id(row), created, heading(&row.created_by, length), size, comment]
    };
    let created = if args.human { "CREATED" } else { "CREATED AT" };
    let header = ["IMAGE", created, "CREATED BY", "SIZE", "COMMENT"];
    table::render(&header, &rows.iter().map(cells).collect::<Vec<_>>())
}

fn json(row: &HistoryRow) -> String {
    let line = Json {
        format: 1,
        id: row.id.map(|id| id.to_string()),
        created: row.created.as_deref(),
        created_by: &row.created_by,
        size_bytes: row.size_bytes,
        comment: &row.comment,
    };
    format!("{}\n", serde_json::to_string(&line).expect("this type always serializes"))
}

#[cfg(test)]
mod tests {
    use kiln_oci::Digest;

    use super::*;

    fn args(flags: &str) -> HistoryArgs {
        let words = format!("kiln history {flags} app");
        match crate::cli::parse(words.split_whitespace().map(Into::into)) {
            Ok(crate::cli::Parsed::Command(cli)) => match cli.command {
                crate::cli::Command::History(args) => args,
                _ => panic!("{words}"),
            },
            _ => panic!("{words}"),
        }
    }

    #[test]
    fn history_is_shown_as_docker_shows_it() {
        let row = |id, created: Option<&str>, created_by: &str, size_bytes| HistoryRow {
            id,
            created: created.map(str::to_owned),
            created_by: created_by.to_owned(),
            size_bytes,
            comment: "c".to_owned(),
        };
        let rows = [
            row(Some(Digest::of(b"config")), Some("2024-05-01T00:00:00Z"), "CMD [\"sh\"]", 0),
            row(None, None, "RUN apt-get update &&\tapt-get install -y build-essential", 74_800_000),
        ];
        let now = human::parse_rfc3339("2024-05-22T00:00:00Z").unwrap();
        let expected = "\
IMAGE          CREATED       CREATED BY                                      SIZE      COMMENT
b79606fb3afe   3 weeks ago   CMD [\"sh\"]                                      0B        c
<missing>      N/A           RUN apt-get update && apt-get install -y bui…   74.8MB    c
";
        assert_eq!(render(&rows, &args(""), now), expected);
        assert_eq!(render(&rows, &args("-q"), now), "b79606fb3afe\n<missing>\n");
        let machine = render(&rows[..1], &args("--human=false"), now);
        let expected = "\
IMAGE          CREATED AT             CREATED BY   SIZE      COMMENT
b79606fb3afe   2024-05-01T00:00:00Z   CMD [\"sh\"]   0         c
";
        assert_eq!(machine, expected);
    }
}
