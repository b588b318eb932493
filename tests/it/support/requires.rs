//! Skips what this machine cannot do: printed, and a failure on CI.

use std::path::Path;

/// Returns whether a program of this name is on the search path.
pub(crate) fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
        || Path::new("/usr/sbin").join(name).is_file()
}

/// Returns whether this process is root.
pub(crate) fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// Returns whether the test runs where a skip is a failure.
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Says that something is not proved here; panics on CI.
pub(crate) fn skip(reason: &str) {
    assert!(!is_ci(), "skipped on CI, where everything must run: {reason}");
    eprintln!("skipped: {reason}");
}

/// Returns from the test, saying so, unless every named program (or `root`, or `loop` devices) is there.
macro_rules! requires {
    ($($need:literal),+ $(,)?) => {
        $(
            if !$crate::support::requires::is_met($need) {
                $crate::support::requires::skip(concat!("needs ", $need));
                return;
            }
        )+
    };
}
pub(crate) use requires;

/// Returns whether one need of `requires!` is met.
pub(crate) fn is_met(need: &str) -> bool {
    match need {
        "root" => is_root(),
        "loop" => is_root() && Path::new("/dev/loop-control").exists(),
        "s3rver" => super::object_store::program().is_some(),
        "docker" => super::peers::docker().is_some(),
        program => has_program(program),
    }
}
