//! The command line as types: one struct a command, doc comments are the help text.
//!
//! Knows words and no meaning: what a value stands for is found out in [`crate::request`] and the commands. Flags and
//! commands that people know from other tools, and that are not built yet, are rows of a table in [`not_yet`].

mod build;
mod cache;
mod container;
mod deferred;
mod df;
mod doctor;
mod enter;
mod explain;
mod fsck;
pub(crate) mod help;
mod image;
mod image_group;
mod lint;
mod log;
mod look;
pub(crate) mod not_yet;
mod program;
mod prune;
mod remote;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

pub(crate) use build::{ArgumentsWord, BuildArgs, CompatWord, NetworkWord, OnErrorWord};
pub(crate) use cache::{
    CacheArgs, CachePart, MountsCommand, MountsExportArgs, MountsImportArgs, MountsLsArgs, MountsRmArgs,
};
pub(crate) use container::{
    CommitArgs, ContainerArgs, ContainerCommand, ContainerGroup, ContainerInspectArgs, ContainerPruneArgs,
    CpArgs, CreateArgs, ExportArgs, PsArgs, PullWord, RmArgs, RunArgs, StartArgs,
};
pub(crate) use deferred::Deferred;
pub(crate) use df::DfArgs;
pub(crate) use doctor::{DoctorArgs, DoctorFormat};
pub(crate) use enter::EnterArgs;
pub(crate) use explain::{ExplainArgs, ExplainFormat};
pub(crate) use fsck::{FsckArgs, FsckFormat};
pub(crate) use image::{
    ArchiveWord, DiffArgs, Format, HistoryArgs, ImagePruneArgs, ImagesArgs, ImportArgs, InspectArgs,
    LoadArgs, LoginArgs, LogoutArgs, PullArgs, PushArgs, RmiArgs, SaveArgs, TagArgs,
};
pub(crate) use image_group::ImageGroup;
pub(crate) use lint::{LintArgs, LintFormat};
pub(crate) use log::LogArgs;
pub(crate) use look::{CatArgs, LsArgs};
pub(crate) use program::{CompletionsArgs, ManArgs, VersionArgs, VersionFormat};
pub(crate) use prune::PruneArgs;
pub(crate) use remote::{
    CopyArgs, ManifestAnnotateArgs, ManifestArgs, ManifestCommand, ManifestInspectArgs, ManifestPushArgs,
    SearchArgs, TagSort, TagsArgs, TagsCommand, TagsRmArgs,
};

use crate::failure::Failure;

