//! `kiln df`: what the store takes, and what of it could go.

use kiln_builder::upkeep::{Bytes, DiskUsage, ImageUsage, Row, Use, disk_usage};
use kiln_oci::Reference;
use serde_json::{Value, json};

use super::prune::{fate_word, thing_name};
use super::{Context, print};
use crate::cli::{DfArgs, Format};
use crate::failure::{Failure, Kind};
use crate::settings::now_seconds;
use crate::ui::{human, short, show_text, table};

/// Shows what the store takes.
pub(super) fn run(args: &DfArgs, context: Context) -> Result<(), Failure> {
    let (workshop, _) = context.open(1)?;
    let usage = disk_usage(&workshop.store).map_err(|error| Failure::of(Kind::Failed, &error))?;
    if usage.unreadable > 0 {
        let count = usage.unreadable;
        show_text(&format!("warning: {count} directories may not be read, and are not counted\n"));
    }
    print(&match args.format {
        Some(Format::Json) => as_json(&usage, args.verbose),
        _ => as_text(&usage, args.verbose, now_seconds()),
    })
}

fn as_text(usage: &DiskUsage, is_verbose: bool, now: i64) -> String {
    let mut text = table::render(&["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"], &rows(usage));
    if is_verbose {
        text += "\nImages:\n\n";
        let header = ["REPOSITORY", "TAG", "IMAGE", "SHARED SIZE", "UNIQUE SIZE"];
        text += &table::render(&header, &images(&usage.images));
        text += "\nEverything else:\n\n";
        text += &table::render(&["TYPE", "NAME", "SIZE", "LAST USED", "STATE"], &things(usage, now));
    }
    text
}

fn rows(usage: &DiskUsage) -> Vec<Vec<String>> {
    let row = |(of, row): (&Use, &Row)| {
        let counts = match of {
            Use::Own => [String::new(), String::new()],
            _ => [row.count.to_string(), row.active.to_string()],
        };
        let [count, active] = counts;
        vec![title(*of).to_owned(), count, active, size(row.bytes), reclaimable(row)]
    };
    let all: Bytes = usage.rows.values().map(|row| row.reclaimable).sum();
    let total = Row { bytes: usage.total, reclaimable: all, ..Row::default() };
    let last = vec!["All".to_owned(), String::new(), String::new(), size(total.bytes), reclaimable(&total)];
    usage.rows.iter().map(row).chain([last]).collect()
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
