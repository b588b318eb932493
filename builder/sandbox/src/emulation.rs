//! Whether programs of another architecture can run here, by a handler of the kernel's `binfmt_misc`. Looks only.
//!
//! A handler counts when its magic fits the beginning of a program of that architecture, whatever its name is. One without
//! the flag `F` opens its interpreter in the step's root, where it seldom is.

use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Dir, Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::ids::IdMap;

/// Where handlers are listed, if the file system is mounted.
const PLACE: &str = "/proc/sys/fs/binfmt_misc";
/// Files there that are no handlers.
const SWITCHES: [&str; 2] = ["register", "status"];
/// Most of a handler's description that is read.
const DESCRIPTION_BYTES_MAX: u64 = 4096;

/// How programs of an architecture run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Emulation {
    /// The processor runs them.
    Native,
    /// A handler runs them.
    Handler(Handler),
    /// Nothing does; the name that a handler for it usually has.
    Missing(String),
    /// Nobody can say before one is tried: the list of handlers cannot be read, or the architecture is unknown.
    Unknown,
}

/// One handler of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handler {
    /// Its name.
    pub name: String,
    /// Its interpreter.
    pub interpreter: String,
    /// Whether the interpreter is open already, and so works in every root (flag `F`).
    pub is_fixed: bool,
    magic: Vec<u8>,
    mask: Vec<u8>,
    offset: usize,
}

/// How programs of one architecture begin.
struct Architecture {
    /// As in platforms.
    name: &'static str,
    /// As in the names of handlers.
    machine: &'static str,
    is_64_bit: bool,
    is_big_endian: bool,
    /// `e_machine` of ELF.
    number: u16,
}

const fn row(
    name: &'static str,
    machine: &'static str,
    is_64_bit: bool,
    is_big_endian: bool,
    number: u16,
) -> Architecture {
    Architecture { name, machine, is_64_bit, is_big_endian, number }
}

const ARCHITECTURES: [Architecture; 11] = [
    row("386", "i386", false, false, 3),
    row("amd64", "x86_64", true, false, 62),
    row("arm", "arm", false, false, 40),
    row("arm64", "aarch64", true, false, 183),
    row("loong64", "loongarch64", true, false, 258),
    row("mips64", "mips64", true, true, 8),
    row("mips64le", "mips64el", true, false, 8),
    row("ppc64", "ppc64", true, true, 21),
    row("ppc64le", "ppc64le", true, false, 21),
    row("riscv64", "riscv64", true, false, 243),
    row("s390x", "s390x", true, true, 22),
];

/// Returns how programs of an architecture, named as in platforms, run here.
pub fn emulation(architecture: &str) -> Emulation {
    if is_native(architecture) {
        return Emulation::Native;
    }
    let Some(known) = find(architecture) else { return Emulation::Unknown };
    match handlers() {
        Ok(handlers) => known.handled_by(&handlers),
        // A container seldom has the list, and the handlers work there all the same.
        Err(_) => Emulation::Unknown,
    }
}

fn find(architecture: &str) -> Option<&'static Architecture> {
    ARCHITECTURES.iter().find(|known| known.name == architecture)
}

fn is_native(architecture: &str) -> bool {
    match std::env::consts::ARCH {
        "x86_64" => ["amd64", "386"].contains(&architecture),
        // Most of its processors run programs of 32 bits, too.
        "aarch64" => ["arm64", "arm"].contains(&architecture),
        own => own == architecture,
    }
}

/// Whether a program that the kernel refused is one of another machine, as [`ExecError::WrongFormat`](crate::ExecError) names it.
pub fn is_foreign(machine: &str) -> bool {
    machine.starts_with("ELF machine ") || (find(machine).is_some() && !is_native(machine))
}

/// Returns the architectures besides the machine's own that run here, with their handlers; `None` when the list cannot be read.
pub fn emulated() -> Option<Vec<(&'static str, Handler)>> {
    let handlers = handlers().ok()?;
    let foreign = ARCHITECTURES.iter().filter(|known| !is_native(known.name));
    let found = foreign.filter_map(|known| match known.handled_by(&handlers) {
        Emulation::Handler(handler) => Some((known.name, handler)),
        _ => None,
    });
    Some(found.collect())
}

impl Architecture {
    fn handled_by(&self, handlers: &[Handler]) -> Emulation {
        let header = self.header();
        match handlers.iter().find(|handler| handler.takes(&header)) {
            Some(handler) => Emulation::Handler(handler.clone()),
            None => Emulation::Missing(format!("qemu-{}", self.machine)),
        }
    }

