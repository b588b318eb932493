"""Runs a program as root of a container without rights: no namespaces, no mounts, Docker's capabilities less those named first.

confined.py [CAPABILITY…] -- PROGRAM [ARGUMENT…]
"""

import ctypes
import os
import platform
import struct
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
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
EPERM, ENOSYS = 1, 38


def instruction(code, value, taken=0, other=0):
    return struct.pack("HBBI", code, taken, other, value)


def program():
    architecture, denied, clone, clone3 = MACHINES[platform.machine()]
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


def confine():
    lines = program()
    code = ctypes.create_string_buffer(b"".join(lines))
    filter = struct.pack("HxxxxxxP", len(lines), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(22, 2, ctypes.c_char_p(filter), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def main():
    end = sys.argv.index("--")
    granted = [name for name in GRANTED.split() if name not in sys.argv[1:end]]
    sets = "-all," + ",".join("+" + name for name in granted)
    confine()
    os.execvp("setpriv", ["setpriv", "--bounding-set", sets, "--inh-caps", "-all"] + sys.argv[end + 1 :])


main()
