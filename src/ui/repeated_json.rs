//! A step that was done a second time, as JSON.

use std::time::Duration;

use kiln_builder::repeated::{DifferingFile, Verdict};
use serde::Serialize;

use super::file_json::JsonFile;

/// What the event says.
#[derive(Serialize)]
pub(super) struct RepeatedText<'a> {
    step: u32,
    name: &'a str,
    took: f64,
    verdict: &'static str,
    #[serde(flatten)]
    more: More<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum More<'a> {
    Same {},
    Differs { files: Vec<File<'a>>, count: usize },
    Failed { message: &'a str, log: String },
}

#[derive(Serialize)]
struct File<'a> {
    #[serde(flatten)]
    file: JsonFile<'a>,
    first_byte: Option<Byte<'a>>,
}

#[derive(Serialize)]
struct Byte<'a> {
    offset: u64,
    sizes: [u64; 2],
    bytes: [Option<u8>; 2],
    text: &'a Option<[String; 2]>,
    hint: Option<&'static str>,
}

/// Returns what the event says of a step.
pub(super) fn repeated<'a>(
    step: u32,
    name: &'a str,
    verdict: &'a Verdict,
    took: Duration,
) -> RepeatedText<'a> {
    let (word, more) = match verdict {
        Verdict::Same => ("same", More::Same {}),
        Verdict::Differs(differing) => {
            let files = differing.files.iter().map(file).collect();
            ("differs", More::Differs { files, count: differing.count })
        }
        Verdict::Failed { message, log } => {
            ("failed", More::Failed { message, log: log.display().to_string() })
        }
    };
    RepeatedText { step, name, took: super::json::seconds(took), verdict: word, more }
}

fn file(file: &DifferingFile) -> File<'_> {
    let first_byte = file.first_byte.as_ref().map(|first| Byte {
        offset: first.offset,
        sizes: first.sizes,
        bytes: first.bytes,
        text: &first.text,
        hint: first.hint,
    });
    File { file: JsonFile::of(&file.difference), first_byte }
}
