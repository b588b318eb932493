//! What this machine allows, one value a question, so that errors and `kiln doctor` can name what is missing. Looks only;
//! makes nothing.

use std::fs;
use std::io;

use rustix::mount::{FsOpenFlags, fsopen};
use rustix::process::geteuid;

use crate::capabilities;
use crate::ids::IdMap;

/// What stands in the way of running steps, or of running them well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Kernel release, as `uname -r` says.
    pub kernel: String,
    /// Whether this process is root with the right to mount.
    pub is_root: bool,
    /// Whether root of this process's user namespace is root outside of it.
    pub was_root: bool,
    /// `user.max_user_namespaces`; 0 forbids them.
    pub user_namespaces_max: Option<u64>,
    /// Debian's `kernel.unprivileged_userns_clone`; `Some(false)` forbids them to ordinary users.
    pub unprivileged_clone: Option<bool>,
    /// Ubuntu's `kernel.apparmor_restrict_unprivileged_userns`; `Some(true)` takes their capabilities away.
    pub apparmor_restricts: Option<bool>,
    /// Whether a system call filter surrounds this process, as in most containers.
    pub is_filtered: bool,
    /// Whether `newuidmap` and `newgidmap` are installed.
    pub has_id_map_tools: bool,
    /// Whether the kernel has overlayfs and the mount API of Linux 5.2.
    pub has_overlay: bool,
}

/// One reason why steps cannot run as an ordinary user here, or only with less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// User namespaces are switched off.
    #[error("user namespaces are switched off: sysctl `user.max_user_namespaces` is 0")]
    NoUserNamespaces,
    /// Debian's switch is off.
    #[error("user namespaces are only for root: sysctl `kernel.unprivileged_userns_clone` is 0")]
    OnlyForRoot,
    /// Ubuntu's AppArmor takes the capabilities away.
    #[error(
        "AppArmor takes all rights from user namespaces: sysctl `kernel.apparmor_restrict_unprivileged_userns` is 1"
    )]
    AppArmor,
    /// A container's filter probably refuses `unshare` and `mount`.
    #[error(
        "a system call filter surrounds this process (a container?) and may refuse new namespaces and mounts"
    )]
    Filtered,
    /// Subordinate ids cannot be mapped.
    #[error("`newuidmap` or `newgidmap` is not installed: only one user id can be mapped")]
    NoIdMapTools,
    /// Roots cannot be overlays.
    #[error("the kernel has no overlayfs, or is older than Linux 5.12")]
    NoOverlay,
}

/// Looks at this machine. What cannot be read counts as not there.
pub fn probe() -> Machine {
    Machine {
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        is_root: geteuid().is_root() && capabilities::may_administer().unwrap_or(false),
        was_root: IdMap::of_this_process().is_ok_and(|ids| ids.has_outer_user(0)),
        user_namespaces_max: number("/proc/sys/user/max_user_namespaces"),
        unprivileged_clone: number("/proc/sys/kernel/unprivileged_userns_clone").map(|value| value != 0),
        apparmor_restricts: apparmor_restricts(),
        is_filtered: is_filtered(),
        has_id_map_tools: id_map_tool("newuidmap").is_some() && id_map_tool("newgidmap").is_some(),
        has_overlay: has_overlay(),
    }
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Whether AppArmor takes the capabilities of ordinary users in their user namespaces.
pub(crate) fn apparmor_restricts() -> Option<bool> {
    number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").map(|value| value != 0)
}

/// Whether a system call filter surrounds this process.
pub(crate) fn is_filtered() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let filter = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    filter.is_some_and(|mode| mode.trim() != "0")
}

/// Where the setuid programs are; the caller's `PATH` is not asked, because libraries read no environment.
const TOOL_DIRECTORIES: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/usr/local/bin"];

/// Returns where `newuidmap` or `newgidmap` is installed.
pub fn id_map_tool(name: &str) -> Option<String> {
    let paths = TOOL_DIRECTORIES.iter().map(|directory| format!("{directory}/{name}"));
    paths.into_iter().find(|path| fs::metadata(path).is_ok())
}

/// An ordinary user may not open a context; then the kernel's own list answers.
fn has_overlay() -> bool {
    let listed = || -> io::Result<bool> {
        Ok(fs::read_to_string("/proc/filesystems")?
            .lines()
            .any(|line| line.trim_start_matches("nodev").trim() == "overlay"))
    };
    fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC).is_ok() || listed().unwrap_or(false)
}

impl Machine {
    /// Returns what stands in the way, gravest first; empty on a machine where everything works.
    pub fn obstacles(&self) -> Vec<Obstacle> {
        let rows = [
            (self.user_namespaces_max == Some(0), Obstacle::NoUserNamespaces),
            (self.unprivileged_clone == Some(false), Obstacle::OnlyForRoot),
            (self.apparmor_restricts == Some(true), Obstacle::AppArmor),
            (self.is_filtered, Obstacle::Filtered),
            (!self.has_id_map_tools, Obstacle::NoIdMapTools),
        ];
        let of_users =
            rows.into_iter().filter(|(stands, _)| *stands && !self.is_root).map(|(_, obstacle)| obstacle);
        of_users.chain((!self.has_overlay).then_some(Obstacle::NoOverlay)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn obstacles_of_ordinary_users_do_not_concern_root() {
        let free = Machine {
            kernel: "6.1.0".to_owned(),
            is_root: false,
            was_root: false,
            user_namespaces_max: Some(100),
            unprivileged_clone: Some(true),
            apparmor_restricts: None,
            is_filtered: false,
            has_id_map_tools: true,
            has_overlay: true,
        };
        assert_eq!(free.obstacles(), []);
        let closed = Machine { unprivileged_clone: Some(false), has_overlay: false, ..free };
        assert_eq!(closed.obstacles(), [Obstacle::OnlyForRoot, Obstacle::NoOverlay]);
        assert_eq!(Machine { is_root: true, ..closed }.obstacles(), [Obstacle::NoOverlay]);
    }

    #[test]
    fn the_kernel_of_this_machine_is_named() {
        assert!(probe().kernel.contains('.'));
    }
}
