//! The tree of a Dockerfile: plain data, every node with its span. Nothing here is expanded: a [`Word`] holds the text
//! as written (quotes, escapes and `$` included), and the step that reads it applies [`crate::expand`] by the rule of
//! its instruction.

use std::time::Duration;

pub use crate::directive::Directive;
pub use crate::flags::Flag;
pub use crate::heredoc::Heredoc;
pub use crate::lines::Comment;
pub use crate::source::{Span, Spanned, Word};

/// A whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// `# syntax=`, `# escape=` and `# check=` at the top of the file.
    pub directives: Vec<Directive>,
    /// The escape character: `\` unless a directive says `` ` ``.
    pub escape: char,
    /// ARG instructions before the first FROM.
    pub global_arguments: Vec<Instruction<ArgInstruction>>,
    /// The stages in the order of the file.
    pub stages: Vec<Stage>,
    /// All comment lines outside heredocs, in the order of the file, directives included.
    pub comments: Vec<Comment>,
    /// Instructions with blank lines inside, in the order of the file; also those with errors.
    pub gaps: Vec<Gap>,
}

/// Blank lines inside one instruction that is continued over several lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The blank lines, with their line endings.
    pub blanks: Vec<Span>,
    /// The last line of the instruction (heredocs come behind it); a comment or a blank line where the file ends there.
    pub last: Span,
}

/// A stage: FROM and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Its FROM.
    pub from: Instruction<FromInstruction>,
    /// The instructions below it.
    pub instructions: Vec<Instruction>,
}

impl Stage {
    /// Returns the name in lower case, which is how names are compared; `None` for a stage without a name.
    pub fn name(&self) -> Option<&str> {
        self.from.operation.name.as_ref().map(|name| name.lower.as_str())
    }
}

/// An instruction with everything around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction<T = Operation> {
    /// From the keyword to the end of the last word or heredoc.
    pub span: Span,
    /// The keyword as written (`RUN`, `run`).
    pub keyword: Word,
    /// The instruction as one line: continuations joined, comments inside dropped, heredoc bodies not included.
    pub text: String,
    /// Comment lines since the instruction above; an empty comment line (`#`) starts afresh.
    pub comments: Vec<Comment>,
    /// The flags as written, in their order.
    pub flags: Vec<Flag>,
    /// The heredocs as written, in their order.
    pub heredocs: Vec<Heredoc>,
    /// What it says.
    pub operation: T,
}

impl<T> Instruction<T> {
    /// Returns the flag of this name that was written first.
    pub fn flag(&self, name: &str) -> Option<&Flag> {
        self.flags.iter().find(|flag| flag.name.text == name)
    }

    /// Returns the description in the comments above: a line `# <name> text` gives `text`.
    pub fn description(&self, name: &str) -> Option<&str> {
        let after =
            |comment: &'_ Comment| comment.text.strip_prefix(name).is_some_and(|r| r.starts_with(' '));
        let found = self.comments.iter().find(|comment| !name.is_empty() && after(comment))?;
        found.text.get(name.len() + 1..)
    }

    /// Replaces what it says, keeping everything around it.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Instruction<U> {
        let Self { span, keyword, text, comments, flags, heredocs, operation } = self;
        Instruction { span, keyword, text, comments, flags, heredocs, operation: f(operation) }
    }
}

impl<T> Instruction<T> {
    /// Returns what a RUN in shell form gives to the shell. A command that is a lone heredoc word is replaced by the body;
    /// any other is followed by the bodies and the words that end them, for the shell to read.
    pub fn script(&self, command: &str) -> Script {
        match self.heredocs.as_slice() {
            [] => Script::Text(command.to_owned()),
            [first, ..] if crate::heredoc::announcement(command).is_ok_and(|word| word.is_some()) => {
                Script::Body { name: first.name.clone(), text: first.body() }
            }
            all => {
                let bodies = all.iter().map(|heredoc| format!("\n{}{}", heredoc.content, heredoc.name));
                Script::Text(command.to_owned() + &bodies.collect::<String>())
            }
        }
    }
}

/// What a RUN in shell form gives to the shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Script {
    /// A command line, possibly with heredocs that the shell reads.
    Text(String),
    /// The body of the only heredoc, without a command. One that starts with `#!` is a program of its own.
    Body {
        /// The word of the heredoc.
        name: String,
        /// The body.
        text: String,
    },
}

impl Instruction {
    /// Returns the words that name where files come from: `COPY --from` and `from` of `RUN --mount`.
    pub fn sources(&self) -> Vec<Word> {
        match &self.operation {
            Operation::Copy(copy) => copy.from.iter().cloned().collect(),
            Operation::Run(run) => run.mounts.iter().filter_map(|mount| mount.from.clone()).collect(),
            _ => Vec::new(),
        }
    }

    /// Returns the trigger of an ONBUILD.
    pub fn trigger(&self) -> Option<&str> {
        match &self.operation {
            Operation::Onbuild(onbuild) => Some(&onbuild.trigger),
            _ => None,
        }
    }
}

