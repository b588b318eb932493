//! What this machine cannot do: namespaces, overlays, programs of other processors.

use std::io;

use kiln_builder::transform::StepError;
use kiln_sandbox::{ExecError, Operation, is_foreign};

/// Returns what to do about an error that is this machine's, not the build's; `None` when it is none.
pub(crate) fn hint_of_machine(error: &StepError) -> Option<&'static str> {
    match error {
        StepError::Exec(ExecError::Setup { operation: Operation::Overlay, source })
            if source.kind() == io::ErrorKind::InvalidInput =>
        {
            Some(OVERLAY_HINT)
        }
        StepError::Exec(ExecError::IdNotMapped { .. }) => Some(IDS_HINT),
        StepError::Exec(cause) if cause.is_machine_limit() => Some(MACHINE_HINT),
        StepError::Exec(ExecError::WrongFormat { machine, .. }) if is_foreign(machine) => Some(FOREIGN_HINT),
        StepError::Impossible { .. } => Some(MACHINE_HINT),
        StepError::Foreign { .. } => Some(FOREIGN_HINT),
        _ => None,
    }
}

const OVERLAY_HINT: &str = "the filesystem of the store cannot take the changes of an overlay; a container's own cannot. \
    Without `build.root` in config.toml steps run in copies, or keep the store on a volume (`--store DIR`, `KILN_HOME`)";

const IDS_HINT: &str =
    "whoever made the user namespace around kiln, such as a container runtime, decides which ids it has";

const MACHINE_HINT: &str = "RUN needs user and mount namespaces: in a container, allow them (unconfined seccomp and \
    apparmor profiles), or run kiln as a root that may at least chroot and chown (docs/rootless.md); a Dockerfile without RUN needs \
    nothing. `kiln doctor` says what this machine lacks";

const FOREIGN_HINT: &str = "programs of another architecture run where the kernel has a handler for them, registered with \
    the flag F: Debian has `qemu-user-static` and `binfmt-support`, and `kiln doctor` lists what is there. A Dockerfile \
    without RUN needs none, and a stage `FROM --platform=$BUILDPLATFORM` runs this machine's programs";
