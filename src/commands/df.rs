//! `kiln df`: what the store takes, and what of it could go.

use kiln_builder::upkeep::{Bytes, DiskUsage, ImageUsage, Row, Use, disk_usage};
use kiln_oci::Reference;
use kiln_template::Struct;
use serde_json::{Value, json};

use super::prune::{fate_word, thing_name};
use super::{Context, print};
use crate::cli::DfArgs;
use crate::failure::{Failure, Kind};
use crate::listing::{Listing, render};
use crate::settings::now_seconds;
use crate::ui::{human, short, show_text, table};

/// Shows what the store takes.
pub(super) fn run(args: &DfArgs, context: Context) -> Result<(), Failure> {
    let format = args.format.as_deref().filter(|format| !format.is_empty()).unwrap_or("table");
    if args.verbose && !["table", "json"].contains(&format) {
        return Err(Failure::usage(
            "`--verbose` shows tables of several kinds, which have no template in common",
        )
        .with_hint("`--verbose --format json` has all of it"));
    }
    let (workshop, _) = context.open(1)?;
    let usage = disk_usage(&workshop.store).map_err(|error| Failure::of(Kind::Failed, &error))?;
    if usage.unreadable > 0 {
        let count = usage.unreadable;
        show_text(&format!("warning: {count} directories may not be read, and are not counted\n"));
    }
    print(&match format {
        "json" => as_json(&usage, args.verbose),
        format => as_text(&usage, format, args.verbose, now_seconds())?,
    })
}

/// Docker's table and headings.
const TABLE: &str = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
const HEADINGS: [(&str, &str); 5] = [
    ("Active", "ACTIVE"),
    ("Reclaimable", "RECLAIMABLE"),
    ("Size", "SIZE"),
    ("TotalCount", "TOTAL"),
    ("Type", "TYPE"),
];

fn as_text(usage: &DiskUsage, format: &str, is_verbose: bool, now: i64) -> Result<String, Failure> {
    let mut text = render(format, &Listing { table: TABLE, headings: &HEADINGS }, &rows(usage))?;
    if is_verbose {
        text += "\nImages:\n\n";
        let header = ["REPOSITORY", "TAG", "IMAGE", "SHARED SIZE", "UNIQUE SIZE"];
        text += &table::render(&header, &images(&usage.images));
        text += "\nEverything else:\n\n";
        text += &table::render(&["TYPE", "NAME", "SIZE", "LAST USED", "STATE"], &things(usage, now));
    }
    Ok(text)
}

/// Returns what each kind of thing takes under Docker's names, and all of it.
fn rows(usage: &DiskUsage) -> Vec<kiln_template::Value> {
    let value = |title: &str, [count, active]: [String; 2], row: &Row| {
        Struct::new("kind of thing")
            .field("Active", active)
            .field("Reclaimable", reclaimable(row))
            .field("Size", size(row.bytes))
            .field("TotalCount", count)
            .field("Type", title)
            .into()
    };
    let not_counted = || [String::new(), String::new()];
    let row = |(of, row): (&Use, &Row)| {
        let counts = match of {
            Use::Own => not_counted(),
            _ => [row.count.to_string(), row.active.to_string()],
        };
        value(title(*of), counts, row)
    };
    let all: Bytes = usage.rows.values().map(|row| row.reclaimable).sum();
    let total = Row { bytes: usage.total, reclaimable: all, ..Row::default() };
    usage.rows.iter().map(row).chain([value("All", not_counted(), &total)]).collect()
}

fn reclaimable(row: &Row) -> String {
    let part = row.reclaimable.allocated.saturating_mul(100).checked_div(row.bytes.allocated).unwrap_or(0);
    match row.reclaimable.allocated {
        0 => size(row.reclaimable),
        _ => format!("{} ({part}%)", size(row.reclaimable)),
    }
}

fn size(bytes: Bytes) -> String {
    human::size(bytes.allocated)
}

fn title(of: Use) -> &'static str {
    match of {
        Use::Images => "Images",
        Use::Cache => "Build cache",
        Use::Unpacked => "Unpacked layers",
        Use::CacheMounts => "Cache mounts",
        Use::Repositories => "Git repositories",
        Use::Containers => "Containers",
        Use::Logs => "Logs",
        Use::Partial => "Partial downloads",
        Use::Scratch => "Scratch",
        Use::Damaged => "Damaged",
        Use::Own => "Store itself",
    }
}

fn word(of: Use) -> &'static str {
    match of {
        Use::Images => "images",
        Use::Cache => "cache",
        Use::Unpacked => "unpacked",
        Use::CacheMounts => "cachemounts",
        Use::Repositories => "repositories",
        Use::Containers => "containers",
        Use::Logs => "logs",
        Use::Partial => "partial",
        Use::Scratch => "scratch",
        Use::Damaged => "damaged",
        Use::Own => "own",
    }
}

fn images(images: &[ImageUsage]) -> Vec<Vec<String>> {
    let line = |image: &ImageUsage, name: Option<&Reference>| {
        let none = || "<none>".to_owned();
        vec![
            name.map_or_else(none, Reference::familiar_name),
            name.and_then(Reference::tag).map_or_else(none, str::to_owned),
            short(image.digest),
            size(image.shared),
            size(image.unique),
        ]
    };
    let lines = images.iter().flat_map(|image| match image.names.as_slice() {
        [] => vec![line(image, None)],
        names => names.iter().map(|name| line(image, Some(name))).collect(),
    });
    lines.collect()
}

fn things(usage: &DiskUsage, now: i64) -> Vec<Vec<String>> {
    let others = usage.things.iter().filter(|(of, _)| *of != Use::Images);
    let line = |(_, verdict): &(Use, kiln_builder::upkeep::Verdict)| {
        let (kind, name) = thing_name(&verdict.item);
        vec![
            kind.to_owned(),
            name,
            size(verdict.bytes),
            super::prune::last_used(verdict, now),
            if verdict.fate.goes() { "reclaimable".to_owned() } else { fate_word(&verdict.fate) },
        ]
    };
    others.map(line).collect()
}

/// One object a line. The format is number 1; a new field or a new kind of object is no new format.
fn as_json(usage: &DiskUsage, is_verbose: bool) -> String {
    let bytes = |bytes: Bytes| json!({ "allocated": bytes.allocated, "apparent": bytes.apparent });
    let mut lines: Vec<Value> = usage
        .rows
        .iter()
        .map(|(of, row)| {
            json!({
                "format": 1, "type": word(*of), "count": row.count, "active": row.active,
                "size": bytes(row.bytes), "reclaimable": bytes(row.reclaimable),
            })
        })
        .collect();
    lines.push(json!({ "format": 1, "type": "all", "size": bytes(usage.total) }));
    if is_verbose {
        lines.extend(usage.images.iter().map(|image| {
            let names: Vec<String> = image.names.iter().map(ToString::to_string).collect();
            json!({
                "format": 1, "type": "image", "names": names, "digest": image.digest.to_string(),
                "shared": bytes(image.shared), "unique": bytes(image.unique),
            })
        }));
        lines.extend(usage.things.iter().map(|(_, verdict)| super::prune::as_json(verdict)));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}
