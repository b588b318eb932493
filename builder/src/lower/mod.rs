//! Dockerfile → plan: the only room that knows both the language and the steps.
//!
//! It asks and is told: [`Planner::wants`] names the base images whose configuration it must know, [`Planner::provide`] tells
//! it, [`Planner::finish`] gives the plan. No I/O. Words of the Dockerfile end here; nothing below names an instruction.
//!
//! ```text
//!  Dockerfile ─► planner ─► attempt ─► links ─► bases ─► run, copy, meta ─► Plan
//!                   ▲            │
//!        images ────┘            └─ wants: images not known yet
//! ```
//!
//! Every attempt starts afresh from the tree and the images known so far, so there is no half-lowered state: stages whose
//! base is not known yet are left out of that attempt, and what they name besides is asked for in the same round.

mod changes;

mod notice;

mod outline;

mod lint;

mod places;

mod planner;

mod attempt;

mod bases;
mod files;

mod links;

mod copy;
mod meta;
mod run;

mod ports;

mod stages;

mod names;
mod scope;

mod syntax;

// The door to the language: whoever is above takes it from here.
pub use kiln_frontend::Parsed;
pub use kiln_frontend::ast::Dockerfile;
pub use kiln_frontend::diagnostic::{Diagnostic, Severity};
pub use kiln_frontend::dockerignore::Matcher;
pub use kiln_frontend::lint::{Config, Finding, Linted, unknown_rule};
pub use kiln_frontend::source::Source;

pub use changes::{ChangeError, changed_config, changed_config_of, nearest};
pub use lint::{CHECK_ARGUMENT, LintInput, depends_on_variables, lint, violation};
pub use notice::{notice, place};
pub use outline::outline;
pub use places::named_at;
pub use planner::{Extent, Lowered, MAIN_CONTEXT, PlanOptions, Planner, further_errors};
pub use run::DEFAULT_HOSTNAME;
pub use stages::{ImageRequest, ImageSource, ResolvedImage};
pub use syntax::parse;

#[cfg(test)]
mod tests;
