//! `kiln container prune`.

use kiln_builder::upkeep::{self, Item, Kind as ItemKind, Policy};

use crate::cli::ContainerPruneArgs;
use crate::commands::prune::confirmed;
use crate::commands::{Context, print};
use crate::failure::{Failure, Kind};
use crate::request;
use crate::settings::now_seconds;
use crate::ui::{human, show_failure, stderr_style};

/// Docker's words.
const QUESTION: &str =
    "WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N] ";

/// Removes the containers that do not run.
pub(crate) fn prune(args: &ContainerPruneArgs, context: Context) -> Result<(), Failure> {
    let unused_for_min = request::container::unused_for(&args.filter, now_seconds())?;
    let (workshop, settings) = context.open(1)?;
    if !args.force && !confirmed(QUESTION)? {
        return Err(
            Failure::new(Kind::Failed, "nothing was removed").with_hint("`--force` removes without asking")
        );
    }
    let policy = Policy { kinds: [ItemKind::Container].into(), unused_for_min, ..Policy::default() };
    let report =
        upkeep::prune(&workshop.store, &policy).map_err(|error| Failure::of(Kind::Failed, &error))?;
    let id = |item: &Item| match item {
        Item::Container(id) => Some(format!("{id}\n")),
        _ => None,
    };
    let ids: String = report.gone().filter_map(|verdict| id(&verdict.item)).collect();
    if !ids.is_empty() {
        print(&format!("Deleted Containers:\n{ids}\n"))?;
    }
    print(&format!("Total reclaimed space: {}\n", human::size(report.bytes().allocated)))?;
    let style = stderr_style(&settings);
    let mut failures = report.kept.iter().map(|error| Failure::of(Kind::Failed, error));
    let Some(first) = failures.next() else { return Ok(()) };
    failures.for_each(|failure| show_failure(&failure, style));
    Err(first)
}
