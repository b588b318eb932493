//! The counter: flags, progress, errors. Everything else is done by the libraries below.
//!
//! ```text
//! child entry hook → command line → settings → user namespace → command, on a runtime where it waits → exit code
//! ```
//!
//! The order matters: a user namespace can be entered only while there is one thread.

mod commands;

mod listing;

mod findings;

mod request;

mod cli;

mod report;

mod ui;

mod failure;

mod settings;

mod suggest;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::process::ExitCode;

use kiln_sandbox::{Identity, UserNamespaceOptions};

use cli::{Cli, Parsed};
use commands::Context;
use failure::{Failure, Kind, is_broken_pipe};
use settings::{Environment, Overrides, Settings};
use ui::style::Style;

fn main() -> ExitCode {
    kiln_sandbox::run_if_child();
    std::panic::set_hook(Box::new(report_bug));
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(code) => code,
        Err(_) => ExitCode::from(Kind::Bug.exit_code()),
    }
}

fn run() -> ExitCode {
    let environment = Environment::of_process();
    let style = Style::new(environment.is_colour_wanted() && io::stderr().is_terminal());
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let outcome = match cli::parse(arguments.iter().cloned()) {
        Ok(Parsed::Command(cli)) => command(*cli, environment),
        Ok(Parsed::Text(text)) => show(&text).map(|()| 0),
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            ui::show_failure(&failure, style);
            ExitCode::from(exit_code(&failure, &arguments))
        }
    }
}

/// Returns the exit code of a failure. Those of `kiln run` and `kiln start` are the command's, so what kiln has to say itself has Docker's code for it.
fn exit_code(failure: &Failure, arguments: &[OsString]) -> u8 {
    match failure.kind {
        Kind::Bug | Kind::Interrupted => failure.exit_code(),
        _ if cli::runs_command(arguments) => commands::container::NOT_RUN,
        _ => failure.exit_code(),
    }
}

fn command(cli: Cli, environment: Environment) -> Result<u8, Failure> {
    let settings = Settings::read(environment, Overrides { store: cli.store, config: cli.config })?;
    let identity = match cli.command.needs_user_namespace() {
        true => enter_user_namespace(),
        false => Err("this command runs no steps".to_owned()),
    };
    commands::run(cli.command, Context { settings, identity })
}

/// Becomes root of a user namespace. A refusal is remembered: only a step that must run makes it an error.
fn enter_user_namespace() -> Result<Identity, String> {
    kiln_sandbox::enter(&UserNamespaceOptions::default()).map_err(|error| {
        let failure = Failure::of(Kind::Machine, &error);
        std::iter::once(failure.message).chain(failure.causes).collect::<Vec<_>>().join(": ")
    })
}

fn show(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if !is_broken_pipe(&error) => {
            Err(Failure::new(Kind::Failed, format!("cannot write standard output: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Says that a panic is a mistake in kiln.
fn report_bug(panic: &PanicHookInfo<'_>) {
    let text = format!(
        "error: this is a bug in kiln {}: {panic}\nhelp: please report it, with the command and these lines; the store is sound\n",
        env!("CARGO_PKG_VERSION")
    );
    // There is nowhere left to say it.
    io::stderr().write_all(text.as_bytes()).ok();
}
