//! Finds the step's program inside its root, and says why it could not be started. Runs as the step's user.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Access, access};
use rustix::io::Errno;

use crate::spec::{DEFAULT_PATH, RunSpec};
use crate::wire::Failure;

/// Program, arguments and environment as the kernel wants them; made before anything can no longer fail politely.
pub(crate) struct Program {
    name: String,
    argv: Vec<CString>,
    env: Vec<CString>,
    candidates: Vec<CString>,
    searched: bool,
}

/// How much of a program is read to see what it is.
const HEAD_BYTES: usize = 4096;

impl Program {
    /// Checks and converts the command of a spec, whose `argv` is not empty.
    pub(crate) fn new(spec: &RunSpec) -> Result<Self, Failure> {
        let argv = spec
            .argv
            .iter()
            .map(|argument| c_string(argument, "an argument"))
            .collect::<Result<Vec<_>, _>>()?;
        let env = spec
            .env
            .iter()
            .map(|(name, value)| {
                let pair = [name.as_bytes(), b"=", value.as_bytes()].concat();
                c_string(OsStr::from_bytes(&pair), &format!("variable `{}`", name.to_string_lossy()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let name = spec.argv[0].as_bytes();
        let searched = !name.contains(&b'/');
        let candidates = if searched {
            let path = spec.variable("PATH").unwrap_or(OsStr::new(DEFAULT_PATH));
            candidates(path, name)
        } else {
            vec![argv[0].clone()]
        };
        Ok(Program { name: spec.argv[0].to_string_lossy().into_owned(), argv, env, candidates, searched })
    }

    /// Becomes the program; returns only with the reason why not.
    pub(crate) fn execute(&self) -> Failure {
        let mut denied = None;
        for candidate in &self.candidates {
            match crate::sys::execve(candidate, &self.argv, &self.env) {
                // As a shell does: what cannot be used does not hide what stands later in PATH.
                Errno::NOENT if access(candidate.as_c_str(), Access::EXISTS).is_err() => {}
                Errno::NOTDIR => {}
                Errno::ACCESS => denied = denied.or(Some(Errno::ACCESS)),
                errno => return self.failure(candidate, errno),
            }
        }
        let program = self.name.clone();
        match denied {
            Some(_) => Failure::PermissionDenied { program },
            None => Failure::NotFound { program, searched: self.searched },
        }
    }

    fn failure(&self, candidate: &CString, errno: Errno) -> Failure {
        let program = self.name.clone();
        let head = head(candidate);
        match errno {
            Errno::NOENT => Failure::BadInterpreter { program, interpreter: interpreter(&head) },
            Errno::NOEXEC => Failure::WrongFormat { program, machine: machine(&head) },
            Errno::TOOBIG => Failure::TooLong { program },
            Errno::PERM => Failure::PermissionDenied { program },
            _ => Failure::WrongFormat { program, machine: format!("{}: {errno}", machine(&head)) },
        }
    }
}

fn c_string(text: &OsStr, what: &str) -> Result<CString, Failure> {
    CString::new(text.as_bytes()).map_err(|_| Failure::NulByte { what: what.to_owned() })
}

fn candidates(path: &OsStr, name: &[u8]) -> Vec<CString> {
    if name.is_empty() {
        return Vec::new();
    }
    let in_directory = |directory: &[u8]| {
        let directory = if directory.is_empty() { b"." } else { directory };
        // The name has no NUL; a directory with one names nothing.
        CString::new([directory, b"/", name].concat()).ok()
    };
    path.as_bytes().split(|byte| *byte == b':').filter_map(in_directory).collect()
}

/// Reads the beginning of a file; an unreadable one looks empty, because this only words an error.
fn head(path: &CString) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(OsStr::from_bytes(path.to_bytes())) {
        file.take(HEAD_BYTES as u64).read_to_end(&mut bytes).unwrap_or_default();
    }
    bytes
}

/// Returns the interpreter that a script or program names.
fn interpreter(head: &[u8]) -> String {
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
        let name = line.split(|byte| matches!(byte, b' ' | b'\t')).next().unwrap_or_default();
        let carriage_return =
            if line.ends_with(b"\r") || name.ends_with(b"\r") { " (with a carriage return)" } else { "" };
        return format!("{}{carriage_return}", String::from_utf8_lossy(name.trim_ascii()));
    }
    // The dynamic loader's path is the only text of this shape near the start of an ELF file.
    let text =
        head.split(|byte| *byte == 0).find(|text| text.starts_with(b"/lib") || text.starts_with(b"/usr/lib"));
    text.map_or_else(|| "unknown".to_owned(), |text| String::from_utf8_lossy(text).into_owned())
}

/// Says what a file is for.
fn machine(head: &[u8]) -> String {
    let [0x7f, b'E', b'L', b'F', ..] = head else {
        return if head.is_empty() {
            "an empty or unreadable file"
        } else {
            "no program; a script needs a first line `#!…`"
        }
        .to_owned();
    };
    let number = head.get(18..20).map_or(0, |bytes| u16::from(bytes[0]) | u16::from(bytes[1]) << 8);
    let name = match number {
        3 => "386",
        40 => "arm",
        62 => "amd64",
        183 => "arm64",
        243 => "riscv64",
        22 => "s390x",
        21 => "ppc64le",
        _ => return format!("ELF machine {number}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_file_tells_what_it_needs() {
        let rows: [(&[u8], &str); 5] = [
            (b"#!/usr/bin/python3 -u\nprint()\n", "/usr/bin/python3"),
            (b"#! /bin/none\n", "/bin/none"),
            (b"#!/bin/sh\r\n", "/bin/sh"),
            (b"\x7fELF\0\0/lib64/ld-linux-x86-64.so.2\0GNU", "/lib64/ld-linux-x86-64.so.2"),
            (b"", "unknown"),
        ];
        for (head, expected) in rows {
            assert_eq!(interpreter(head), expected);
        }
    }

    #[test]
    fn a_program_without_slash_is_looked_for_in_each_directory() {
        let found = candidates(OsStr::new("/bin::/usr/bin"), b"cc");
        let found: Vec<_> = found.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(found, ["/bin/cc", "./cc", "/usr/bin/cc"]);
    }
}
