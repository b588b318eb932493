//! The ways in which one request is built, a row each.

use std::path::Path;

use super::requests::Request;
use crate::support::mounts::{Filesystem, Mounted};
use crate::support::users::{self, User};
use crate::support::{Invocation, TestSpace, peers};

/// A way to build.
pub(crate) struct Row {
    /// What is different.
    pub(crate) name: &'static str,
    /// What this machine must be able to do, as `requires!` has it.
    pub(crate) needs: &'static [&'static str],
    /// How it is made different.
    pub(crate) way: Way,
}

/// What is changed.
pub(crate) enum Way {
    /// The call, on a fresh store.
    Call(fn(Invocation) -> Invocation),
    /// The call, on a store that has built it already.
    Warm(fn(Invocation) -> Invocation),
    /// The context; what keeps it alive is returned.
    Context(fn(&Request, &Path) -> Option<Mounted>),
    /// The filesystem of the store.
    Store(fn(&Path) -> Mounted),
    /// The user.
    User(fn(&TestSpace) -> User),
}

const fn row(name: &'static str, needs: &'static [&'static str], way: Way) -> Row {
    Row { name, needs, way }
}

/// Every row.
pub(crate) const ALL: &[Row] = &[
    row("one job and one thread", &[], Way::Call(|call| threads(call, "1").args(["-j", "1"]))),
    row("two threads", &[], Way::Call(|call| threads(call, "2").args(["-j", "2"]))),
    row("eight jobs and threads", &[], Way::Call(|call| threads(call, "8").args(["-j", "8"]))),
    row(
        "another zone and language",
        &[],
        Way::Call(|call| {
            call.env("TZ", "Asia/Kolkata").env("LANG", "de_DE.UTF-8").env("LC_ALL", "C").env("LANGUAGE", "de")
        }),
    ),
    row(
        "a strict umask",
        &["sh"],
        Way::Call(|call| call.under(["sh", "-c", "umask 077; exec \"$@\"", "sh"])),
    ),
    row("a loose umask", &["sh"], Way::Call(|call| call.under(["sh", "-c", "umask 000; exec \"$@\"", "sh"]))),
    row(
        "another home and directory",
        &[],
        Way::Call(|call| {
            call.env("HOME", "/nowhere")
                .env("USER", "somebody")
                .env("HOSTNAME", "elsewhere")
                .directory(Path::new("/"))
        }),
    ),
    row(
        "another host name",
        &["root", "unshare"],
        Way::Call(|call| {
            call.under([
                "unshare",
                "--uts",
                "sh",
                "-c",
                "hostname other.example 2> /dev/null; exec \"$@\"",
                "sh",
            ])
        }),
    ),
    row("few open files", &["prlimit"], Way::Call(|call| call.under(["prlimit", "--nofile=256"]))),
    row("a clock ten years ahead", &["faketime"], Way::Call(|call| clock(call, "@2036-11-05 06:07:08"))),
    row("a clock in the past", &["faketime"], Way::Call(|call| clock(call, "@1999-12-31 23:59:59"))),
    row("a warm cache", &[], Way::Warm(|call| call)),
    row("a warm cache that is not asked", &[], Way::Warm(|call| call.arg("--no-cache"))),
    row(
        "a warm cache and another clock",
        &["faketime"],
        Way::Warm(|call| clock(call, "@2001-02-03 04:05:06")),
    ),
    row(
        "files made in another order",
        &[],
        Way::Context(|request, root| {
            request.lay_out(root, true);
            None
        }),
    ),
    row(
        "other times of files",
        &["find", "touch"],
        Way::Context(|request, root| {
            request.lay_out(root, false);
            let words =
                [root.to_str().unwrap(), "-exec", "touch", "-h", "-d", "2001-02-03 04:05:06.789", "{}", "+"];
            peers::run("find", words);
            None
        }),
    ),
    row(
        "another path behind a link",
        &[],
        Way::Context(|request, root| {
            let elsewhere = root.with_file_name("with blanks and \u{fc}");
            request.lay_out(&elsewhere, false);
            std::os::unix::fs::symlink(elsewhere, root).unwrap();
            None
        }),
    ),
    row(
        "a context in memory",
        &["root"],
        Way::Context(|request, root| on(Filesystem::Tmpfs("64m"), request, root)),
    ),
    row(
        "a context with coarse times",
        &["loop", "mkfs.ext4"],
        Way::Context(|request, root| on(Filesystem::CoarseExt4, request, root)),
    ),
    row(
        "a context on an overlay",
        &["root"],
        Way::Context(|request, root| on(Filesystem::Overlay, request, root)),
    ),
    row(
        "a store in memory",
        &["root"],
        Way::Store(|path| Mounted::new(path.to_owned(), Filesystem::Tmpfs("256m"))),
    ),
    row(
        "a store with coarse times",
        &["loop", "mkfs.ext4"],
        Way::Store(|path| Mounted::new(path.to_owned(), Filesystem::CoarseExt4)),
    ),
    row(
        "a store on an overlay",
        &["root"],
        Way::Store(|path| Mounted::new(path.to_owned(), Filesystem::Overlay)),
    ),
    row(
        "a user with subordinate ids",
        &["root", "setpriv", "newuidmap"],
        Way::User(users::with_subordinate_ids),
    ),
    row("a user with a single id", &["root", "setpriv"], Way::User(users::with_single_id)),
];

fn threads(call: Invocation, count: &str) -> Invocation {
    call.env("RAYON_NUM_THREADS", count)
}

/// Runs the program under a clock that stands somewhere else and goes on from there.
fn clock(call: Invocation, start: &str) -> Invocation {
    call.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").under(["faketime", "-f", start])
}

fn on(kind: Filesystem, request: &Request, root: &Path) -> Option<Mounted> {
    let mounted = Mounted::new(root.to_owned(), kind);
    request.lay_out(root, false);
    // What mkfs makes is no part of the context.
    let found = root.join("lost+found");
    if found.exists() {
        std::fs::remove_dir(found).unwrap();
    }
    Some(mounted)
}
