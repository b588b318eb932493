//! `kiln run` and `kiln start`: a command in a container, which kiln stays with until it ends.
//!
//! | Exit code | When |
//! |---|---|
//! | the command's own | it ran; 128 + N when signal N ended it |
//! | 130 | somebody ended it who asked too often, or whose signals it does not get |
//! | 125 | kiln could not make or keep the container; wrong usage, which `main` sees to |
//! | 126 | the command is there, and cannot be run |
//! | 127 | there is no such command |

use std::pin::pin;
use std::sync::Arc;

use kiln_builder::Workshop;
use kiln_builder::containers::{Attendance, OpenContainer, Purpose, open};
use kiln_builder::interrupt::Interrupt;
use kiln_builder::plan::Origin;
use kiln_builder::progress::{Progress, ProgressEvent, ShellReason};
use kiln_sandbox::{ExitStatus, SignalLine};

use super::create::made;
use super::failed;
use super::signals::hand_on;
use crate::cli::{RunArgs, StartArgs};
use crate::commands::attended::{self, Wanted};
use crate::commands::{Context, interrupt, transfer_display, with_display, with_display_abandoning};
use crate::failure::{Failure, Kind};
use crate::request;
use crate::settings::Settings;
use crate::ui::{Display, Mode, show_failure, stderr_style};

/// Exit code of a container that could not be run: Docker's.
pub(crate) const NOT_RUN: u8 = 125;

/// Runs a command in a new container; returns its exit code.
pub(crate) async fn run(args: &RunArgs, context: Context) -> Result<u8, Failure> {
    let request = request::container::container(&args.container, &context.settings)?;
    let wanted = Wanted { input: args.interactive, terminal: args.tty };
    let attended = attended::container(wanted, &context.settings)?;
    let settings = context.settings.clone();
    let display = transfer_display(args.container.quiet, &settings)?;
    let progress: Arc<dyn Progress> = display.clone();
    let prepared = async {
        let (workshop, _) = context.open_telling(1, &progress)?;
        let interrupt = interrupt()?;
        let open = made(&workshop, &request, (&display, args.container.quiet), &interrupt).await?;
        Ok((open, interrupt))
    };
    let manner = Manner { removes: args.rm, hands_on: args.signals.sig_proxy };
    attend_prepared(prepared.await, attended, manner, &settings).await
}

/// Runs the command of a container again; returns its exit code.
pub(crate) async fn start(args: &StartArgs, context: Context) -> Result<u8, Failure> {
    if !args.attach && !args.interactive {
        return Err(Failure::usage("kiln has no daemon that could stay with the container")
            .with_hint("`kiln start --attach CONTAINER` stays until its command ends"));
    }
    let attended =
        attended::container(Wanted { input: args.interactive, terminal: false }, &context.settings)?;
    let settings = context.settings.clone();
    let display = transfer_display(false, &settings)?;
    let progress: Arc<dyn Progress> = display.clone();
    let prepared = async {
        let (workshop, _): (Arc<Workshop>, Settings) = context.open_telling(1, &progress)?;
        let interrupt = interrupt()?;
        let work =
            async { open(&workshop, &args.container, Purpose::Start, &progress).await.map_err(failed) };
        let open = with_display_abandoning(&display, &interrupt, work).await?;
        display.finish(None);
        Ok((open, interrupt))
    };
    let manner = Manner { removes: false, hands_on: args.signals.sig_proxy };
    attend_prepared(prepared.await, attended, manner, &settings).await
}

/// What is done with a container beside running its command.
#[derive(Debug, Clone, Copy)]
struct Manner {
    /// Whether it is removed then.
    removes: bool,
    /// Whether its command gets the signals that kiln gets.
    hands_on: bool,
}

/// Runs the command of a container that could be made ready, and says why another could not.
async fn attend_prepared(
    prepared: Result<(OpenContainer, Interrupt), Failure>,
    attended: attended::Attended,
    manner: Manner,
    settings: &Settings,
) -> Result<u8, Failure> {
    match prepared {
        Ok((open, interrupt)) => attend(open, attended, manner, settings, &interrupt).await,
        Err(failure) => ended(failure, NOT_RUN, settings),
    }
}

/// Runs the command of a container, and keeps or removes what is left.
async fn attend(
    mut open: OpenContainer,
    attended: attended::Attended,
    manner: Manner,
    settings: &Settings,
    interrupt: &Interrupt,
) -> Result<u8, Failure> {
    let display = Display::new(Mode::Quiet, settings);
    let attended::Attended { attendant, has_terminal, shown } = attended;
    let streams = attendant.streams.clone();
    if has_terminal {
        // Gives the terminal back however kiln ends.
        let (origin, reason) =
            (Origin::default(), ShellReason::Entered { is_command: true, has_changed: false });
        display.on(&ProgressEvent::ShellOpened { origin: &origin, argv: &[], reason, streams: &streams });
    }
    drop(streams);
    let signals = SignalLine::new().map_err(|error| Failure::of(Kind::Machine, &error))?;
    let line = signals.clone();
    let work = async {
        let attendance = Attendance { attendant, has_terminal, signals };
        // What it writes is shown until nobody can write any more.
        let (outcome, ()) = tokio::join!(open.run(attendance, interrupt), shown);
        let after = match manner.removes {
            true => open.remove(interrupt).await,
            false => open.settle(),
        };
        Ok((outcome, after))
    };
    let work = pin!(work);
    let (outcome, after) = match manner.hands_on {
        true => hand_on(&line, &display, interrupt, work).await?,
        false => with_display(&display, interrupt, work).await?,
    };
    display.on(&ProgressEvent::ShellClosed);
    let code = match outcome {
        Ok(status) => code(status),
        Err(_) if interrupt.is_raised() => return Err(Failure::interrupted()),
        Err(error) => {
            let code = error.shell_code().unwrap_or(NOT_RUN);
            return ended(failed(error), code, settings);
        }
    };
    match after {
        Ok(()) => Ok(code),
        Err(error) => ended(failed(error), NOT_RUN, settings),
    }
}

fn code(status: ExitStatus) -> u8 {
    u8::try_from(status.shell_code()).unwrap_or(u8::MAX)
}

/// Shows a failure, and ends with Docker's exit code for it.
fn ended(failure: Failure, code: u8, settings: &Settings) -> Result<u8, Failure> {
    if matches!(failure.kind, Kind::Interrupted | Kind::Usage) {
        return Err(failure);
    }
    if !failure.is_shown {
        show_failure(&failure, stderr_style(settings));
    }
    Ok(code)
}