/// What an instruction of a stage says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// RUN
    Run(RunInstruction),
    /// COPY
    Copy(CopyInstruction),
    /// ADD
    Add(AddInstruction),
    /// ENV
    Env(Vec<Pair>),
    /// LABEL
    Label(Vec<Pair>),
    /// ARG
    Arg(ArgInstruction),
    /// EXPOSE, in the order in which ports are handled: sorted by their unexpanded text. Each may expand to several.
    Expose(Vec<Word>),
    /// VOLUME
    Volume(Vec<Word>),
    /// USER
    User(Word),
    /// WORKDIR
    Workdir(Word),
    /// CMD
    Cmd(Command),
    /// ENTRYPOINT
    Entrypoint(Command),
    /// SHELL
    Shell(Vec<Word>),
    /// STOPSIGNAL
    StopSignal(Word),
    /// HEALTHCHECK
    Healthcheck(HealthcheckInstruction),
    /// ONBUILD
    Onbuild(OnbuildInstruction),
    /// MAINTAINER
    Maintainer(Word),
}

/// FROM
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromInstruction {
    /// Image or stage; expanded with global arguments only.
    pub base: Word,
    /// `--platform`; expanded with global arguments only.
    pub platform: Option<Word>,
    /// The word `AS` as written, where there is one.
    pub as_keyword: Option<Word>,
    /// The name of the stage.
    pub name: Option<StageName>,
}

/// The name of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageName {
    /// As written.
    pub written: Word,
    /// In lower case, which is how names are compared.
    pub lower: String,
}

/// Shell form or exec form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Text for the shell, not expanded by the builder; empty where nothing was written.
    Shell(Word),
    /// A JSON list of words, taken literally; may be empty.
    Exec(Vec<Word>),
}

/// RUN
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInstruction {
    /// What to run; the bodies of heredocs are not in it. See [`Instruction::script`].
    pub command: Command,
    /// `--mount`, in order.
    pub mounts: Vec<MountFlag>,
    /// `--network`
    pub network: Option<Spanned<Network>>,
    /// `--security`
    pub security: Option<Spanned<Security>>,
    /// `--device`, in order.
    pub devices: Vec<Device>,
}

/// The value of a `--mount`. It may contain variables, so it is parsed when the step is
/// made, by `parse_mount` of `instruction::mount`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountFlag {
    /// The value as written.
    pub value: Word,
    /// The value of `from=` (never expanded, and never empty); the last one counts.
    pub from: Option<Word>,
}

/// `RUN --network`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// What the build is told to use.
    Default,
    /// Only loopback.
    None,
    /// That of the host.
    Host,
}

/// `RUN --security`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// The usual sandbox.
    Sandbox,
    /// All privileges.
    Insecure,
}

/// `RUN --device`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The name of the device.
    pub name: String,
    /// Whether the step fails without it.
    pub is_required: bool,
    /// Where it was written.
    pub span: Span,
}

/// What COPY and ADD have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// The sources that are not heredocs.
    pub sources: Vec<Word>,
    /// The sources that are heredocs: files made of text in the Dockerfile.
    pub files: Vec<InlineFile>,
    /// The destination.
    pub destination: Word,
    /// `--chown`
    pub chown: Option<Word>,
    /// `--chmod`
    pub chmod: Option<Word>,
    /// `--link`
    pub is_link: bool,
    /// `--exclude`, in order; never expanded.
    pub excludes: Vec<Word>,
}

/// A file whose content stands in the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlineFile {
    /// The name of the file, which is the word of the heredoc.
    pub name: String,
    /// The content, tabs already stripped for `<<-`.
    pub content: String,
    /// Whether variables in the content are expanded (by [`crate::expand::Lexer::expand_body`]).
    pub is_expanded: bool,
    /// Where `<<WORD` stands.
    pub span: Span,
}

/// COPY
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyInstruction {
    /// What to copy and how.
    pub transfer: Transfer,
    /// `--from`: a stage, its number, an image or a named context; never expanded, and never empty.
    pub from: Option<Word>,
    /// `--parents`
    pub keeps_parents: bool,
}

/// ADD
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddInstruction {
    /// What to add and how.
    pub transfer: Transfer,
    /// `--keep-git-dir`
    pub keep_git_directory: Option<bool>,
    /// `--checksum`
    pub checksum: Option<Word>,
    /// `--unpack`
    pub unpack: Option<bool>,
}

/// A pair of ENV or LABEL; both sides are expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The key.
    pub key: Word,
    /// The value.
    pub value: Word,
    /// Whether it is written `KEY value`, without `=`.
    pub is_legacy: bool,
}

/// ARG
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgInstruction {
    /// The declarations, in order.
    pub declarations: Vec<ArgDeclaration>,
}

/// One declaration of ARG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgDeclaration {
    /// The name; it is expanded too.
    pub name: Word,
    /// The default value; `None` where there is no `=`.
    pub default: Option<Word>,
}

/// HEALTHCHECK
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthcheckInstruction {
    /// `NONE`: the check of the base image is switched off.
    None,
    /// `CMD`
    Check(Healthcheck),
}

/// A check of a container's health. A time of zero means "the default of the runtime".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    /// What to run.
    pub command: Command,
    /// `--interval`
    pub interval: Duration,
    /// `--timeout`
    pub timeout: Duration,
    /// `--start-period`
    pub start_period: Duration,
    /// `--start-interval`
    pub start_interval: Duration,
    /// `--retries`
    pub retries: u32,
}

/// ONBUILD
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnbuildInstruction {
    /// The instruction as it is stored in the image: its text, with heredoc bodies appended.
    pub trigger: String,
    /// Where the instruction stands.
    pub span: Span,
}
