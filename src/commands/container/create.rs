//! `kiln create`, which is `kiln from`, too.

use std::sync::Arc;

use kiln_builder::Workshop;
use kiln_builder::containers::{self, ContainerRequest, ImageNews, OpenContainer};
use kiln_builder::interrupt::Interrupt;
use kiln_builder::progress::Progress;

use super::failed;
use crate::cli::CreateArgs;
use crate::commands::{Context, interrupt, print, pull, transfer_display, with_display_abandoning};
use crate::failure::Failure;
use crate::request;
use crate::ui::{Display, show_text};

/// Makes a container, and prints its id.
pub(crate) async fn create(args: &CreateArgs, context: Context) -> Result<(), Failure> {
    let request = request::container::container(&args.container, &context.settings)?;
    let display = transfer_display(args.container.quiet, &context.settings)?;
    let progress: Arc<dyn Progress> = display.clone();
    let (workshop, _) = context.open_telling(1, &progress)?;
    let open = made(&workshop, &request, (&display, args.container.quiet), &interrupt()?).await?;
    print(&format!("{}\n", open.id()))
}

/// Makes a container, and says with Docker's lines where its image is fetched for that, unless it is to be quiet.
pub(super) async fn made(
    workshop: &Arc<Workshop>,
    request: &ContainerRequest,
    (display, is_quiet): (&Arc<Display>, bool),
    interrupt: &Interrupt,
) -> Result<OpenContainer, Failure> {
    let progress: Arc<dyn Progress> = display.clone();
    let tell = |news: ImageNews<'_>| match news {
        _ if is_quiet => {}
        ImageNews::Missing(name) => {
            show_text(&format!("Unable to find image '{}' locally\n", name.familiar()));
        }
        ImageNews::Pulled(name, pulled) => show_text(&pull::outcome(name, pulled)),
    };
    let work = async { containers::create(workshop, request, &progress, &tell).await.map_err(failed) };
    let open = with_display_abandoning(display, interrupt, work).await?;
    display.finish(None);
    Ok(open)
}
