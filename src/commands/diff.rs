//! `kiln diff`.

use std::fmt::Write;
use std::sync::Arc;

use kiln_builder::Workshop;
use kiln_builder::catalog::{self, CatalogError, Compared, Comparison, FieldDifference, LayerRow};
use kiln_builder::containers;
use kiln_builder::difference::{FileChange, FileDifference};
use kiln_builder::progress::Progress;
use serde::Serialize;
use serde_json::Value;

use super::{Context, interrupt, platform, print, transfer_display, with_display_abandoning};
use crate::cli::{DiffArgs, Format};
use crate::failure::{Failure, Kind};
use crate::ui::file_json::JsonFile;
use crate::ui::{heading, human, short, visible};

/// Longest instruction that is shown, in characters.
const INSTRUCTION_LENGTH_MAX: usize = 60;
/// Shows what differs between two images; returns the exit code.
pub(super) async fn run(args: &DiffArgs, context: Context) -> Result<u8, Failure> {
    let platform = platform(args.platform.as_ref())?;
    let (workshop, settings) = context.open(1)?;
    let display = transfer_display(false, &settings)?;
    let interrupt = interrupt()?;
    let progress: Arc<dyn Progress> = display.clone();
    let work = async {
        let images = [args.before.as_str(), args.after.as_deref().unwrap_or_default()];
        let compared = catalog::compare(&workshop, images, platform.as_ref(), &progress).await;
        compared.map_err(|error| failure(&workshop, &error))
    };
    let comparison = with_display_abandoning(&display, &interrupt, work).await?;
    display.finish(None);
    print(&match args.format {
        Some(Format::Json) => json(&comparison),
        Some(Format::Table) | None => text(&comparison),
    })?;
    // Not that of a failure: a script must not take an image that is not there for one that differs.
    Ok(if args.exit_code && !is_same(&comparison) { Kind::Findings.exit_code() } else { 0 })
}

/// Says of what is no image whether it is a container.
fn failure(workshop: &Workshop, error: &CatalogError) -> Failure {
    let failure = Failure::of(Kind::Failed, error);
    match error {
        CatalogError::NotFound { image, .. } if containers::inspect(workshop, image).is_ok() => failure
            .with_hint(format!(
                "`{image}` is a container: `kiln diff {image}` shows what was changed in it, and `kiln commit {image}` makes an image of \
                 it that can be compared with others"
            )),
        _ => failure,
    }
}

fn is_same(comparison: &Comparison) -> bool {
    comparison.before.manifest == comparison.after.manifest
}

/// Returns the layers of either image that lie above those they have in common.
fn own_layers(comparison: &Comparison) -> [&[LayerRow]; 2] {
    let own = |image: &Compared| image.layers.len().min(comparison.common_layers);
    let (before, after) = (&comparison.before, &comparison.after);
    [&before.layers[own(before)..], &after.layers[own(after)..]]
}

fn text(comparison: &Comparison) -> String {
    if is_same(comparison) {
        return "the images are the same\n".to_owned();
    }
    let mut out = String::new();
    let mut line = |text: &str| out.extend([&visible(text), "\n"]);
    for (mark, image) in [("---", &comparison.before), ("+++", &comparison.after)] {
        line(&format!("{mark} {} {}", short(image.id), image.platform));
    }
    for (title, fields) in [("configuration:", &comparison.config), ("manifest:", &comparison.manifest)] {
        if !fields.is_empty() {
            line(title);
        }
        fields.iter().for_each(|field| line(&field_line(field)));
    }
    let own = own_layers(comparison);
    if own.iter().any(|layers| !layers.is_empty()) {
        line(&format!("layers: {} in common", comparison.common_layers));
    }
    for (mark, layers) in ["-", "+"].into_iter().zip(own) {
        for layer in layers {
            let instruction = heading(&layer.created_by, INSTRUCTION_LENGTH_MAX);
            let size = human::size(layer.size_bytes);
            line(format!("  {mark} {} {size} {instruction}", short(layer.diff_id.0)).trim_end());
        }
    }
    if !comparison.files.is_empty() {
        line(&format!("files: {}", counts(&comparison.files)));
    }
    comparison.files.iter().for_each(|file| line(&file_line(file)));
    if says_nothing(comparison) {
        line("the documents say the same in other bytes");
    }
    out
}

