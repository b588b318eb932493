//! Where a Dockerfile names an image, for messages about that image.

use kiln_frontend::ast::{Dockerfile, Instruction, Operation, Stage};
use kiln_frontend::source::Span;
use kiln_frontend::suggest;

/// Returns first and last byte of the first place that names the image, and the stage that may have been meant there. A name
/// made of variables has no such place.
pub fn named_at(file: &Dockerfile, image: &str) -> (Option<(usize, usize)>, Option<String>) {
    let place = place_of(file, image);
    let names = file.stages.iter().filter_map(Stage::name);
    let meant = place.and_then(|(_, text)| suggest::nearest_in_case(text, names));
    (place.map(|(span, _)| (span.start, span.end)), meant)
}

/// Returns the first place that names the image, with the name as written there.
fn place_of<'a>(file: &'a Dockerfile, image: &str) -> Option<(Span, &'a str)> {
    let is_image = |text: &str| {
        text.parse::<kiln_oci::Reference>().is_ok_and(|name| name.or_latest().familiar() == image)
    };
    let bases = file.stages.iter().map(|stage| &stage.from.operation.base);
    let bases = bases.map(|base| (base.span, base.text.as_str()));
    let sources = file.stages.iter().flat_map(|stage| &stage.instructions).flat_map(read_from);
    bases.chain(sources).find(|(_, text)| is_image(text))
}

/// Returns what an instruction reads files from, besides the context.
fn read_from(instruction: &Instruction) -> Vec<(Span, &str)> {
    match &instruction.operation {
        Operation::Copy(copy) => copy.from.iter().map(|from| (from.span, from.text.as_str())).collect(),
        Operation::Run(run) => {
            let sources = run.mounts.iter().filter_map(|mount| mount.from.as_ref());
            sources.map(|from| (from.span, from.text.as_str())).collect()
        }
        _ => Vec::new(),
    }
}
