//! One file a command: settings → one library call → print.
//!
//! What is printed comes from pure functions over plain rows, so that it is tested without a store.

mod all_tags;
mod attended;
mod build;
mod cache;
mod call;
mod cat;
mod completions;
pub(crate) mod container;
mod copy;
mod df;
mod diff;
mod doctor;
mod enter;
mod explain;
mod fsck;
mod history;
mod image_prune;
mod images;
mod import;
mod inspect;
mod lint;
mod load;
mod log;
mod login;
mod ls;
mod man;
mod manifest;
mod place;
mod plan;
mod prune;
mod pull;
mod push;
mod rewrite;
mod rmi;
mod save;
mod search;
mod tag;
mod tags;
mod tags_rm;
mod version;

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;

use kiln_oci::Platform;
use kiln_registry::{ClientConfig, CredentialFiles, Keypair, ProxyConfig, RegistryConfig, Secret};
use kiln_sandbox::Identity;

use crate::cli::Command;
use crate::failure::{Failure, Kind, is_broken_pipe};
use crate::settings::{self, Settings};
use crate::ui::{Display, Mode, for_terminal, show_text};
use kiln_builder::interrupt::Interrupt;
use kiln_builder::progress::{Progress, ProgressEvent, Silent};
use kiln_builder::upkeep::{Bound, may_exceed};
use kiln_builder::{Roots, Workshop, WorkshopOptions};

/// The bound of a store of which nobody says anything: as much as BuildKit keeps.
const BOUND: Bound = Bound::Percent(10);

/// What every command starts from.
pub(crate) struct Context {
    /// What the surroundings say.
    pub(crate) settings: Settings,
    /// Who this process is to the kernel, or why it can run no steps.
    pub(crate) identity: Result<Identity, String>,
}

/// Does what the command line asks for; returns the exit code.
///
/// # Errors
/// The [`Failure`] to show.
pub(crate) fn run(command: Command, context: Context) -> Result<u8, Failure> {
    match command {
        Command::Build(args) => on_runtime(build::run(args.into_inner(), context))?,
        // It ends as what it ran.
        Command::Enter(args) => return on_runtime(enter::run(args.into_inner(), context)),
        Command::Diff(args) => return on_runtime(container::diff(&args, context)),
        Command::Run(args) => return on_runtime(container::run(&args, context)),
        Command::Start(args) => return on_runtime(container::start(&args, context)),
        Command::Create(args) => on_runtime(container::create(&args, context))?,
        Command::Ps(args) => container::ps(&args, context)?,
        Command::Rm(args) => container::rm(&args, context)?,
        Command::Commit(args) => on_runtime(container::commit(&args, context))?,
        Command::Export(args) => on_runtime(container::export(&args, context))?,
        Command::Cp(args) => on_runtime(container::cp(&args, context))?,
        Command::Container(group) => return on_runtime(container::group(group.command, context)),
        Command::Log(args) => on_runtime(log::run(args.into_inner(), context))?,
        Command::Explain(args) => explain::run(&args, context)?,
        Command::Lint(args) => on_runtime(lint::run(args.into_inner(), context))?,
        Command::Images(args) => images::run(&args, context)?,
        Command::Inspect(args) => inspect::run(&args, context)?,
        Command::History(args) => history::run(&args, context)?,
        Command::Tag(args) => tag::run(&args, context)?,
        Command::Rmi(args) => rmi::run(&args, context)?,
        Command::Pull(args) => on_runtime(pull::run(args.into_inner(), context))?,
        Command::Push(args) => on_runtime(push::run(args.into_inner(), context))?,
        Command::Ls(args) => on_runtime(ls::run(&args, context))?,
        Command::Cat(args) => on_runtime(cat::run(&args, context))?,
        Command::Tags(args) => on_runtime(tags::run(&args, context))?,
        Command::Search(args) => on_runtime(search::run(&args, context))?,
        Command::Copy(args) => on_runtime(copy::run(args.into_inner(), context))?,
        Command::Manifest(args) => on_runtime(manifest::run(args.command, context))?,
        Command::Save(args) => on_runtime(save::run(&args, context))?,
        Command::Load(args) => on_runtime(load::run(&args, context))?,
        Command::Import(args) => on_runtime(import::run(&args, context))?,
        Command::Cache(args) => cache::run(&args, context)?,
        Command::Login(args) => on_runtime(login::run(&args, context))?,
        Command::Logout(args) => on_runtime(login::forget(&args, context))?,
        Command::Df(args) => df::run(&args, context)?,
        Command::Prune(args) => prune::run(&args, context)?,
        Command::Fsck(args) => fsck::run(&args, context)?,
        Command::Doctor(args) => doctor::run(&args, context)?,
        Command::ImagePrune(args) => image_prune::run(&args, context)?,
        Command::Completions(args) => completions::run(&args)?,
        Command::Man(args) => man::run(&args, &context)?,
        Command::Version(args) => version::run(&args)?,
        Command::Image(_) => unreachable!("the command line has the short command instead"),
    }
    Ok(0)
}

