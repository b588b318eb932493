//! `kiln create`, which is `kiln from`, too.

use std::sync::Arc;

use kiln_builder::Workshop;
use kiln_builder::containers::{self, ContainerRequest, OpenContainer, PullPolicy};
use kiln_builder::interrupt::Interrupt;
use kiln_builder::progress::Progress;
use kiln_oci::Reference;

use super::failed;
use crate::cli::CreateArgs;
use crate::commands::{Context, interrupt, print, transfer_display, with_display_abandoning};
use crate::failure::Failure;
use crate::request;
use crate::ui::{Display, show_text};

/// Makes a container, and prints its id.
pub(crate) async fn create(args: &CreateArgs, context: Context) -> Result<(), Failure> {
    let request = request::container::container(&args.container, &context.settings)?;
    let display = transfer_display(args.container.quiet, &context.settings)?;
    let progress: Arc<dyn Progress> = display.clone();
    let (workshop, _) = context.open_telling(1, &progress)?;
    let open = made(&workshop, &request, &display, &interrupt()?).await?;
    print(&format!("{}\n", open.id()))
}

/// Makes a container, and says where its image is fetched for that.
pub(super) async fn made(
    workshop: &Arc<Workshop>,
    request: &ContainerRequest,
    display: &Arc<Display>,
    interrupt: &Interrupt,
) -> Result<OpenContainer, Failure> {
    let progress: Arc<dyn Progress> = display.clone();
    let work = async {
        if let Ok(name) = request.image.parse::<Reference>()
            && request.pull == PullPolicy::Missing
            && !containers::is_image_here(workshop, request).await
        {
            show_text(&format!("Unable to find image '{}' locally\n", name.or_latest().familiar()));
        }
        containers::create(workshop, request, &progress).await.map_err(failed)
    };
    let open = with_display_abandoning(display, interrupt, work).await?;
    display.finish(None);
    Ok(open)
}
