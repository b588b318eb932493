//! The standard streams of this process, for a command that somebody attends.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

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

fn attendant(settings: &Settings, streams: Streams) -> Attendant {
    Attendant { streams, terminal_kind: settings.environment.get("TERM").map(ToOwned::to_owned) }
}

fn own(stream: impl AsFd) -> io::Result<OwnedFd> {
    stream.as_fd().try_clone_to_owned()
}

fn null() -> io::Result<File> {
    OpenOptions::new().read(true).open("/dev/null")
}
