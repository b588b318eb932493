//! What rules look at: every stage and every instruction of it, evaluated once and in order, as a build would. Rules read it
//! and compute nothing again.
//!
//! ```text
//! Links   which stage is based on which, which are reached, which triggers run   (links.rs)
//! Scene   stages ─► steps ─► expanded words                                      (walk.rs, words.rs)
//! ```
//!
//! What is not known of an image counts as not there.

mod links;

mod walk;

mod words;

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{ImageFacts, LintRequest, PlatformWords};
use crate::ast::{Instruction, Stage};
use crate::expand::Expansion;
use crate::source::{Span, Word};
use crate::stage::Base;
use crate::variables::Globals;

pub(crate) use links::Links;
pub(crate) use words::nearest_bounded;

/// A file, evaluated.
pub(crate) struct Scene<'a> {
    pub(crate) request: &'a LintRequest<'a>,
    /// The arguments before the first FROM.
    pub(crate) globals: &'a Globals,
    /// The names of all global arguments, automatic ones and those without a value among them.
    pub(crate) global_names: BTreeSet<&'a str>,
    /// All stages, in the order of the file.
    pub(crate) stages: Vec<StageScene<'a>>,
}

/// A stage.
pub(crate) struct StageScene<'a> {
    pub(crate) stage: &'a Stage,
    /// The word behind FROM.
    pub(crate) base: &'a Expanded<'a>,
    /// The same where no build argument is given; `None` where that cannot be known.
    pub(crate) default_base: Option<String>,
    /// `--platform`
    pub(crate) platform_flag: Option<&'a Expanded<'a>>,
    /// Whether it is looked at.
    pub(crate) is_reached: bool,
    /// What it is based on.
    pub(crate) link: &'a Base,
    /// The platform it is built for, if that is known.
    pub(crate) platform: Option<PlatformWords>,
    /// What is known of the image that it is based on; `None` also for a stage on a stage.
    pub(crate) facts: Option<&'a ImageFacts>,
    /// The image at the bottom of this stage and of those below it, if nothing is known of it.
    pub(crate) unknown_image: Option<&'a str>,
    /// The instructions, those of triggers first; none for a stage that is not reached.
    pub(crate) steps: Vec<Step<'a>>,
}

impl StageScene<'_> {
    /// Tells whether its scripts are for a shell of Windows, as far as the file tells.
    pub(crate) fn is_for_windows(&self, escape: char) -> bool {
        let base = &self.base.expansion.text;
        let is_named = ["windows", "nanoserver"].iter().any(|word| base.contains(word));
        escape == '`' || is_named || self.platform.as_ref().is_some_and(|platform| platform.os == "windows")
    }
}

/// An instruction of a stage that is reached.
pub(crate) struct Step<'a> {
    /// What it says; the spans of a trigger lie in a text of its own.
    pub(crate) instruction: &'a Instruction,
    /// For an ONBUILD trigger, where it comes from.
    pub(crate) trigger: Option<TriggerPlace>,
    /// Its words, in the order in which BuildKit expands them.
    pub(crate) words: Vec<Expanded<'a>>,
    /// Whether a SHELL is in force, of the file or of the image.
    pub(crate) has_shell: bool,
    /// The SHELL in force, where the file says it.
    pub(crate) shell: Option<&'a [Word]>,
    /// Whether a WORKDIR stands above, in this stage or one below it.
    pub(crate) has_working_directory: bool,
}

/// Where an ONBUILD trigger comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TriggerPlace {
    /// The FROM that runs it.
    pub(crate) from: Span,
    /// The ONBUILD, if it stands in this file.
    pub(crate) written: Option<Span>,
}

impl<'a> Step<'a> {
    /// Returns its words of one role.
    pub(crate) fn words_as(&self, role: Role) -> impl Iterator<Item = &Expanded<'a>> {
        self.words.iter().filter(move |word| word.role == role)
    }
}

/// A word and what became of it.
pub(crate) struct Expanded<'a> {
    pub(crate) role: Role,
    /// As written.
    pub(crate) written: Cow<'a, Word>,
    /// Expanded; empty where it is wrong.
    pub(crate) expansion: Expansion,
    /// It could not be expanded.
    pub(crate) is_wrong: bool,
    /// Variables that are used, not set and not declared, with the nearest that is set.
    pub(crate) undefined: Vec<Undefined>,
}

/// A variable that is not set.
pub(crate) struct Undefined {
    pub(crate) name: String,
    pub(crate) near: Option<String>,
}

/// What a word is to its instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The image or stage of FROM.
    Base,
    /// The platform of FROM.
    Platform,
    /// A source of COPY or ADD.
    Source,
    /// Text of a heredoc that is copied.
    Body,
    /// A port of EXPOSE.
    Port,
    /// The directory of WORKDIR.
    Directory,
    /// Anything else.
    Other,
}
