"""Runs a program as in a container with Docker's settings: its capabilities, and a filter that refuses namespaces and mounts.

confined.py [WORD…] -- PROGRAM [ARGUMENT…]

    CAPABILITY    is missing
    +CAPABILITY   is there besides
    filter=none   refuses nothing
    filter=mounts refuses mounts, and lets namespaces be made, as a profile of AppArmor does
    covered       parts of /proc are covered, as runtimes do
    user=ID       an ordinary user
    fixed         no new privileges
"""

import ctypes
import os
import platform
import struct
import subprocess
import sys

# architecture; setns, unshare, mount, umount2, pivot_root, open_tree, move_mount, fsopen, fsmount, mount_setattr; clone; clone3
MACHINES = {
    "x86_64": (0xC000003E, [308, 272, 165, 166, 155, 428, 429, 430, 432, 442], 56, 435),
    "aarch64": (0xC00000B7, [268, 97, 40, 39, 41, 428, 429, 430, 432, 442], 220, 435),
}
GRANTED = (
    "chown dac_override fsetid fowner mknod net_raw setgid setuid setfcap setpcap net_bind_service sys_chroot kill audit_write"
)
NAMESPACES = 0x7E020000
NEW_MOUNTS = 0x00020000
# A number that no call has.
UNKNOWN = 0x7FFF
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
EPERM, ENOSYS = 1, 38


def instruction(code, value, taken=0, other=0):
    return struct.pack("HBBI", code, taken, other, value)


def program(is_for_mounts):
    architecture, denied, clone, clone3 = MACHINES[platform.machine()]
    if is_for_mounts:
        denied, clone, clone3 = denied[2:], UNKNOWN, UNKNOWN
    load, equal, some, answer = 0x20, 0x15, 0x45, 0x06
    lines = [instruction(load, 4), instruction(equal, architecture, 1, 0), instruction(answer, ERRNO | EPERM)]
    lines.append(instruction(load, 0))
    for number in denied:
        lines += [instruction(equal, number, 0, 1), instruction(answer, ERRNO | EPERM)]
    # The C library goes back to `clone`, whose flags can be looked at.
    lines += [instruction(equal, clone3, 0, 1), instruction(answer, ERRNO | ENOSYS)]
    lines += [instruction(equal, clone, 0, 3), instruction(load, 16), instruction(some, NAMESPACES, 0, 1)]
    lines += [instruction(answer, ERRNO | EPERM), instruction(answer, ALLOW)]
    return lines


def check(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def cover():
    """Covers parts of /proc in a mount namespace of this process's own."""
    check(ctypes.CDLL(None, use_errno=True).unshare(NEW_MOUNTS), "unshare")
    for arguments in (
        ["--make-rprivate", "/"],
        ["--bind", "/dev/null", "/proc/interrupts"],
        ["-t", "tmpfs", "-o", "ro", "tmpfs", "/proc/fs"],
        ["--bind", "/proc/sys", "/proc/sys"],
        ["-o", "remount,bind,ro", "/proc/sys"],
    ):
        subprocess.run(["mount"] + arguments, check=True)


def confine(is_for_mounts):
    lines = program(is_for_mounts)
    code = ctypes.create_string_buffer(b"".join(lines))
    filter = struct.pack("HxxxxxxP", len(lines), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    check(libc.prctl(22, 2, ctypes.c_char_p(filter), 0, 0), "prctl")


def main():
    end = sys.argv.index("--")
    words = sys.argv[1:end]
    granted = [name for name in GRANTED.split() if name not in words]
    granted += [word[1:] for word in words if word.startswith("+")]
    sets = "-all," + ",".join("+" + name for name in granted)
    options = ["--bounding-set", sets, "--inh-caps", "-all"]
    for user in (word[5:] for word in words if word.startswith("user=")):
        options += ["--reuid", user, "--regid", user, "--clear-groups"]
    if "fixed" in words:
        options.append("--no-new-privs")
    if "covered" in words:
        cover()
    if "filter=none" not in words:
        confine("filter=mounts" in words)
    os.execvp("setpriv", ["setpriv"] + options + sys.argv[end + 1 :])


main()
