//! The standard streams of this process, for a command that somebody attends.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;

use kiln_builder::lanes::blocking;
use kiln_builder::request::Attendant;
use kiln_sandbox::{Streams, Terminal};

use crate::failure::{Failure, Kind};
use crate::settings::Settings;

/// Returns whoever sits at the terminal of standard input.
///
/// # Errors
/// When standard input is no terminal, or nothing is to be seen.
pub(super) fn terminal(settings: &Settings, what: &str) -> Result<Attendant, Failure> {
    let seen = if io::stderr().is_terminal() { own(io::stderr()) } else { own(io::stdout()) };
    if !io::stdin().is_terminal() || !(io::stderr().is_terminal() || io::stdout().is_terminal()) {
        return Err(Failure::usage(format!("{what} needs a terminal"))
            .with_hint("`kiln enter STAGE:LINE -- CMD` runs a program in a step without one"));
    }
    let failed = |error: io::Error| Failure::of(Kind::Machine, &error);
    let terminal = Terminal::new(own(io::stdin()).map_err(failed)?, seen.map_err(failed)?).map_err(failed)?;
    Ok(attendant(settings, Streams::Terminal(Arc::new(terminal))))
}

/// Returns whoever gave this process its standard streams: a terminal if all are one, else what they are.
pub(super) fn streams(settings: &Settings) -> Result<Attendant, Failure> {
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        return terminal(settings, "a command");
    }
    let own = || {
        // Keys are for the step only where the step has a terminal of its own.
        let input = if io::stdin().is_terminal() { null()?.into() } else { own(io::stdin())? };
        Ok([input, own(io::stdout())?, own(io::stderr())?])
    };
    let own = own().map_err(|error: io::Error| Failure::of(Kind::Machine, &error))?;
    Ok(attendant(settings, Streams::Own(Arc::new(own))))
}

/// What a container asks of the standard streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Whether standard input is handed to it.
    pub(super) input: bool,
    /// Whether it has a terminal.
    pub(super) terminal: bool,
}

/// Whoever attends a container.
pub(super) struct Attended {
    pub(super) attendant: Attendant,
    pub(super) has_terminal: bool,
    /// Shows what the container writes, until nobody can write any more.
    pub(super) shown: Showing,
}

/// Returns whoever gave this process its standard streams, for a container.
///
/// # Errors
/// When a terminal is wanted and there is none.
pub(super) fn container(wanted: Wanted, settings: &Settings) -> Result<Attended, Failure> {
    if wanted.terminal || wanted.input && io::stdin().is_terminal() && io::stdout().is_terminal() {
        if !io::stdin().is_terminal() {
            return Err(Failure::usage("the input device is not a terminal")
                .with_hint("leave `--tty` out; `--interactive` alone hands standard input over"));
        }
        let attendant = terminal(settings, "a container with a terminal")?;
        return Ok(Attended { attendant, has_terminal: true, shown: Box::pin(std::future::ready(())) });
    }
    let failed = |error: io::Error| Failure::of(Kind::Machine, &error);
    let input = match wanted.input && !io::stdin().is_terminal() {
        true => own(io::stdin()).map_err(failed)?,
        false => null().map_err(failed)?.into(),
    };
    let (out, show_out) = shown(io::stdout()).map_err(failed)?;
    let (errors, show_errors) = shown(io::stderr()).map_err(failed)?;
    let attendant = attendant(settings, Streams::Own(Arc::new([input, out, errors])));
    let shown = Box::pin(async {
        tokio::join!(show_out, show_errors);
    });
    Ok(Attended { attendant, has_terminal: false, shown })
}

type Showing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Returns where a container writes that is shown on a stream. A terminal is none of its business: it could type into it for whoever
/// comes after. So it has a pipe instead.
fn shown(stream: impl AsFd + IsTerminal + Send + 'static) -> io::Result<(OwnedFd, Showing)> {
    if !stream.is_terminal() {
        return Ok((own(stream)?, Box::pin(std::future::ready(()))));
    }
    let (mut reader, writer) = io::pipe()?;
    let mut screen = File::from(own(stream)?);
    // Whoever has gone away does not end the command.
    let pass_on = move || drop(io::copy(&mut reader, &mut screen));
    Ok((writer.into(), Box::pin(blocking(pass_on))))
}

fn attendant(settings: &Settings, streams: Streams) -> Attendant {
    Attendant { streams, terminal_kind: settings.environment.get("TERM").map(ToOwned::to_owned) }
}

fn own(stream: impl AsFd) -> io::Result<OwnedFd> {
    stream.as_fd().try_clone_to_owned()
}

fn null() -> io::Result<File> {
    OpenOptions::new().read(true).open("/dev/null")
}