/// Does work that waits for sockets, timers or signals. What needs none of them starts sooner without the threads for it.
fn on_runtime<'a, T>(work: impl Future<Output = Result<T, Failure>> + 'a) -> Result<T, Failure> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().build().map_err(|error| Failure::of(Kind::Machine, &error))?;
    // As a value of one type: the code that drives it is large.
    let work: Pin<Box<dyn Future<Output = Result<T, Failure>> + 'a>> = Box::pin(work);
    let outcome = runtime.block_on(work);
    // What still runs was cancelled; nothing waits for it, and the store is sound whenever it ends.
    runtime.shutdown_background();
    outcome
}

impl Context {
    /// Opens the store for work that asks no registry.
    fn open(self, jobs: usize) -> Result<(Arc<Workshop>, Settings), Failure> {
        let silent: Arc<dyn Progress> = Arc::new(Silent);
        self.open_telling(jobs, &silent)
    }

    /// Opens the store. What registries did wrong without failing a call is told to `progress`.
    fn open_telling(
        self,
        jobs: usize,
        progress: &Arc<dyn Progress>,
    ) -> Result<(Arc<Workshop>, Settings), Failure> {
        let Self { settings, identity } = self;
        let options = WorkshopOptions {
            store: settings.store.clone(),
            registry: client_config_telling(&settings, progress),
            identity,
            // Without the file, steps have no names to look up; the ones that try say so.
            resolv_conf: fs_err::read("/etc/resolv.conf").ok(),
            git: settings.git(),
            roots: match settings.config.build.root {
                None => Roots::Detected,
                Some(settings::Root::Overlay) => Roots::Overlay,
                Some(settings::Root::Copy) => Roots::Copy,
            },
            jobs,
            started_ns: settings::now_nanoseconds(),
        };
        let workshop = Workshop::open(options).map_err(|error| Failure::of(Kind::Failed, &error))?;
        Ok((Arc::new(workshop), settings))
    }
}

/// Returns what the registry client needs to know, and whom it tells what registries did wrong without failing a call.
fn client_config_telling(settings: &Settings, progress: &Arc<dyn Progress>) -> ClientConfig {
    let progress = Arc::clone(progress);
    let on_warning = move |warning: &kiln_registry::Warning| {
        progress.on(&ProgressEvent::Warning { message: &warning.to_string() });
    };
    ClientConfig { on_warning: Some(Arc::new(on_warning)), ..client_config(settings) }
}

/// Returns what the registry client needs to know.
fn client_config(settings: &Settings) -> ClientConfig {
    let keypair = |pair: &settings::Keypair| Keypair { key: pair.key.clone(), cert: pair.cert.clone() };
    let registry = |registry: &settings::Registry| RegistryConfig {
        mirrors: registry.mirrors.clone(),
        http: registry.http,
        insecure: registry.insecure,
        ca: registry.ca.clone(),
        keypair: registry.keypair.iter().map(keypair).collect(),
    };
    let registries = &settings.config.registries;
    let proxy = |kind| settings.environment.proxy(kind).or_else(|| settings.environment.proxy("all"));
    ClientConfig {
        registries: registries.iter().map(|(name, it)| (name.clone(), registry(it))).collect(),
        credentials: credential_files(settings),
        aws: settings.aws(),
        proxy: ProxyConfig {
            http: proxy("http").map(Secret::new),
            https: proxy("https").map(Secret::new),
            no_proxy: settings.environment.proxy("no"),
        },
        jitter_seed: u64::from(std::process::id()),
        ..ClientConfig::default()
    }
}

/// Returns the bound of the store.
fn bound(settings: &Settings) -> Result<Bound, Failure> {
    match &settings.config.store.max {
        Some(text) => Ok(crate::request::upkeep::bound(text)?),
        None => Ok(BOUND),
    }
}

