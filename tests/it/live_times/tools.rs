//! Programs of this machine with the libraries they need, as the files of an image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Copies programs from the search path, and what they are linked to, below `root`.
pub(super) fn install(programs: &[&str], root: &Path) {
    for program in programs {
        let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap();
        let path = PathBuf::from(String::from_utf8(found.stdout).unwrap().trim());
        copy(&path, &root.join("bin").join(program));
        libraries(&path, root);
    }
}

/// Copies the libraries that a program is linked to.
pub(super) fn libraries(program: &Path, root: &Path) {
    let output = Command::new("ldd").arg(program).output().unwrap();
    for word in
        String::from_utf8(output.stdout).unwrap().split_whitespace().filter(|word| word.starts_with("/lib"))
    {
        copy(Path::new(word), &root.join(word.trim_start_matches('/')));
    }
}

/// Copies a file, making the directories above it.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap();
}

/// Copies cargo and a compiler that can compile what uses `core` alone, below `root/rust`.
pub(super) fn install_rust(root: &Path) {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap();
    let sysroot = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    let rust = root.join("rust");
    for program in ["bin/cargo", "bin/rustc"] {
        copy(&sysroot.join(program), &rust.join(program));
        libraries(&sysroot.join(program), root);
    }
    let is_needed = |name: &str| name.starts_with("librustc_driver") || name.starts_with("libLLVM");
    copy_some(&sysroot.join("lib"), &rust.join("lib"), is_needed);
    let target = "lib/rustlib/x86_64-unknown-linux-gnu/lib";
    let is_needed = |name: &str| name.starts_with("libcore-") || name.starts_with("libcompiler_builtins-");
    copy_some(&sysroot.join(target), &rust.join(target), is_needed);
}

fn copy_some(from: &Path, to: &Path, is_needed: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let name = entry.file_name();
        if is_needed(&name.to_string_lossy()) {
            copy(&entry.path(), &to.join(name));
        }
    }
}
