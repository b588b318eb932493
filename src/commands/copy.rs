//! `kiln copy`: the new name with its digest on standard output, all else on standard error.

use std::sync::Arc;

use kiln_builder::progress::Progress;
use kiln_builder::remote::{CopiedImage, CopyImage, Fate, TagList, TagOrder, copy};
use kiln_oci::{Descriptor, Reference};
use kiln_registry::Client;

use super::all_tags::{Outcome, told};
use super::{
    Context, client_config_telling, interrupt, platform, print, reference, transfer_display,
    with_display_abandoning,
};
use crate::cli::CopyArgs;
use crate::failure::{Failure, Kind};
use crate::ui::{show_text, stderr_style};

/// Copies an image.
pub(super) async fn run(args: CopyArgs, context: Context) -> Result<(), Failure> {
    let (from, to) = (name(&args.source)?, name(&args.destination)?);
    let platform = platform(args.platform.as_ref())?;
    let display = transfer_display(args.quiet, &context.settings)?;
    let progress: Arc<dyn Progress> = display.clone();
    let client = Client::new(client_config_telling(&context.settings, &progress));
    let interrupt = interrupt()?;
    let request = CopyImage { from, to, platform };
    if args.all_tags {
        let work = all(&client, &request, &progress);
        let outcome = with_display_abandoning(&display, &interrupt, work).await?;
        display.finish(None);
        return told(&outcome, "copied", stderr_style(&context.settings), line);
    }
    let request = CopyImage { from: request.from.or_latest(), ..with_tag_of_source(request) };
    let work =
        async { copy(&client, &request, &progress).await.map_err(|error| Failure::of(Kind::Failed, &error)) };
    let copied = with_display_abandoning(&display, &interrupt, work).await?;
    display.finish(None);
    if args.quiet {
        return print(&format!("{}\n", copied.image.digest));
    }
    show_text(&summary(&copied));
    print(&(line(&request.to.or_latest(), &copied.image) + "\n"))
}

fn line(name: &Reference, image: &Descriptor) -> String {
    format!("{}: digest: {} size: {}", name.familiar(), image.digest, image.size)
}

/// Reads a name. Skopeo's users write `docker://` before it.
fn name(text: &str) -> Result<Reference, Failure> {
    reference(text.strip_prefix("docker://").unwrap_or(text))
}

/// Where the new name has no tag, it is that of the image.
fn with_tag_of_source(request: CopyImage) -> CopyImage {
    let has_one = request.to.tag().is_some() || request.to.digest().is_some();
    let to = match request.from.tag().filter(|_| !has_one).map(|tag| request.to.with_tag(tag)) {
        Some(Ok(to)) => to,
        _ => match request.from.digest().filter(|_| !has_one && request.platform.is_none()) {
            Some(digest) => request.to.with_digest(digest),
            None => request.to.clone(),
        },
    };
    CopyImage { to, ..request }
}

async fn all(
    client: &Client,
    request: &CopyImage,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<Outcome>, Failure> {
    for name in [&request.from, &request.to] {
        super::all_tags::refuse_tag(name)?;
    }
    let failed = |error| Failure::of(Kind::Failed, &error);
    let list = TagList::fetch(client, &request.from, TagOrder::Name).await.map_err(failed)?;
    let mut outcomes = Vec::new();
    for tag in &list.tags {
        let tagged = |name: &Reference| name.with_tag(tag).expect("the client lists nothing but tags");
        let one = CopyImage { from: tagged(&request.from), to: tagged(&request.to), platform: None };
        let copied = copy(client, &one, progress).await.map_err(failed);
        outcomes.push(Outcome { name: one.to, result: copied.map(|copied| copied.image) });
    }
    Ok(outcomes)
}

fn summary(copied: &CopiedImage) -> String {
    let count = |wanted: Fate| copied.blobs.values().filter(|fate| **fate == wanted).count();
    let parts = [
        (Fate::Sent, "copied"),
        (Fate::Mounted, "mounted"),
        (Fate::There, "already there"),
        (Fate::LeftOut, "left out, since they may not be distributed"),
    ];
    let said: Vec<String> = parts
        .into_iter()
        .map(|(fate, word)| (count(fate), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    if said.is_empty() {
        "Blobs: all already there\n".to_owned()
    } else {
        format!("Blobs: {}\n", said.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_name_without_a_tag_has_that_of_the_image() {
        let digest = kiln_oci::Digest::of(b"m");
        for (from, to, expected) in [
            ("a.example/x:1", "b.example/y", "b.example/y:1"),
            ("a.example/x:1", "b.example/y:2", "b.example/y:2"),
            ("a.example/x", "b.example/y", "b.example/y"),
            (&format!("a.example/x@{digest}"), "b.example/y", &format!("b.example/y@{digest}")),
        ] {
            let request = CopyImage { from: name(from).unwrap(), to: name(to).unwrap(), platform: None };
            assert_eq!(with_tag_of_source(request).to.to_string(), expected);
        }
        assert_eq!(name("docker://a.example/x:1").unwrap().to_string(), "a.example/x:1");
    }
}
