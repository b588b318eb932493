//! The program as in a container with Docker's settings. Needs root, python3 and setpriv.

use std::ffi::OsString;

use super::space::repository;

/// Returns the words that run a program so: as root that may neither make namespaces nor mount, but for what `words` say
/// (`sys_chroot`: without that capability; the others stand in the script).
pub(crate) fn prefix(words: &[&str]) -> Vec<OsString> {
    let script = repository().join("tests/it/support/confined.py");
    let start = [OsString::from("python3"), script.into_os_string()];
    start.into_iter().chain(words.iter().map(OsString::from)).chain(["--".into()]).collect()
}
