#!/usr/bin/env python3
"""Runs a program, as itself as far as anyone can see, and writes how much memory it and its children needed, in KiB.

    measure.py FILE PROGRAM ARGUMENT…
"""

import os
import signal
import sys

child = os.fork()
if child == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(child, 0)
with open(sys.argv[1], "w") as file:
    file.write(str(usage.ru_maxrss))
if os.WIFSIGNALED(status):
    signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
    os.kill(os.getpid(), os.WTERMSIG(status))
sys.exit(os.waitstatus_to_exitcode(status))
