#!/usr/bin/env python3
"""What one `RUN true` costs: kiln beside buildah, `crun run` and a bare `unshare`, as root and as an ordinary user with
subordinate ids. Then the memory of many steps beside that of one, on a large base.

    benches/run_overhead.py target/release/kiln

A builder's figure is the difference of a Dockerfile with RUN true twenty times and one without, built in turns, divided by twenty.
Medians count. Run by an ordinary user, or where no user has subordinate ids, a half of the table is missing; what does not run on
this machine says why. `--check` ends with 1 when an aim is missed.
"""

import argparse
import json
import os
import pathlib
import pwd
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from whole_builds import Buildah, Kiln, alternating, fresh_context, measure, runs, write

STEPS = 20
# Of a builder that takes seconds fewer rounds tell as much.
ROUNDS = {"kiln": 9, "buildah": 3}
BARE_ROUNDS = 30
# Milliseconds.
AIMS = {"root": 10, "user": 15}
MEMORY_RATIO_MAX = 3


class As:
    """A builder, run by another user."""

    def __init__(self, builder, user):
        self.builder, self.user = builder, user
        self.name, self.place = builder.name, builder.place
        self.environment, self.forget = builder.environment, builder.forget

    def command(self, context):
        return [*becoming(self.user), *self.builder.command(context)]


class VfsBuildah(Buildah):
    """buildah as an ordinary user has it everywhere."""

    def command(self, context):
        return [word if word != "overlay" else "vfs" for word in super().command(context)]


def becoming(user):
    """The words before a command that make it another user's; none for the user of this process."""
    if user is None or user.pw_uid == os.getuid():
        return []
    return ["setpriv", "--reuid", user.pw_name, "--regid", str(user.pw_gid), "--init-groups", "--"]


def subordinate_user():
    """A user that exists and has subordinate ids, or None."""
    for line in pathlib.Path("/etc/subuid").read_text().splitlines():
        name = line.split(":")[0]
        try:
            user = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
        except KeyError:
            continue
        if user.pw_uid != 0 and (os.getuid() in (0, user.pw_uid)):
            return user
    return None


def root_directory(place):
    """A root with one program, as the Dockerfile of `runs` makes it."""
    root = place / "bundle" / "rootfs"
    for name in ["bin", "proc", "sys", "dev", "etc"]:
        (root / name).mkdir(parents=True)
    for name in ["sh", "true"]:
        shutil.copy("/bin/busybox", root / "bin" / name)
    return root


def bundle(root, is_rootless):
    """Writes the configuration that crun itself proposes, for `/bin/sh -c true`."""
    config = root.parent / "config.json"
    config.unlink(missing_ok=True)
    subprocess.run(["crun", "spec", *(["--rootless"] if is_rootless else [])], cwd=root.parent, check=True)
    document = json.loads(config.read_text())
    document["process"]["args"] = ["/bin/sh", "-c", "true"]
    document["process"]["terminal"] = False
    config.write_text(json.dumps(document))


def bare_commands(root, user):
    """The plain tools, by name: each starts one process in a root of its own and waits for it."""
    is_root = user is None
    flags = "-mpf" if is_root else "-Urmpf"
    commands = {"unshare": ["unshare", flags, f"--mount-proc={root}/proc", "chroot", str(root), "/bin/true"]}
    state = str(root.parent.parent / "state")
    commands["crun run"] = ["crun", "--root", state, "--cgroup-manager=disabled", "run", "-b", str(root.parent), "bench"]
    commands = {name: command for name, command in commands.items() if shutil.which(command[0])}
    return {name: [*becoming(user), *command] for name, command in commands.items()}