    /// Returns the first bytes of such a program.
    fn header(&self) -> [u8; 20] {
        let mut header = [0; 20];
        header[..4].copy_from_slice(b"\x7fELF");
        header[4] = if self.is_64_bit { 2 } else { 1 };
        header[5] = if self.is_big_endian { 2 } else { 1 };
        header[6] = 1;
        const EXECUTABLE: u16 = 2;
        let bytes =
            |number: u16| if self.is_big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
        header[16..18].copy_from_slice(&bytes(EXECUTABLE));
        header[18..].copy_from_slice(&bytes(self.number));
        header
    }
}

impl Handler {
    fn takes(&self, header: &[u8]) -> bool {
        let Some(bytes) = header.get(self.offset..) else { return false };
        // What lies beyond the header is not looked at: no magic of an ELF program reaches further.
        let compared = bytes.iter().zip(&self.magic).enumerate();
        !self.magic.is_empty()
            && compared.into_iter().all(|(at, (byte, magic))| {
                let mask = self.mask.get(at).copied().unwrap_or(0xff);
                byte & mask == magic & mask
            })
    }

    /// Reads the kernel's description. Disabled handlers, and those for names of files, are none.
    fn parse(name: &str, text: &str) -> Option<Self> {
        let field = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        if text.lines().next() != Some("enabled") {
            return None;
        }
        Some(Handler {
            name: name.to_owned(),
            interpreter: field("interpreter ")?.to_owned(),
            is_fixed: field("flags: ").is_some_and(|flags| flags.contains('F')),
            magic: hex(field("magic ")?)?,
            mask: hex(field("mask ").unwrap_or_default())?,
            offset: field("offset ").and_then(|number| number.parse().ok()).unwrap_or(0),
        })
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    digits.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

/// Reads the handlers that are switched on.
fn handlers() -> io::Result<Vec<Handler>> {
    let directory = match fs::exists(format!("{PLACE}/status")) {
        Ok(true) => openat(CWD, PLACE, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?,
        _ => unmounted()?,
    };
    if read(&directory, "status")?.trim() != "enabled" {
        return Ok(Vec::new());
    }
    let mut handlers = Vec::new();
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || SWITCHES.contains(&name.as_str()) {
            continue;
        }
        handlers.extend(Handler::parse(&name, &read(&directory, &name)?));
    }
    handlers.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(handlers)
}

/// Opens the machine's list where it is not mounted, attached nowhere. In another user namespace that would begin an empty
/// list, which hides the machine's from then on.
fn unmounted() -> io::Result<OwnedFd> {
    if !IdMap::of_this_process()?.is_initial() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let context = fsopen(c"binfmt_misc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let mounted = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)?;
    // A mount is only a path at first; its names are read through a directory.
    Ok(openat(&mounted, ".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn read(directory: &OwnedFd, name: &str) -> io::Result<String> {
    let file = openat(directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = String::new();
    fs::File::from(file).take(DESCRIPTION_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    const ARM64: &str = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF\noffset 0\n\
        magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn a_handler_takes_programs_whose_beginning_fits_its_magic() {
        let handler = Handler::parse("qemu-aarch64", ARM64).unwrap();
        assert!(handler.is_fixed);
        for architecture in &ARCHITECTURES {
            assert_eq!(
                handler.takes(&architecture.header()),
                architecture.name == "arm64",
                "{}",
                architecture.name
            );
        }
        let known = |name| find(name).unwrap();
        assert_eq!(known("arm64").handled_by(from_ref(&handler)), Emulation::Handler(handler.clone()));
        assert_eq!(known("s390x").handled_by(&[handler]), Emulation::Missing("qemu-s390x".to_owned()));
    }

    #[test]
    fn what_is_switched_off_or_looks_at_names_is_no_handler() {
        for text in [
            &ARM64.replace("enabled", "disabled"),
            "enabled\ninterpreter /usr/bin/python3\nflags: \nextension .py\n",
            "enabled\n",
            "",
            &ARM64.replace("magic 7f", "magic 7g"),
        ] {
            assert_eq!(Handler::parse("x", text), None, "{text}");
        }
        assert!(!Handler::parse("x", &ARM64.replace("OCF", "OC")).unwrap().is_fixed);
    }

    #[test]
    fn the_machines_own_programs_need_no_handler() {
        assert_eq!(
            emulation(if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }),
            Emulation::Native
        );
        assert_eq!(emulation("pdp11"), Emulation::Unknown);
        let rows = [
            ("s390x", true),
            ("ELF machine 99", true),
            ("386", cfg!(not(target_arch = "x86_64"))),
            ("no program", false),
        ];
        for (machine, expected) in rows {
            assert_eq!(is_foreign(machine), expected, "{machine}");
        }
    }
}
