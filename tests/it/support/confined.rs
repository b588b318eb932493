//! The program as root of a container that allows neither namespaces nor mounts. Needs root, python3 and setpriv.

use std::ffi::OsString;

use super::space::repository;

/// Returns the words that run a program so, without the capabilities named (`sys_chroot`).
pub(crate) fn prefix(without: &[&str]) -> Vec<OsString> {
    let script = repository().join("tests/it/support/confined.py");
    let words = [OsString::from("python3"), script.into_os_string()];
    words.into_iter().chain(without.iter().map(OsString::from)).chain(["--".into()]).collect()
}
