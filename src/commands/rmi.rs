//! `kiln rmi`.

use super::{Context, print};
use crate::cli::RmiArgs;
use crate::failure::{Failure, Kind};
use crate::ui::{show_failure, stderr_style};
use kiln_builder::catalog::{self, Layers, Removed};

/// Removes names and images; goes on where one cannot be removed. With force, what is not there is told, and no failure.
pub(super) fn run(args: &RmiArgs, context: Context) -> Result<(), Failure> {
    let (workshop, settings) = context.open(1)?;
    let style = stderr_style(&settings);
    let layers = if args.no_prune { Layers::Stay } else { Layers::Go };
    let mut last = None;
    let mut gone: Vec<&String> = Vec::new();
    for image in &args.images {
        // `kiln rmi -f $(kiln images -q)` names an image once for each of its names.
        if gone.contains(&image) {
            continue;
        }
        match catalog::remove(&workshop, image, args.force, layers) {
            Ok(removed) => {
                print(&render(&removed))?;
                gone.push(image);
            }
            Err(error) if args.force && error.is_not_found() => {
                show_failure(&Failure::of(Kind::Failed, &error), style);
            }
            Err(error) => {
                if let Some(before) = last.replace(Failure::of(Kind::Failed, &error)) {
                    show_failure(&before, style);
                }
            }
        }
    }
    last.map_or(Ok(()), Err)
}

fn render(removed: &[Removed]) -> String {
    let line = |removed: &Removed| match removed {
        Removed::Untagged(name) => format!("Untagged: {}\n", name.familiar()),
        Removed::Deleted(digest) => format!("Deleted: {digest}\n"),
    };
    removed.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use kiln_oci::Digest;

    use super::*;

    #[test]
    fn what_was_removed_is_said_as_docker_says_it() {
        let digest = Digest::of(b"config");
        let removed = [Removed::Untagged("app:1".parse().unwrap()), Removed::Deleted(digest)];
        assert_eq!(render(&removed), format!("Untagged: app:1\nDeleted: {digest}\n"));
    }
}
