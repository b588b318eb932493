//! The flags of the commands that manage images.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Words of `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Columns for people.
    Table,
    /// One JSON object a line.
    Json,
}

/// Reads the value of a `--format` that knows no templates; one is refused by name.
pub(super) fn format(text: &str) -> Result<Format, String> {
    match text {
        "table" => Ok(Format::Table),
        "json" => Ok(Format::Json),
        template if template.contains("{{") => {
            Err("there are no templates for this; use `--format json` and a tool such as jq".to_owned())
        }
        _ => Err("the formats are `table` and `json`".to_owned()),
    }
}

/// What templates can be read about.
pub(super) const TEMPLATES: &str =
    "How to print: `table`, `json` for one object a line, or a template, perhaps after `table`";

/// Reads the value of `diff --format`.
pub(super) fn json_only(text: &str) -> Result<Format, String> {
    match format(text)? {
        Format::Json => Ok(Format::Json),
        Format::Table => Err("the only format here is `json`".to_owned()),
    }
}

/// Flags and operands of `kiln images`.
#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    /// Show only this repository, or this name; `*` and `?` match anything but `/`
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(crate) name: Option<String>,
    /// Show the digests of manifests
    #[arg(long)]
    pub(crate) digests: bool,
    /// Do not shorten ids
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Print ids and nothing else
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Show all images; they are shown without it too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Show only images for which this holds: `dangling=true`, `label=KEY[=VALUE]`, `before=IMAGE`, `since=IMAGE` or
    /// `reference=PATTERN`
    #[arg(short, long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    #[arg(long, value_name = "FORMAT", help = TEMPLATES)]
    pub(crate) format: Option<String>,
}

/// Flags and operands of `kiln inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Names or ids of images
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
    /// Platform to show, of an image for several
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// How to print: `json` for one line, or a template for each image
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// What the names are of; it can be left out
    #[arg(long, value_name = "TYPE", value_parser = ["image"])]
    pub(crate) r#type: Option<String>,
}

/// Flags and operands of `kiln diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// Name or id of a container, or of the first image
    #[arg(value_name = "CONTAINER|IMAGE")]
    pub(crate) before: String,
    /// Name or id of the second image
    #[arg(value_name = "IMAGE")]
    pub(crate) after: Option<String>,
    /// Platform to compare, of images for several
    #[arg(long, value_name = "OS/ARCH", requires = "after")]
    pub(crate) platform: Option<String>,
    /// How to print: `json` for one document
    #[arg(long, value_name = "FORMAT", value_parser = json_only)]
    pub(crate) format: Option<Format>,
    /// End with 3 when something differs
    #[arg(long)]
    pub(crate) exit_code: bool,
}

/// Flags and operands of `kiln history`.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Name or id of an image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Do not shorten ids and commands
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Print ids and nothing else
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print sizes and times for people
    #[arg(short = 'H', long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value = "true", action = clap::ArgAction::Set,
          hide_possible_values = true)]
    pub(crate) human: bool,
    /// Platform to show, of an image for several
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    #[arg(long, value_name = "FORMAT", help = TEMPLATES)]
    pub(crate) format: Option<String>,
}

/// Flags and operands of `kiln tag`.
#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// Name or id of an image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// The new name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// Flags and operands of `kiln rmi`.
#[derive(Debug, Args)]
pub(crate) struct RmiArgs {
    /// Names or ids of images
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
    /// Remove an image by its id although it has several names, or a stopped container uses it; do not fail when it does not exist
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Leave the layers that nothing needs any more to `kiln prune`
    #[arg(long)]
    pub(crate) no_prune: bool,
}

/// Flags of `kiln image prune`.
#[derive(Debug, Args)]
pub(crate) struct ImagePruneArgs {
    /// Remove all images, not only those without a name
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Remove only images for which this holds: until=24h (made and last used longer ago), label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
}

/// Flags and operands of `kiln pull`.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Name of an image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub(crate) name: String,
    /// Platform to fetch, of an image for several
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Fetch all tags of the repository
    #[arg(short, long)]
    pub(crate) all_tags: bool,
    /// Print the name and nothing else
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Flags and operands of `kiln push`.
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// Name of an image of this store
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: String,
    /// Send all tags of the repository that this store has
    #[arg(short, long)]
    pub(crate) all_tags: bool,
    /// Send only the image for this platform, of an image for several
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Print the name and nothing else
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Words of `save --format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ArchiveWord {
    /// An archive for `docker load`, which is an OCI layout too
    #[default]
    Docker,
    /// An OCI layout
    Oci,
}

/// Flags and operands of `kiln save`.
#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    /// Names or ids of images
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
    /// File to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Kind of archive
    #[arg(long, value_enum, value_name = "NAME", default_value = "docker")]
    pub(crate) format: ArchiveWord,
    /// Platform to write, of images for several [default: all of them]
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
}

/// Flags and operands of `kiln load`.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// File to read, perhaps compressed [default: standard input]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Platform to read, of images for several [default: all of them]
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Flags and operands of `kiln import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Tar archive of a file system, perhaps compressed: a file, an address of the web, or `-` for standard input
    #[arg(value_name = "FILE|URL|-")]
    pub(crate) file: PathBuf,
    /// Name of the result
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: Option<String>,
    /// Instruction for the configuration, such as 'CMD ["sh"]'
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
    /// Comment in the history
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Platform the files are for
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
}

/// Flags and operands of `kiln login`.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The registry [default: docker.io]
    #[arg(value_name = "REGISTRY")]
    pub(crate) registry: Option<String>,
    /// Name of the user
    #[arg(short, long, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// The password; other users of this machine can see it, --password-stdin is safer
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    pub(crate) password: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username")]
    pub(crate) password_stdin: bool,
}

/// Flags and operands of `kiln logout`.
#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    /// The registry [default: docker.io]
    #[arg(value_name = "REGISTRY")]
    pub(crate) registry: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_refused_by_name() {
        assert_eq!(format("json"), Ok(Format::Json));
        let template = "there are no templates for this; use `--format json` and a tool such as jq";
        for (text, says) in [("{{.ID}}", template), ("yaml", "the formats are `table` and `json`")] {
            assert_eq!(format(text), Err(says.to_owned()));
        }
        assert_eq!(json_only("table"), Err("the only format here is `json`".to_owned()));
    }
}
