//! The commands around working containers.

mod commit;
mod cp;
mod create;
mod diff;
mod export;
mod inspect;
mod prune;
mod ps;
mod ps_filter;
mod rm;
mod run;
mod signals;

use std::sync::Arc;

use kiln_builder::Workshop;
use kiln_builder::containers::{ContainerError, OpenContainer, Purpose, open};
use kiln_builder::progress::Progress;

use super::{Context, failed, interrupt, with_display};
use crate::cli::ContainerCommand;
use crate::failure::Failure;
use crate::settings::Settings;
use crate::ui::Display;

pub(super) use commit::commit;
pub(super) use cp::cp;
pub(super) use create::create;
pub(super) use diff::diff;
pub(super) use export::export;
pub(super) use ps::ps;
pub(super) use rm::rm;
pub(crate) use run::NOT_RUN;
pub(super) use run::{run, start};

/// Does what `kiln container …` asks for; returns the exit code.
pub(super) async fn group(command: ContainerCommand, context: Context) -> Result<u8, Failure> {
    match command {
        ContainerCommand::Run(args) => return run(&args, context).await,
        ContainerCommand::Start(args) => return start(&args, context).await,
        ContainerCommand::Diff(args) => return diff(&args, context).await,
        ContainerCommand::Create(args) => create(&args, context).await?,
        ContainerCommand::Ls(args) => ps(&args, context)?,
        ContainerCommand::Inspect(args) => inspect::inspect(&args, context)?,
        ContainerCommand::Rm(args) => rm(&args, context)?,
        ContainerCommand::Prune(args) => prune::prune(&args, context)?,
        ContainerCommand::Commit(args) => commit(&args, context).await?,
        ContainerCommand::Export(args) => export(&args, context).await?,
        ContainerCommand::Cp(args) => cp(&args, context).await?,
    }
    Ok(0)
}

/// Opens a container, and does something with it under a display.
async fn with_container<T>(
    context: Context,
    display: &Arc<Display>,
    (container, purpose): (&str, Purpose),
    work: impl AsyncFnOnce(OpenContainer) -> Result<T, ContainerError>,
) -> Result<T, Failure> {
    let progress: Arc<dyn Progress> = display.clone();
    let (workshop, _): (Arc<Workshop>, Settings) = context.open_telling(1, &progress)?;
    let interrupt = interrupt()?;
    let done = async {
        let open = open(&workshop, container, purpose, &progress).await.map_err(failed)?;
        work(open).await.map_err(failed)
    };
    let outcome = with_display(display, &interrupt, done).await?;
    display.finish(None);
    Ok(outcome)
}
