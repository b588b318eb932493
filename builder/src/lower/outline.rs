//! What a target of a Dockerfile takes, for a build.

use kiln_frontend::ast::Dockerfile;
use kiln_frontend::diagnostic::Diagnostic;
use kiln_frontend::outline::{self, Outline, OutlineRequest};

use super::planner::PlanOptions;
use super::scope::{automatic_arguments, target_name};

/// Returns the arguments, secrets and ssh agents that the target of a build takes. Asks no image.
///
/// # Errors
/// For a target that is no stage, and for stages that cannot be put in order.
pub fn outline(file: &Dockerfile, options: &PlanOptions) -> Result<Outline, Vec<Diagnostic>> {
    let platform = options.platforms.first().unwrap_or(&options.build_platform);
    let name = target_name(file, options.target.as_deref());
    outline::outline(&OutlineRequest {
        file,
        target: options.target.as_deref(),
        automatic_arguments: &automatic_arguments(
            &options.build_platform,
            platform,
            name,
            &options.build_args,
        ),
        build_args: &options.build_args,
    })
}
