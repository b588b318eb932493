//! `kiln cache`.

use std::io::{self, BufWriter, IsTerminal};
use std::path::Path;
use std::sync::Arc;

use kiln_template::{Struct, Value};
use serde::Serialize;

use super::{Context, failed, print, refuse_terminal};
use crate::cli::{
    CacheArgs, CachePart, MountsCommand, MountsExportArgs, MountsImportArgs, MountsLsArgs, MountsRmArgs,
};
use crate::failure::{Failure, Kind};
use crate::listing::{Listing, render};
use crate::settings::now_seconds;
use crate::ui::{human, show_failure, show_text, stderr_style};
use kiln_builder::Workshop;
use kiln_builder::mounts::{
    self, ArchiveWriter, Directory, Exported, FarMounts, LEFT_OUT, MountRow, MountsError, Patience, Replace,
};

/// Does what is to be done with a part of the cache.
pub(super) fn run(args: &CacheArgs, context: Context) -> Result<(), Failure> {
    let CachePart::Mounts(mounts) = &args.part;
    match &mounts.command {
        MountsCommand::Ls(args) => list(args, context),
        MountsCommand::Export(args) => export(args, context),
        MountsCommand::Import(args) => import(args, context),
        MountsCommand::Rm(args) => remove(args, context),
    }
}

fn list(args: &MountsLsArgs, context: Context) -> Result<(), Failure> {
    let (workshop, _) = context.open(1)?;
    let rows = mounts::list(&workshop).map_err(failed)?;
    print(&listed(&rows, args.format.as_deref(), now_seconds())?)
}

/// One directory of a cache mount as JSON. The format is number 1; a new field is no new format.
#[derive(Serialize)]
struct Json<'a> {
    format: u32,
    id: &'a str,
    slot: u32,
    disk_bytes: u64,
    files: u64,
    used: String,
    in_use: bool,
    processes: &'a [u32],
    path: String,
}

const TABLE: &str = "{{.ID}}\t{{.Slot}}\t{{.Size}}\t{{.Files}}\t{{.LastUsed}}\t{{.InUse}}";
const HEADINGS: [(&str, &str); 7] = [
    ("Files", "FILES"),
    ("ID", "ID"),
    ("InUse", "IN USE"),
    ("LastUsed", "LAST USED"),
    ("Path", "PATH"),
    ("Size", "SIZE"),
    ("Slot", "SLOT"),
];

fn listed(rows: &[MountRow], format: Option<&str>, now: i64) -> Result<String, Failure> {
    match format.filter(|format| !format.is_empty()).unwrap_or("table") {
        "json" => Ok(rows.iter().map(json).collect()),
        format => {
            let rows: Vec<Value> = rows.iter().map(|row| value(row, now)).collect();
            render(format, &Listing { table: TABLE, headings: &HEADINGS }, &rows)
        }
    }
}

fn value(row: &MountRow, now: i64) -> Value {
    let users: Vec<String> = row.slot.users.iter().map(u32::to_string).collect();
    let in_use = match (row.slot.is_in_use, users.is_empty()) {
        (false, _) => "-".to_owned(),
        (true, true) => "yes".to_owned(),
        (true, false) => format!("by {}", users.join(", ")),
    };
    Struct::new("cache mount")
        .field("Files", row.files.to_string())
        .field("ID", mounts::shown_id(&row.slot.id))
        .field("InUse", in_use)
        .field("LastUsed", human::ago(used_seconds(row), now))
        .field("Path", row.slot.path.display().to_string())
        .field("Size", human::size(row.disk_bytes))
        .field("Slot", row.slot.slot.to_string())
        .into()
}

fn used_seconds(row: &MountRow) -> i64 {
    row.slot.used_ns.div_euclid(1_000_000_000)
}

fn json(row: &MountRow) -> String {
    let line = Json {
        format: 1,
        id: row.slot.id.strip_prefix('/').unwrap_or(&row.slot.id),
        slot: row.slot.slot,
        disk_bytes: row.disk_bytes,
        files: row.files,
        used: human::rfc3339(used_seconds(row)),
        in_use: row.slot.is_in_use,
        processes: &row.slot.users,
        path: row.slot.path.display().to_string(),
    };
    format!("{}\n", serde_json::to_string(&line).expect("this type always serializes"))
}

