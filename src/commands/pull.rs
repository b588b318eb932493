//! `kiln pull`: digest, status and canonical name on standard output, what goes on on standard error; Docker's words.

use kiln_builder::progress::Progress;
use kiln_oci::Reference;
use std::sync::Arc;

use super::{
    Context, all_tags, interrupt, name, platform, print, say_default_tag, transfer_display,
    with_display_abandoning,
};
use crate::cli::PullArgs;
use crate::failure::{Failure, Kind};
use kiln_builder::catalog::{Pulled, pull};

/// Fetches an image.
pub(super) async fn run(args: PullArgs, context: Context) -> Result<(), Failure> {
    if args.all_tags {
        return all_tags::pull(args, context).await;
    }
    let name = name(&args.name)?;
    let platform = platform(args.platform.as_ref())?;
    if !args.quiet {
        say_default_tag(&args.name, &name);
    }
    let display = transfer_display(args.quiet, &context.settings)?;
    let progress: Arc<dyn Progress> = display.clone();
    let (workshop, _) = context.open_telling(1, &progress)?;
    let interrupt = interrupt()?;
    let work = async {
        let pulled = pull(&workshop, &name, platform.as_ref(), &progress).await;
        pulled.map_err(|error| Failure::of(Kind::Failed, &error))
    };
    let pulled = with_display_abandoning(&display, &interrupt, work).await?;
    display.finish(None);
    let lines = if args.quiet { String::new() } else { outcome(&name, &pulled) };
    print(&format!("{lines}{name}\n"))
}

/// Returns Docker's lines about how it went.
pub(super) fn outcome(name: &Reference, pulled: &Pulled) -> String {
    let status = match pulled.is_new {
        true => format!("Downloaded newer image for {}", name.familiar()),
        false => format!("Image is up to date for {}", name.familiar()),
    };
    format!("Digest: {}\nStatus: {status}\n", pulled.digest)
}

#[cfg(test)]
mod tests {
    use kiln_oci::Digest;

    use super::*;

    #[test]
    fn the_outcome_is_said_as_docker_says_it() {
        let digest = Digest::of(b"m");
        for (is_new, status) in [(true, "Downloaded newer image for"), (false, "Image is up to date for")] {
            let text = outcome(&"app:1".parse().unwrap(), &Pulled { digest, is_new });
            assert_eq!(text, format!("Digest: {digest}\nStatus: {status} app:1\n"));
        }
    }
}
