//! `kiln tags rm`.

use std::sync::Arc;

use kiln_builder::interrupt::Interrupt;
use kiln_builder::progress::Progress;
use kiln_builder::remote::untag;
use kiln_oci::Reference;
use kiln_registry::Client;

use super::{Context, client_config_telling, interrupt, print, reference, transfer_display, with_display};
use crate::cli::TagsRmArgs;
use crate::failure::{Failure, Kind};
use crate::ui::{show_failure, stderr_style};

/// Removes tags at their registries; goes on where one cannot be removed.
pub(super) async fn run(args: &TagsRmArgs, context: Context) -> Result<(), Failure> {
    let mut names: Vec<Reference> = Vec::new();
    for text in &args.names {
        let name = tagged(text)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let display = transfer_display(true, &context.settings)?;
    let progress: Arc<dyn Progress> = display.clone();
    let client = Client::new(client_config_telling(&context.settings, &progress));
    let style = stderr_style(&context.settings);
    let interrupt = interrupt()?;
    let work = async {
        let mut last = None;
        for name in &names {
            if let Err(failure) = remove(&client, name, &interrupt).await
                && let Some(before) = last.replace(failure)
            {
                show_failure(&before, style);
            }
        }
        last.map_or(Ok(()), Err)
    };
    // What was begun for a tag is ended: halfway it would stand for something else.
    with_display(&display, &interrupt, work).await?;
    display.finish(None);
    Ok(())
}

async fn remove(client: &Client, name: &Reference, interrupt: &Interrupt) -> Result<(), Failure> {
    if interrupt.is_raised() {
        return Err(Failure::interrupted());
    }
    untag(client, name).await.map_err(|error| Failure::of(Kind::Failed, &error))?;
    print(&format!("Untagged: {}\n", name.familiar()))
}

/// Reads the name of a tag. None is added where there is none: too much may hang on `latest`.
fn tagged(text: &str) -> Result<Reference, Failure> {
    let name = reference(text)?;
    let repository = name.familiar_name();
    match (name.tag(), name.digest()) {
        (Some(_), None) => Ok(name),
        (None, None) => Err(Failure::usage(format!("`{text}` has no tag, and tags are removed"))
            .with_hint(format!("write `{repository}:TAG`; `kiln tags {repository}` lists what there is"))),
        (_, Some(_)) => {
            Err(Failure::usage(format!("`{text}` has a digest: what it names may have any number of tags"))
                .with_hint(format!(
                    "write `{repository}:TAG`; `kiln tags {repository}` shows which tags it has"
                )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_named_and_never_guessed() {
        assert_eq!(tagged("r.example/app:1").unwrap().familiar(), "r.example/app:1");
        let digest = format!("r.example/app:1@sha256:{}", "0".repeat(64));
        for (text, says) in [("r.example/app", "has no tag"), (digest.as_str(), "has a digest")] {
            let failure = tagged(text).unwrap_err();
            assert!(failure.kind == Kind::Usage && failure.message.contains(says), "{failure:?}");
        }
    }
}