fn export(args: &MountsExportArgs, context: Context) -> Result<(), Failure> {
    let output = context.settings.working_directory.join(&args.output);
    let is_stdout = args.output == Path::new("-");
    if is_stdout {
        refuse_terminal("name a file with `-o FILE`, or send it on: `kiln cache mounts export … -o - | …`")?;
    }
    let (workshop, _) = context.open(1)?;
    let write = |error: io::Error| {
        Failure::new(Kind::Failed, format!("cannot write `{}`: {error}", args.output.display()))
    };
    if is_stdout {
        let mut archive = ArchiveWriter::new(BufWriter::new(io::stdout().lock()));
        export_all(&workshop, args, &mut archive)?;
        return archive.finish().map(drop).map_err(write);
    }
    if output.is_dir() {
        return export_all(&workshop, args, &mut Directory::open(&output).map_err(write)?);
    }
    // The file appears as a whole, so that one that was cut off is never taken for an archive.
    let folder = output.parent().unwrap_or(Path::new("/"));
    let file = tempfile::NamedTempFile::new_in(folder).map_err(write)?;
    let mut archive = ArchiveWriter::new(BufWriter::new(file));
    export_all(&workshop, args, &mut archive)?;
    let file = archive.finish().and_then(|out| Ok(out.into_inner()?)).map_err(write)?;
    file.as_file().sync_all().map_err(write)?;
    file.persist(&output).map(drop).map_err(|error| write(error.error))
}

fn export_all(workshop: &Workshop, args: &MountsExportArgs, far: &mut dyn FarMounts) -> Result<(), Failure> {
    for id in &args.ids {
        let stored = mounts::find(workshop, id).map_err(failed)?;
        let exported = mounts::export(workshop, &stored, patience(args.wait), far).map_err(failed)?;
        show_text(&said(&stored, exported));
    }
    Ok(())
}

fn said(id: &str, exported: Exported) -> String {
    let Exported { names, left_out, sent_bytes, is_same } = exported;
    let id = mounts::shown_id(id);
    let what = match is_same {
        true => "nothing changed".to_owned(),
        false => format!("{names} names, {} written", human::size(sent_bytes)),
    };
    match left_out {
        0 => format!("{id}: {what}\n"),
        _ => format!("{id}: {what}; {left_out} left out: {LEFT_OUT}\n"),
    }
}

fn import(args: &MountsImportArgs, context: Context) -> Result<(), Failure> {
    let path = context.settings.working_directory.join(&args.file);
    let is_stdin = args.file == Path::new("-");
    if is_stdin && io::stdin().is_terminal() {
        return Err(Failure::usage("an archive is not read from a terminal"));
    }
    let (workshop, settings) = context.open(1)?;
    let read = |error: io::Error| {
        Failure::new(Kind::Failed, format!("cannot read `{}`: {error}", args.file.display()))
    };
    let store = |error| failed(MountsError::Store(error));
    // Until it is over: the archive's packs.
    let spool = workshop.store.scratch("mounts").map_err(store)?;
    let mut far = match (is_stdin, path.is_dir()) {
        (true, _) => mounts::unpack_archive(io::stdin().lock(), spool.path()).map_err(failed)?,
        (_, true) => Directory::open(&path).map_err(read)?,
        _ => {
            let file = io::BufReader::new(std::fs::File::open(&path).map_err(read)?);
            mounts::unpack_archive(file, spool.path()).map_err(failed)?
        }
    };
    let replace = if args.replace { Replace::Yes } else { Replace::No };
    let entries = far.entries().map_err(read)?;
    let style = stderr_style(&settings);
    let mut last = None;
    for entry in entries {
        match mounts::import(&workshop, &entry, &mut far, replace) {
            Ok(Some(imported)) => {
                print(&format!("{}: {} names\n", mounts::shown_id(&imported.id), imported.names))?
            }
            // It went since the entries were listed.
            Ok(None) => {}
            Err(error) => keep_last(&mut last, failed(error), |before| show_failure(before, style)),
        }
    }
    last.map_or(Ok(()), Err)
}

fn remove(args: &MountsRmArgs, context: Context) -> Result<(), Failure> {
    let (workshop, settings): (Arc<Workshop>, _) = context.open(1)?;
    let style = stderr_style(&settings);
    let ids = match args.all {
        false => args.ids.iter().map(|id| mounts::find(&workshop, id)).collect(),
        true => {
            let rows = mounts::list(&workshop).map_err(failed)?.into_iter();
            let mut ids: Vec<String> = rows.map(|row| row.slot.id).collect();
            ids.dedup();
            ids.into_iter().map(Ok).collect::<Vec<_>>()
        }
    };
    let mut last = None;
    for id in ids {
        let removed = id.and_then(|id| mounts::remove(&workshop, &id, patience(args.wait)).map(|_| id));
        match removed {
            Ok(id) => print(&format!("{}\n", mounts::shown_id(&id)))?,
            Err(error) => keep_last(&mut last, failed(error), |before| show_failure(before, style)),
        }
    }
    last.map_or(Ok(()), Err)
}

/// Keeps a failure until the end, and shows the one before: the others go on.
fn keep_last(last: &mut Option<Failure>, failure: Failure, show: impl FnOnce(&Failure)) {
    if let Some(before) = last.replace(failure) {
        show(&before);
    }
}

fn patience(wait: bool) -> Patience {
    if wait { Patience::Endless } else { Patience::None }
}