/// Whether nothing but the bytes of the documents differs.
fn says_nothing(comparison: &Comparison) -> bool {
    let Comparison { config, manifest, files, .. } = comparison;
    let has_layers = own_layers(comparison).iter().any(|layers| !layers.is_empty());
    config.is_empty() && manifest.is_empty() && files.is_empty() && !has_layers
}

fn field_line(field: &FieldDifference) -> String {
    let value = |value: &Option<Value>| value.as_ref().map_or_else(|| "none".to_owned(), Value::to_string);
    format!("  {}: {} → {}", field.field, value(&field.before), value(&field.after))
}

fn counts(files: &[FileDifference]) -> String {
    let count = |is: fn(&FileChange) -> bool| files.iter().filter(|file| is(&file.change)).count();
    let added = count(|change| matches!(change, FileChange::Added));
    let deleted = count(|change| matches!(change, FileChange::Deleted));
    format!("{added} added, {} changed, {deleted} deleted", files.len() - added - deleted)
}

/// Returns a line of Docker's form, `C /path`, with the reasons.
fn file_line(file: &FileDifference) -> String {
    let path = if file.path == "." { "" } else { &file.path };
    match &file.change {
        FileChange::Added => format!("  A /{path} ({})", file.noun),
        FileChange::Deleted => format!("  D /{path} ({})", file.noun),
        FileChange::Changed(reasons) => {
            let mut line = format!("  C /{path} (");
            for (index, reason) in reasons.iter().enumerate() {
                let separator = if index == 0 { "" } else { "; " };
                let shown =
                    |value| if reason.aspect == CONTENT { short_content(value) } else { value.to_owned() };
                let (aspect, before, after) = (&reason.aspect, shown(&reason.before), shown(&reason.after));
                write!(line, "{separator}{aspect} {before} → {after}").expect("text grows in memory");
            }
            line + ")"
        }
    }
}

/// The aspect that has a digest.
const CONTENT: &str = "content";

/// Shortens the digest of a content.
fn short_content(value: &str) -> String {
    const DIGITS: usize = 12;
    match value.split_once("blake3:") {
        Some((size, hex)) => format!("{size}{}", hex.get(..DIGITS).unwrap_or(hex)),
        None => value.to_owned(),
    }
}

/// The document of `--format json`. The format is number 1; a new field is no new format.
#[derive(Serialize)]
struct Json<'a> {
    format: u32,
    before: JsonImage<'a>,
    after: JsonImage<'a>,
    config: Vec<JsonField<'a>>,
    manifest: Vec<JsonField<'a>>,
    common_layers: usize,
    files: Vec<JsonFile<'a>>,
}

#[derive(Serialize)]
struct JsonImage<'a> {
    id: String,
    manifest: String,
    platform: String,
    layers: Vec<JsonLayer<'a>>,
}

#[derive(Serialize)]
struct JsonLayer<'a> {
    diff_id: String,
    digest: String,
    size_bytes: u64,
    created_by: &'a str,
}

#[derive(Serialize)]
struct JsonField<'a> {
    field: &'a str,
    before: &'a Option<Value>,
    after: &'a Option<Value>,
}

fn json(comparison: &Comparison) -> String {
    let document = Json {
        format: 1,
        before: json_image(&comparison.before),
        after: json_image(&comparison.after),
        config: comparison.config.iter().map(json_field).collect(),
        manifest: comparison.manifest.iter().map(json_field).collect(),
        common_layers: comparison.common_layers,
        files: comparison.files.iter().map(JsonFile::of).collect(),
    };
    format!("{}\n", serde_json::to_string_pretty(&document).expect("these types always serialize"))
}

fn json_field(field: &FieldDifference) -> JsonField<'_> {
    JsonField { field: &field.field, before: &field.before, after: &field.after }
}

fn json_image(image: &Compared) -> JsonImage<'_> {
    JsonImage {
        id: image.id.to_string(),
        manifest: image.manifest.to_string(),
        platform: image.platform.to_string(),
        layers: image.layers.iter().map(json_layer).collect(),
    }
}

fn json_layer(layer: &LayerRow) -> JsonLayer<'_> {
    JsonLayer {
        diff_id: layer.diff_id.to_string(),
        digest: layer.blob.to_string(),
        size_bytes: layer.size_bytes,
        created_by: &layer.created_by,
    }
}
