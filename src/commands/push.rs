//! `kiln push`: tag and digest on standard output, what goes on on standard error; Docker's words.

use kiln_builder::progress::Progress;
use kiln_oci::Reference;
use std::sync::Arc;

use super::{
    Context, all_tags, interrupt, name, platform, print, say_default_tag, transfer_display,
    with_display_abandoning,
};
use crate::cli::PushArgs;
use crate::failure::{Failure, Kind};
use kiln_builder::catalog::push;
use kiln_builder::export::Pushed;

/// Sends an image.
pub(super) async fn run(args: PushArgs, context: Context) -> Result<(), Failure> {
    if args.all_tags {
        return all_tags::push(args, context).await;
    }
    let name = name(&args.name)?;
    if name.tag().is_none() {
        return Err(Failure::usage(format!("`{}` names no tag to push to", args.name)));
    }
    let platform = platform(args.platform.as_ref())?;
    if !args.quiet {
        say_default_tag(&args.name, &name);
    }
    let display = transfer_display(args.quiet, &context.settings)?;
    let progress: Arc<dyn Progress> = display.clone();
    let (workshop, _) = context.open_telling(1, &progress)?;
    let interrupt = interrupt()?;
    let work = async {
        let pushed = push(&workshop, &name, platform.as_ref(), &progress).await;
        pushed.map_err(|error| Failure::of(Kind::Failed, &error))
    };
    let pushed = with_display_abandoning(&display, &interrupt, work).await?;
    display.finish(None);
    if args.quiet {
        return print(&format!("{name}\n"));
    }
    print(&format!("{}\n", outcome(&name, &pushed)))
}

/// Says what was pushed, as Docker does.
pub(super) fn outcome(name: &Reference, pushed: &Pushed) -> String {
    format!("{}: digest: {} size: {}", name.tag().unwrap_or_default(), pushed.digest, pushed.size_bytes)
}

#[cfg(test)]
mod tests {
    use kiln_oci::Digest;

    use super::*;

    #[test]
    fn the_outcome_is_said_as_docker_says_it() {
        let digest = Digest::of(b"m");
        let text = outcome(&"app:1".parse().unwrap(), &Pushed { digest, size_bytes: 42 });
        assert_eq!(text, format!("1: digest: {digest} size: 42"));
    }
}