/// Begins to keep the store within its bound, where it may have passed it: in a process of its own, which nobody waits for.
fn look_after(workshop: &Workshop, settings: &Settings) {
    let now = u64::try_from(settings::now_seconds()).unwrap_or(0);
    let Ok(bound) = bound(settings) else { return };
    let Some(bytes) = may_exceed(&workshop.store, bound, now) else { return };
    // What does not start now starts after the next build.
    let Ok(program) = std::env::current_exe() else { return };
    let mut command = std::process::Command::new(program);
    let since = format!("--used-since={}", workshop.started_ns.max(0));
    command.arg("--store").arg(&settings.store).args(["prune", &format!("--in-background={bytes}"), &since]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Ctrl-C is not for it.
    drop(command.process_group(0).spawn());
}

fn credential_files(settings: &Settings) -> CredentialFiles {
    CredentialFiles {
        docker_config: settings.docker_config.clone(),
        auth_files: settings.auth_files.clone(),
        helper_path: settings.helper_path.clone(),
    }
}

/// What a library says went wrong, as the failure of a command.
fn failed(error: impl Error + 'static) -> Failure {
    Failure::of(Kind::Failed, &error)
}

/// Writes a result to standard output: as it is for programs, and for a terminal without what labels, descriptions or documents of
/// others could do to it. Whoever read it may have gone away: that is success.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().is_terminal() {
        true => print_bytes(for_terminal(text).as_bytes()),
        false => print_bytes(text.as_bytes()),
    }
    .map(drop)
}

/// Writes bytes to standard output, and says whether anybody reads them.
fn print_bytes(bytes: &[u8]) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if is_broken_pipe(&error) => Ok(false),
        Err(error) => Err(Failure::new(Kind::Failed, format!("cannot write standard output: {error}"))),
    }
}

/// Refuses to write an archive to a terminal.
fn refuse_terminal(instead: &str) -> Result<(), Failure> {
    match io::stdout().is_terminal() {
        true => Err(Failure::usage("an archive is not written to a terminal").with_hint(instead)),
        false => Ok(()),
    }
}

fn platform(text: Option<&String>) -> Result<Option<Platform>, Failure> {
    let platforms = crate::request::platforms(text.map(std::slice::from_ref).unwrap_or_default())?;
    Ok(platforms.into_iter().next())
}

/// Reads a name as it stands, without a default tag.
fn reference(text: &str) -> Result<kiln_oci::Reference, Failure> {
    text.parse().map_err(|error: kiln_oci::ReferenceError| Failure::usage(error.to_string()))
}

/// Reads a name; the tag is `latest` where none is given.
fn name(text: &str) -> Result<kiln_oci::Reference, Failure> {
    crate::request::name(text).map_err(Failure::usage)
}

/// Says which tag a name means that has none, as Docker does.
fn say_default_tag(text: &str, name: &kiln_oci::Reference) {
    let has_none = text.parse().is_ok_and(|given: kiln_oci::Reference| given != *name);
    if let (true, Some(tag)) = (has_none, name.tag()) {
        show_text(&format!("Using default tag: {tag}\n"));
    }
}

/// Does work under a display, until it ends or is interrupted.
async fn with_display<T>(
    display: &Arc<Display>,
    interrupt: &Interrupt,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let result = match display.drive(interrupt, work).await {
        Ok(result) => result,
        Err(error) => Err(Failure::of(Kind::Machine, &error)),
    };
    result.map_err(|failure| {
        let failure = if interrupt.is_raised() { Failure::interrupted() } else { failure };
        display.finish(Some(&failure));
        Failure { is_shown: display.shows_failures(), ..failure }
    })
}

/// Does work under a display that may be given up at any moment, and is when it is interrupted.
async fn with_display_abandoning<T>(
    display: &Arc<Display>,
    interrupt: &Interrupt,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let abandoned = async {
        tokio::select! {
            biased;
            result = work => result,
            () = interrupt.raised() => Err(Failure::interrupted()),
        }
    };
    with_display(display, interrupt, abandoned).await
}

fn interrupt() -> Result<Interrupt, Failure> {
    Interrupt::new().map_err(|error| Failure::of(Kind::Machine, &error))
}

/// Returns the display of a command that transfers.
fn transfer_display(is_quiet: bool, settings: &Settings) -> Result<Arc<Display>, Failure> {
    Ok(Display::new(Mode::choose(None, is_quiet, settings)?, settings))
}