/// Builds container images from Dockerfiles: no daemon, no root, the same bytes every time
#[derive(Debug, Parser)]
#[command(
    name = "kiln",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// Keep images here instead of in $KILN_HOME or ~/.local/share/kiln
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub(crate) store: Option<PathBuf>,
    /// Read this configuration file
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) config: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One thing that kiln does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image from a Dockerfile
    Build(Deferred<BuildArgs>),
    /// Open a shell in a step of the last build
    Enter(Deferred<EnterArgs>),
    /// Show what builds did: steps, times, why steps ran, what they printed
    Log(Deferred<LogArgs>),
    /// Say why steps of the last build ran
    Explain(Deferred<ExplainArgs>),
    /// Report what is wrong and what is doubtful in Dockerfiles
    Lint(Deferred<LintArgs>),
    /// List the images of this store
    Images(Deferred<ImagesArgs>),
    /// Show all that is known about images, as JSON
    Inspect(Deferred<InspectArgs>),
    /// Show how an image came to be
    History(Deferred<HistoryArgs>),
    /// Show what was changed in a container, or what differs between two images, and why
    Diff(Deferred<DiffArgs>),
    /// List the files of an image
    Ls(Deferred<LsArgs>),
    /// Print files of an image
    Cat(Deferred<CatArgs>),
    /// Give an image another name
    Tag(Deferred<TagArgs>),
    /// Remove names and images
    Rmi(Deferred<RmiArgs>),
    /// The commands of images by their long names: `kiln image ls`, `kiln image rm`
    Image(ImageGroup),
    /// What `kiln image prune` is
    #[command(skip)]
    ImagePrune(Deferred<ImagePruneArgs>),
    /// Fetch an image from a registry
    Pull(Deferred<PullArgs>),
    /// Send an image to a registry
    Push(Deferred<PushArgs>),
    /// List the tags of a repository at a registry, or remove some
    Tags(Deferred<TagsArgs>),
    /// Look for repositories at a registry
    Search(Deferred<SearchArgs>),
    /// Copy an image between registries, OCI layouts and archives, without this store
    Copy(Deferred<CopyArgs>),
    /// Make and look at lists of images for several platforms
    Manifest(ManifestArgs),
    /// Write images into an archive
    Save(Deferred<SaveArgs>),
    /// Read images from an archive
    Load(Deferred<LoadArgs>),
    /// Make an image of one layer from a tar archive of a file system
    Import(Deferred<ImportArgs>),
    /// Run a command in a new container of an image
    Run(Deferred<RunArgs>),
    /// Make a container of an image, and run nothing in it
    #[command(visible_alias = "from")]
    Create(Deferred<CreateArgs>),
    /// Run the command of a container again
    Start(Deferred<StartArgs>),
    /// List containers
    Ps(Deferred<PsArgs>),
    /// Remove containers
    Rm(Deferred<RmArgs>),
    /// Make an image of what was changed in a container
    Commit(Deferred<CommitArgs>),
    /// Write all files of a container as a tar archive
    Export(Deferred<ExportArgs>),
    /// Copy files into a container, or out of one
    Cp(Deferred<CpArgs>),
    /// Look after containers: the commands above under their long names, and inspect, prune
    Container(ContainerGroup),
    /// Look after the cache
    Cache(CacheArgs),
    /// Keep credentials for a registry
    Login(Deferred<LoginArgs>),
    /// Forget the credentials for a registry
    Logout(Deferred<LogoutArgs>),
    /// Show what the store takes on the disk
    Df(Deferred<DfArgs>),
    /// Remove what is not needed: the build cache, images without a name
    Prune(Deferred<PruneArgs>),
    /// Check the store, and mend it
    Fsck(Deferred<FsckArgs>),
    /// Say whether steps run on this machine, and what stands in the way
    Doctor(Deferred<DoctorArgs>),
    /// Print completions for a shell
    Completions(Deferred<CompletionsArgs>),
    /// Write the manual's pages into a directory
    Man(Deferred<ManArgs>),
    /// Show the version of kiln
    Version(Deferred<VersionArgs>),
}

impl Command {
    /// Whether the command runs steps or deletes what they made, and so needs to be root of something.
    pub(crate) fn needs_user_namespace(&self) -> bool {
        match self {
            Self::Build(_)
            | Self::Enter(_)
            | Self::Rmi(_)
            | Self::ImagePrune(_)
            | Self::Cache(_)
            | Self::Doctor(_)
            | Self::Df(_)
            | Self::Fsck(_)
            | Self::Run(_)
            | Self::Create(_)
            | Self::Start(_)
            | Self::Rm(_)
            | Self::Commit(_)
            | Self::Export(_)
            | Self::Cp(_)
            | Self::Container(_) => true,
            Self::Diff(args) => args.after.is_none(),
            Self::Manifest(args) => args.command.removes(),
            // In the background it is in the namespace of the build that started it.
            Self::Prune(args) => args.in_background.is_none(),
            _ => false,
        }
    }
}

/// What the command line asks for.
pub(crate) enum Parsed {
    /// A command.
    Command(Box<Cli>),
    /// A text for standard output: help or version.
    Text(String),
}