def once(command):
    """Runs a command; returns milliseconds, or None when it fails."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/"}
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    milliseconds = (time.perf_counter() - start) * 1000
    if done.returncode != 0:
        print(f"! `{' '.join(command)}`: {done.stderr.decode(errors='replace').strip()[-500:]}", file=sys.stderr)
        return None
    return milliseconds


def bare(root, user):
    """Medians of the plain tools in milliseconds. What `setpriv` takes is measured, too, and taken off."""
    bundle(root, user is not None)
    # What does not run on this machine says why, and is left out.
    commands = {name: command for name, command in bare_commands(root, user).items() if once(command) is not None}
    jobs = [lambda _round, command=command: once(command) for command in commands.values()]
    nothing = lambda _round: once([*becoming(user), "/bin/true"])
    start, *others = alternating(BARE_ROUNDS, nothing, *jobs)
    own = start if becoming(user) else 0
    return {name: milliseconds - own for name, milliseconds in zip(commands, others)}


def builders(place, program, user):
    """Medians of what one RUN costs the builders, in milliseconds."""
    kiln, buildah = Kiln(program, place / "kiln"), Buildah if user is None else VfsBuildah
    found = [kiln] + ([buildah(place / "buildah")] if shutil.which("buildah") else [])
    found = [As(builder, user) for builder in found]
    contexts = []
    for count in (0, STEPS):
        context = fresh_context(place, runs(count))
        contexts.append(context.rename(place / f"context{count}"))
    hand_over(place, user)

    def job(builder, context):
        def cold(_round):
            builder.forget()
            return measure(builder, context)[0] * 1000

        return cold

    costs = {}
    for builder in found:
        none, many = alternating(ROUNDS[builder.name], *[job(builder, context) for context in contexts])
        costs[builder.name] = (many - none) / STEPS
        builder.forget()
    for context in contexts:
        shutil.rmtree(context)
    return costs


def hand_over(place, user):
    if becoming(user):
        subprocess.run(["chown", "-R", f"{user.pw_uid}:{user.pw_gid}", place], check=True)


def overhead(place, program):
    """Prints the table; returns what misses its aim."""
    users = {"root": None} if os.getuid() == 0 else {}
    ordinary = subordinate_user()
    if ordinary is not None:
        users["user"] = ordinary
    columns = {}
    for label, user in users.items():
        own = place / label
        own.mkdir()
        columns[label] = builders(own, program, user)
        root = root_directory(own)
        hand_over(own, user)
        columns[label] |= bare(root, user)
    print(f"{'one RUN true':24}" + "".join(f"{label:>12}{'ratio':>8}" for label in columns))
    for name in dict.fromkeys(name for column in columns.values() for name in column):
        row = "".join(cells(column, name) for column in columns.values())
        print(f"{name:24}{row}", flush=True)
    print("(ratio: to kiln)")
    costs = {label: column["kiln"] for label, column in columns.items()}
    return [f"one RUN costs {costs[label]:.1f} ms as {label}" for label in costs if costs[label] > AIMS[label]]


def cells(column, name):
    if name not in column:
        return f"{'–':>12}{'':8}"
    return f"{column[name]:10.1f}ms{column[name] / column['kiln']:7.1f}x"


def large_base(context):
    """A GiB in ten thousand files, half of which compresses."""
    for number in range(10_000):
        text = f"line {number} of some text\n".encode() * (54 * 1024 // 24)
        write(context / "data" / f"{number % 100:02}" / f"file{number:05}", os.urandom(50 * 1024) + text)
    shutil.copy("/bin/busybox", context / "busybox")
    write(context / "Dockerfile", "FROM scratch\nCOPY busybox /bin/sh\nCOPY data /data\n")


def memory(place, program):
    """Prints the memory of one step and of a hundred; returns what misses its aim."""
    kiln = Kiln(program, place / "kiln")
    measure(kiln, fresh_context(place, large_base))

    def steps(count):
        def make(context):
            # Each changes something, and nothing of it is cached.
            lines = [f"RUN echo {time.time_ns()} > /file{number}" for number in range(count)]
            write(context / "Dockerfile", "\n".join(["FROM bench", *lines, ""]))

        # The tag of the base stays: this one takes another.
        named = Kiln(program, place / "kiln")
        named.command = lambda context: [named.program, "build", "-q", "-t", "steps", str(context)]
        return measure(named, fresh_context(place, make))

    # The first unpacks the base.
    steps(1)
    (_, one), (seconds, hundred) = steps(1), steps(100)
    kiln.forget()
    print(f"\na base of 1 GiB: {one:.0f} MiB of memory for one step, {hundred:.0f} MiB for a hundred", end=" ")
    print(f"({hundred / one:.1f}x, at most {MEMORY_RATIO_MAX}); {seconds * 10:.1f} ms a step that writes a file")
    return [f"a hundred steps use {hundred:.0f} MiB"] if hundred > MEMORY_RATIO_MAX * one else []


def without_hybrid_cgroups():
    """crun runs nothing where both versions of control groups have controllers. It is shown one, in a mount namespace of ours."""
    groups = pathlib.Path("/proc/self/cgroup").read_text().splitlines()
    is_hybrid = any(line.startswith("0::") for line in groups) and len(groups) > 1
    if os.getuid() != 0 or not is_hybrid or "KILN_BENCH_INSIDE" in os.environ:
        return
    script = 'mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"'
    words = ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, *sys.argv]
    os.execvpe(words[0], words, {**os.environ, "KILN_BENCH_INSIDE": "1"})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    without_hybrid_cgroups()
    program = options.program.resolve()
    with tempfile.TemporaryDirectory(prefix="kiln-bench-") as place:
        place = pathlib.Path(place)
        # Other users must get through.
        place.chmod(0o755)
        complaints = overhead(place, program)
        complaints += memory(place, program)
    for complaint in complaints:
        print(f"! {complaint}")
    return 1 if options.check and complaints else 0


if __name__ == "__main__":
    sys.exit(main())
