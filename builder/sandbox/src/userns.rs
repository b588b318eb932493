//! Enters a user namespace, so that an ordinary user can be root of what it makes. Unaware of steps.
//!
//! With subordinate ids (`/etc/subuid`, `/etc/subgid`) the setuid programs `newuidmap` and `newgidmap` write the maps.
//! They must run outside the namespace, so two helpers are forked before it is made; each waits for a byte, then becomes
//! its program. Without subordinate ids the only mapped id is the caller's own, as root.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, getegid, geteuid, getpid};
use rustix::thread::UnshareFlags;
use thiserror::Error;

use crate::confinement::try_mounting;
use crate::ids::IdMap;
use crate::probe::id_map_tool;
use crate::{capabilities, own_program, sys};

/// How ids are to be mapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdMapping {
    /// Subordinate ids where the machine grants them, else a single id.
    #[default]
    Best,
    /// Only the caller's own id, as root.
    Single,
}

/// What is asked of [`enter`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserNamespaceOptions {
    /// How ids are to be mapped.
    pub mapping: IdMapping,
}

/// Who this process is after [`enter`].
#[derive(Debug)]
pub enum Identity {
    /// Root already, with the capability to mount; no namespace was made.
    Root,
    /// Root of a new user namespace that has the caller's id and its subordinate ids.
    Subordinate {
        /// How many user ids are mapped, from 0 on.
        uid_count: u64,
        /// How many group ids are mapped, from 0 on.
        gid_count: u64,
    },
    /// Root of a container that may not make namespaces, or not mount in them; none was made. Steps run by `chroot`.
    Chroot {
        /// What the kernel said about namespaces and mounts.
        refused: io::Error,
    },
    /// Root of a new user namespace in which only the caller's own id exists.
    Single {
        /// Why there are no subordinate ids; `None` when they were not asked for.
        reason: Option<SubordinateError>,
    },
}