/// Reads the command line, program name first. The program called `build` is `kiln build`.
///
/// # Errors
/// A [`Failure`] of wrong usage that names the argument.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Parsed, Failure> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let called_build = arguments.first().is_some_and(|name| is_build(name));
    if called_build {
        arguments.splice(0..1, ["kiln".into(), "build".into()]);
    }
    // As Docker has them.
    if matches!(arguments.get(1..3), Some([system, of]) if system == "system" && (of == "df" || of == "prune"))
    {
        arguments.remove(1);
    }
    match Cli::try_parse_from(&arguments) {
        Ok(mut cli) => {
            if let Command::Image(group) = cli.command {
                cli.command = group.into_command();
            }
            Ok(Parsed::Command(Box::new(cli)))
        }
        Err(error) if is_help(&error) => Ok(Parsed::Text(help_for(&arguments))),
        Err(error) if !error.use_stderr() => Ok(Parsed::Text(error.render().to_string())),
        Err(error) => Err(not_yet::explain(&error, &arguments)),
    }
}

/// Whether a command line is one of `kiln run` or `kiln start`, whose exit codes are a command's; also where it cannot be read.
pub(crate) fn runs_command(arguments: &[OsString]) -> bool {
    let mut words = arguments.iter().skip(1).map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        match &*word {
            "--store" | "--config" => drop(words.next()),
            "container" => {}
            word if word.starts_with("--") => {}
            word => return matches!(word, "run" | "start"),
        }
    }
    false
}

/// Whether somebody asked for help, or named a group of commands and none of it.
fn is_help(error: &clap::Error) -> bool {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand};
    matches!(error.kind(), DisplayHelp | DisplayHelpOnMissingArgumentOrSubcommand)
}

/// Returns the help that a command line asks for.
fn help_for(arguments: &[OsString]) -> String {
    let asked = help::definition().try_get_matches_from(arguments);
    let error = asked.expect_err("the plain definition says that this is a call for help");
    error.render().to_string()
}

fn is_build(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some(OsStr::new("build"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_definitions_of_all_commands_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_program_called_build_is_the_build_command() {
        for line in ["build -t app .", "/usr/local/bin/build -t app .", "kiln build -t app ."] {
            let Ok(Parsed::Command(cli)) = parse(words(line)) else { panic!("{line}") };
            let Command::Build(args) = cli.command else { panic!("{line}") };
            let args = args.into_inner();
            assert_eq!((args.tag, args.context), (vec!["app".to_owned()], Some(".".into())), "{line}");
        }
    }

    #[test]
    fn a_command_line_whose_exit_code_is_a_commands_is_known_also_where_it_is_wrong() {
        for (line, expected) in [
            ("kiln run --bogus app", true),
            ("kiln --store run run app", true),
            ("kiln --config=x container run", true),
            ("kiln start", true),
            ("kiln container --store x start --bogus web", true),
            ("kiln --store run images", false),
            ("kiln rm run", false),
            ("kiln container ls run", false),
            ("kiln", false),
        ] {
            assert_eq!(runs_command(&words(line)), expected, "{line}");
        }
    }

    #[test]
    fn every_command_has_a_help_text_of_its_own() {
        let mut cli = Cli::command();
        cli.build();
        for command in cli.get_subcommands().filter(|command| command.get_name() != "help") {
            let line = format!("kiln {} --help", command.get_name());
            let Ok(Parsed::Text(text)) = parse(words(&line)) else { panic!("{line}") };
            assert!(text.contains("Usage: kiln "), "{line}: {text}");
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                assert!(argument.get_help().is_some(), "{line}: {} says nothing", argument.get_id());
            }
        }
    }

    #[test]
    fn help_of_build_names_its_flags() {
        let mut cli = Cli::command().term_width(100);
        cli.build();
        let build = cli.find_subcommand_mut("build").expect("there is such a command");
        snapbox::assert_data_eq!(
            build.render_long_help().to_string(),
            snapbox::file!["testdata/help_build.txt"]
        );
    }
}
