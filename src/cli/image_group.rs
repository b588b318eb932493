//! `kiln image …`: the commands of images under the names that Docker's group has for them. Each is the short command, with the
//! same flags; nothing below the command line knows which of the names was typed.

use clap::{Args, Subcommand};

use super::{
    BuildArgs, Command, Deferred, DiffArgs, HistoryArgs, ImagePruneArgs, ImagesArgs, ImportArgs, InspectArgs,
    LoadArgs, PullArgs, PushArgs, RmiArgs, SaveArgs, TagArgs,
};

/// Operands of `kiln image`.
#[derive(Debug, Args)]
pub(crate) struct ImageGroup {
    /// What to do
    #[command(subcommand)]
    command: ImageCommand,
}

impl ImageGroup {
    /// Returns the short command of the same meaning; the group's own `prune` has none, and is returned as it is.
    pub(super) fn into_command(self) -> Command {
        match self.command {
            ImageCommand::Build(args) => Command::Build(args),
            ImageCommand::Ls(args) => Command::Images(args),
            ImageCommand::Inspect(args) => Command::Inspect(args),
            ImageCommand::History(args) => Command::History(args),
            ImageCommand::Diff(args) => Command::Diff(args),
            ImageCommand::Tag(args) => Command::Tag(args),
            ImageCommand::Rm(args) => Command::Rmi(args),
            ImageCommand::Prune(args) => Command::ImagePrune(args),
            ImageCommand::Pull(args) => Command::Pull(args),
            ImageCommand::Push(args) => Command::Push(args),
            ImageCommand::Save(args) => Command::Save(args),
            ImageCommand::Load(args) => Command::Load(args),
            ImageCommand::Import(args) => Command::Import(args),
        }
    }
}

/// The words of the group. Their help is that of the short command, and is tested to be.
#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Build an image from a Dockerfile
    Build(Deferred<BuildArgs>),
    /// List the images of this store
    #[command(visible_alias = "list")]
    Ls(Deferred<ImagesArgs>),
    /// Show all that is known about images, as JSON
    Inspect(Deferred<InspectArgs>),
    /// Show how an image came to be
    History(Deferred<HistoryArgs>),
    /// Show what was changed in a container, or what differs between two images, and why
    Diff(Deferred<DiffArgs>),
    /// Give an image another name
    Tag(Deferred<TagArgs>),
    /// Remove names and images
    #[command(visible_alias = "remove")]
    Rm(Deferred<RmiArgs>),
    /// Remove images that nothing needs
    Prune(Deferred<ImagePruneArgs>),
    /// Fetch an image from a registry
    Pull(Deferred<PullArgs>),
    /// Send an image to a registry
    Push(Deferred<PushArgs>),
    /// Write images into an archive
    Save(Deferred<SaveArgs>),
    /// Read images from an archive
    Load(Deferred<LoadArgs>),
    /// Make an image of one layer from a tar archive of a file system
    Import(Deferred<ImportArgs>),
}

/// The short command that a word of the group stands for, where it is another word.
const SHORT: &[(&str, &str)] = &[("ls", "images"), ("list", "images"), ("rm", "rmi"), ("remove", "rmi")];

/// Returns the short command for a word behind `kiln image`.
pub(super) fn short_command(word: &str) -> &str {
    SHORT.iter().find(|(known, _)| *known == word).map_or(word, |(_, short)| short)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::CommandFactory;

    use super::super::{Cli, Parsed, parse};

    fn command(line: &str) -> String {
        match parse(line.split(' ').map(OsString::from)) {
            Ok(Parsed::Command(cli)) => format!("{:?}", cli.command),
            Ok(Parsed::Text(text)) => text,
            Err(failure) => failure.message,
        }
    }

    #[test]
    fn long_and_short_names_are_one_command() {
        for (long, short) in [
            ("image build -t a .", "build -t a ."),
            ("image ls -q", "images -q"),
            ("image list app", "images app"),
            ("image inspect a b", "inspect a b"),
            ("image history --no-trunc a", "history --no-trunc a"),
            ("image diff a b", "diff a b"),
            ("image tag a b", "tag a b"),
            ("image rm -f a", "rmi -f a"),
            ("image remove a b", "rmi a b"),
            ("image pull -q a", "pull -q a"),
            ("image push a", "push a"),
            ("image save -o f a b", "save -o f a b"),
            ("image load -i f", "load -i f"),
            ("image import - a", "import - a"),
        ] {
            assert_eq!(command(&format!("kiln {long}")), command(&format!("kiln {short}")), "{long}");
        }
        assert!(command("kiln image prune -af").starts_with("ImagePrune("));
    }

    #[test]
    fn the_words_of_the_group_are_explained_as_the_short_commands_are() {
        let mut cli = Cli::command();
        cli.build();
        let group = cli.find_subcommand("image").unwrap();
        for word in group.get_subcommands().filter(|word| !matches!(word.get_name(), "prune" | "help")) {
            let short = cli.find_subcommand(super::short_command(word.get_name())).unwrap();
            assert_eq!(
                word.get_about().map(ToString::to_string),
                short.get_about().map(ToString::to_string),
                "{}",
                word.get_name()
            );
        }
    }

    #[test]
    fn the_group_alone_and_the_program_alone_print_their_help() {
        for (line, says) in [
            ("kiln image", "Usage: kiln image"),
            ("kiln image --help", "The commands of images by their long names"),
            ("kiln", "Usage: kiln [OPTIONS] <COMMAND>"),
            ("kiln image ls --help", "Usage: kiln image ls"),
            ("kiln help image rm", "Usage: kiln image rm"),
            ("kiln help", "Usage: kiln [OPTIONS] <COMMAND>"),
        ] {
            let Ok(Parsed::Text(text)) = parse(line.split(' ').map(OsString::from)) else { panic!("{line}") };
            assert!(text.contains(says), "{line}: {text}");
        }
    }
}
