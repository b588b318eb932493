//! Flags of a command that are defined when the command is used, so that no start of the program pays for those of all others.
//!
//! Groups of commands are not deferred, only what is in them: completions of `kiln help` walk the words before anything is built.

use std::ops::Deref;

use clap::{ArgMatches, Args, Command as Definition, FromArgMatches, Id};

/// What a command line gives to a command. Nothing is seen of the flags before the definition of the command is built: whoever
/// walks definitions calls [`Definition::build`] first.
#[derive(Debug)]
pub(crate) struct Deferred<A>(Box<A>);

impl<A> Deferred<A> {
    /// Returns it.
    pub(crate) fn into_inner(self) -> A {
        *self.0
    }
}

impl<A> Deref for Deferred<A> {
    type Target = A;

    fn deref(&self) -> &A {
        &self.0
    }
}

impl<A: Args> Args for Deferred<A> {
    fn augment_args(definition: Definition) -> Definition {
        definition.defer(|definition| {
            // What the command is for stands at the command; the flags' type has a sentence of its own.
            let about = definition.get_about().cloned().unwrap_or_default();
            // The flags of all commands are here already. Help shows them last, in the order of the definition, and `mut_arg` takes
            // an argument out and appends it.
            let global: Vec<Id> =
                definition.get_arguments().map(|argument| argument.get_id().clone()).collect();
            let definition = A::augment_args(definition).about(about);
            global.into_iter().fold(definition, |definition, id| definition.mut_arg(id, |argument| argument))
        })
    }

    fn augment_args_for_update(definition: Definition) -> Definition {
        A::augment_args_for_update(definition)
    }
}

impl<A: FromArgMatches> FromArgMatches for Deferred<A> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        A::from_arg_matches(matches).map(|flags| Self(Box::new(flags)))
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, clap::Error> {
        A::from_arg_matches_mut(matches).map(|flags| Self(Box::new(flags)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}