/// Why there is no user namespace.
#[derive(Debug, Error)]
pub enum UserNamespaceError {
    /// The kernel refused to make the namespace, and this root cannot run steps by `chroot` either.
    #[error("cannot make a user namespace, and this root cannot run steps by chroot: it lacks {missing}")]
    Powerless {
        /// The capabilities.
        missing: String,
        /// What the kernel said about the namespace.
        #[source]
        source: io::Error,
    },
    /// The kernel refused to make the namespace.
    #[error("cannot make a user namespace, and mounts in it")]
    Refused(#[source] io::Error),
    /// The namespace was made and could not be given ids; this process can do little any more.
    #[error("cannot map ids in a new user namespace: {file}")]
    Unmapped {
        /// The file that could not be written.
        file: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// This process could not find out who it is.
    #[error("cannot read the ids of this process")]
    Unknown(#[source] io::Error),
}

/// Why there are no subordinate ids.
#[derive(Debug, Error)]
pub enum SubordinateError {
    /// The user has no entry.
    #[error("no subordinate ids for this user in `{file}`")]
    NoEntry {
        /// `/etc/subuid` or `/etc/subgid`.
        file: &'static str,
    },
    /// The file cannot be read.
    #[error("cannot read `{file}`")]
    Unreadable {
        /// The file.
        file: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program that writes the map is not installed (Debian: package `uidmap`).
    #[error("`{tool}` is not installed")]
    NoTool {
        /// `newuidmap` or `newgidmap`.
        tool: &'static str,
    },
    /// The program failed.
    #[error("`{tool}` failed: {message}")]
    ToolFailed {
        /// `newuidmap` or `newgidmap`.
        tool: &'static str,
        /// What it said.
        message: String,
    },
    /// The helper that runs it could not be started.
    #[error("cannot start `{tool}`")]
    NotStarted {
        /// `newuidmap` or `newgidmap`.
        tool: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Enters a user namespace unless this process is root already, or root that may do nothing else. To be called while the process has one thread.
///
/// # Errors
/// When the kernel refuses; the process is then as before. Missing subordinate ids are no error.
pub fn enter(options: &UserNamespaceOptions) -> Result<Identity, UserNamespaceError> {
    let unknown = |errno: rustix::io::Errno| UserNamespaceError::Unknown(errno.into());
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let is_able = uid == 0 && capabilities::may_administer().map_err(unknown)?;
    // What cannot be had with these rights cannot be had with those of a new namespace either.
    let others = if is_able { UnshareFlags::empty() } else { UnshareFlags::NEWUSER };
    match try_mounting(others) {
        Ok(()) if is_able => return Ok(Identity::Root),
        Ok(()) => {}
        Err(errno) => return without_namespaces(uid, errno.into()),
    }
    let program = own_program::look();
    let helpers = match options.mapping {
        IdMapping::Best => Some(Helpers::start(uid, gid)),
        IdMapping::Single => None,
    };
    if let Err(errno) = sys::unshare(UnshareFlags::NEWUSER) {
        helpers.into_iter().flatten().for_each(Helpers::dismiss);
        return without_namespaces(uid, errno.into());
    }
    let reason = match helpers.map(|helpers| helpers.and_then(Helpers::map)) {
        Some(Ok(())) => None,
        Some(Err(reason)) => {
            map_single(uid, gid)?;
            Some(reason)
        }
        None => {
            map_single(uid, gid)?;
            None
        }
    };
    let ids = IdMap::of_this_process().map_err(UserNamespaceError::Unknown)?;
    if let Some(program) = program {
        program.judge(&ids);
    }
    Ok(match ids.is_single() {
        false => Identity::Subordinate { uid_count: ids.user_count(), gid_count: ids.group_count() },
        true => Identity::Single { reason },
    })
}

/// Root of a container can still run steps by `chroot`.
fn without_namespaces(uid: u32, refused: io::Error) -> Result<Identity, UserNamespaceError> {
    let is_single = IdMap::of_this_process().map_err(UserNamespaceError::Unknown)?.is_single();
    if uid != 0 || is_single {
        return Err(UserNamespaceError::Refused(refused));
    }
    let missing =
        capabilities::missing_for_chroot().map_err(|errno| UserNamespaceError::Unknown(errno.into()))?;
    if missing.is_empty() {
        return Ok(Identity::Chroot { refused });
    }
    Err(UserNamespaceError::Powerless { missing: missing.join(", "), source: refused })
}

const SETGROUPS: &str = "/proc/self/setgroups";
const UID_MAP: &str = "/proc/self/uid_map";
const GID_MAP: &str = "/proc/self/gid_map";

fn map_single(uid: u32, gid: u32) -> Result<(), UserNamespaceError> {
    let ids = IdMap::of_this_process().map_err(UserNamespaceError::Unknown)?;
    match (ids.user_count(), ids.group_count()) {
        (0, 0) => {
            write(SETGROUPS, "deny")?;
            write(UID_MAP, &format!("0 {uid} 1"))?;
            write(GID_MAP, &format!("0 {gid} 1"))
        }
        // One of the tools has written its map, and that stays. A namespace within this one is without yet.
        (_, groups) => {
            match groups {
                0 => {
                    write(SETGROUPS, "deny")?;
                    write(GID_MAP, &format!("0 {gid} 1"))?;
                }
                _ => write(UID_MAP, &format!("0 {uid} 1"))?,
            }
            sys::unshare(UnshareFlags::NEWUSER).map_err(|errno| UserNamespaceError::Refused(errno.into()))?;
            map_single(0, 0)
        }
    }
}

/// Writes a map; the kernel takes one in one write only.
fn write(file: &'static str, content: &str) -> Result<(), UserNamespaceError> {
    let opened = fs::OpenOptions::new().write(true).open(file);
    let written = opened.and_then(|mut map| map.write_all(content.as_bytes()));
    written.map_err(|source| UserNamespaceError::Unmapped { file, source })
}

/// A kind of id: who maps it and where it is granted.
struct IdKind {
    tool: &'static str,
    grants: &'static str,
}

const USERS: IdKind = IdKind { tool: "newuidmap", grants: "/etc/subuid" };
const GROUPS: IdKind = IdKind { tool: "newgidmap", grants: "/etc/subgid" };
/// Most of what a tool says that is kept.
const MESSAGE_BYTES_MAX: u64 = 4096;

/// Two processes that wait to become `newuidmap` and `newgidmap`.
struct Helpers([Helper; 2]);

struct Helper {
    tool: &'static str,
    pid: Pid,
    go: OwnedFd,
    said: OwnedFd,
}

impl Helpers {
    fn start(uid: u32, gid: u32) -> Result<Self, SubordinateError> {
        let name = user_name(uid);
        // Groups are granted to users, too: by the user's name or id.
        let users = Helper::start(&USERS, uid, uid, name.as_deref())?;
        match Helper::start(&GROUPS, uid, gid, name.as_deref()) {
            Ok(groups) => Ok(Helpers([users, groups])),
            Err(error) => {
                users.dismiss();
                Err(error)
            }
        }
    }

    /// Sends both home.
    fn dismiss(self) {
        // The second one holds the first one's pipe, too.
        let [users, groups] = self.0;
        groups.dismiss();
        users.dismiss();
    }

    /// Lets both write their map and waits for them.
    fn map(self) -> Result<(), SubordinateError> {
        let [users, groups] = self.0;
        let users = users.begin();
        let groups = groups.begin();
        // Both are waited for, whatever the first one says.
        let (users, groups) = (users.finish(), groups.finish());
        users.and(groups)
    }
}

impl Helper {
    fn start(kind: &IdKind, uid: u32, own_id: u32, name: Option<&str>) -> Result<Self, SubordinateError> {
        let (tool, file) = (kind.tool, kind.grants);
        let grants =
            fs::read_to_string(file).map_err(|source| SubordinateError::Unreadable { file, source })?;
        let ranges = granted(&grants, uid, name);
        if ranges.is_empty() {
            return Err(SubordinateError::NoEntry { file });
        }
        let path = id_map_tool(tool).ok_or(SubordinateError::NoTool { tool })?;
        let not_started =
            |errno: rustix::io::Errno| SubordinateError::NotStarted { tool, source: errno.into() };
        let arguments = arguments(tool, own_id, &ranges);
        let path = CString::new(path).expect("tool paths have no NUL");
        let (wait, go) = pipe_with(PipeFlags::CLOEXEC).map_err(not_started)?;
        let (said, say) = pipe_with(PipeFlags::CLOEXEC).map_err(not_started)?;
        let Some(pid) = sys::fork().map_err(not_started)? else {
            drop((go, said));
            become_tool(&path, &arguments, &wait, &say);
        };
        Ok(Helper { tool, pid, go, said })
    }

    fn begin(self) -> Begun {
        // A helper that died shows in its status.
        rustix::io::write(&self.go, b"g").unwrap_or_default();
        Begun { tool: self.tool, pid: self.pid, said: self.said }
    }

    /// Sends the helper home.
    fn dismiss(self) {
        drop(self.go);
        sys::wait_with_usage(self.pid).map(drop).unwrap_or_default();
    }
}

/// A helper that is at work.
struct Begun {
    tool: &'static str,
    pid: Pid,
    said: OwnedFd,
}

impl Begun {
    fn finish(self) -> Result<(), SubordinateError> {
        let tool = self.tool;
        let mut message = Vec::new();
        let read = File::from(self.said).take(MESSAGE_BYTES_MAX).read_to_end(&mut message);
        let waited = sys::wait_with_usage(self.pid);
        let not_started = |source| SubordinateError::NotStarted { tool, source };
        read.map_err(not_started)?;
        if waited.map_err(|errno| not_started(errno.into()))?.status == 0 {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&message).trim().replace('\n', "; ");
        Err(SubordinateError::ToolFailed { tool, message })
    }
}

/// Waits for the word, then becomes the tool; goes away when the other side does.
fn become_tool(path: &CString, arguments: &[CString], wait: &OwnedFd, say: &OwnedFd) -> ! {
    let mut byte = [0];
    let begun = matches!(rustix::io::read(wait, &mut byte), Ok(1));
    if begun
        && rustix::stdio::dup2_stdout(say.as_fd()).is_ok()
        && rustix::stdio::dup2_stderr(say.as_fd()).is_ok()
    {
        sys::execve(path, arguments, &[]);
    }
    sys::exit_now(127)
}

/// `newuidmap PID 0 OWN 1 1 FIRST COUNT …`: this process's own id becomes root, the granted ones follow.
fn arguments(tool: &str, own_id: u32, ranges: &[(u64, u64)]) -> Vec<CString> {
    let mut words = vec![tool.to_owned(), getpid().as_raw_nonzero().to_string()];
    words.extend(["0".to_owned(), own_id.to_string(), "1".to_owned()]);
    let mut inside = 1;
    for (first, count) in ranges {
        words.extend([inside.to_string(), first.to_string(), count.to_string()]);
        inside += count;
    }
    words.into_iter().map(|word| CString::new(word).expect("digits and names have no NUL")).collect()
}

/// Returns the ranges granted to a user, by name or id, as (first, count).
fn granted(grants: &str, uid: u32, name: Option<&str>) -> Vec<(u64, u64)> {
    let uid = uid.to_string();
    let mut ranges = Vec::new();
    for line in grants.lines() {
        let mut fields = line.trim().split(':');
        let whom = fields.next();
        if whom != Some(&uid) && (whom.is_none() || whom != name) {
            continue;
        }
        let mut numbers = fields.map(str::parse);
        if let (Some(Ok(first)), Some(Ok(count))) = (numbers.next(), numbers.next())
            && count > 0
        {
            ranges.push((first, count));
        }
    }
    ranges
}

/// Returns the user's name if `/etc/passwd` has it. Names from elsewhere (LDAP) need an entry by number.
fn user_name(uid: u32) -> Option<String> {
    // Unreadable is like having no entry: the next error says what is missing.
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_granted_by_name_or_number() {
        let grants = "root:1:2\nann:100000:65536\n1000:300000:10\nbob:200000:65536\nann:x:3\nann:5:0\n";
        let rows = [
            (1000, Some("ann"), vec![(100_000, 65536), (300_000, 10)]),
            (1001, Some("bob"), vec![(200_000, 65536)]),
            (1000, None, vec![(300_000, 10)]),
            (7, None, vec![]),
        ];
        for (uid, name, expected) in rows {
            assert_eq!(granted(grants, uid, name), expected, "{uid} {name:?}");
        }
    }
}
