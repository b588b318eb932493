#!/usr/bin/env python3
"""Whole builds by kiln and by Debian's buildah, one after the other in the same run, as ratios; and by a BuildKit that runs
already, when BUILDKIT_HOST names it and `buildctl` is there. Then what layers cost against plain tools.

    benches/whole_builds.py target/release/kiln [NAME…]

Each workload is built several times by each; the median counts. Times of one machine say little, ratios travel better.
Fixtures are made by this program and stored nowhere. `--check` ends with 1 when kiln is slower somewhere, misses an aim, or
uses more memory than it may.
"""

import argparse
import hashlib
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

MEMORY_MIB_MAX = 200
CACHED_MS_MAX = 20
RUN_OVERHEAD_MS_MAX = 10 if os.getuid() == 0 else 15


class Kiln:
    name = "kiln"

    def __init__(self, program, place):
        self.program, self.place = str(program), place

    def command(self, context):
        return [self.program, "build", "-q", "-t", "bench", str(context)]

    def environment(self):
        return {"KILN_HOME": str(self.place), "KILN_CONFIG": str(self.place / "none.toml")}

    def forget(self):
        shutil.rmtree(self.place, ignore_errors=True)


class Buildah:
    name = "buildah"

    def __init__(self, place):
        self.place = place

    def command(self, context):
        store = ["--root", str(self.place / "root"), "--runroot", str(self.place / "run"), "--storage-driver", driver()]
        build = ["build", "--quiet", "--layers", "--isolation", "chroot", "--signature-policy", str(policy(self.place))]
        return ["buildah", *store, *build, "-t", "bench", str(context)]

    def environment(self):
        return {}

    def forget(self):
        # Overlays of a build that was stopped may still be mounted.
        subprocess.run(["umount", "-l", self.place / "root" / "overlay"], capture_output=True, check=False)
        shutil.rmtree(self.place, ignore_errors=True)


class BuildKit:
    name = "buildkit"

    def __init__(self, place):
        self.place = place

    def command(self, context):
        sources = ["--local", f"context={context}", "--local", f"dockerfile={context}"]
        output = ["--output", f"type=oci,dest={self.place.with_suffix('.tar')}"]
        return ["buildctl", "build", "--progress", "quiet", "--frontend", "dockerfile.v0", *sources, *output]

    def environment(self):
        return {"BUILDKIT_HOST": os.environ["BUILDKIT_HOST"]}

    def forget(self):
        subprocess.run(["buildctl", "prune", "--all"], capture_output=True, check=True)


def driver():
    return "overlay" if os.getuid() == 0 else "vfs"


def policy(place):
    path = place.with_suffix(".policy.json")
    path.write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
    return path


def measure(builder, context):
    """Builds once; returns seconds and the peak of resident memory in MiB."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(builder.place.parent), **builder.environment()}
    log = builder.place.with_suffix(".log")
    with log.open("wb") as output:
        start = time.perf_counter()
        child = subprocess.Popen(builder.command(context), stdout=output, stderr=output, env=environment)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{builder.name} failed ({child.returncode}): {log.read_text(errors='replace')[-3000:]}")
    return seconds, usage.ru_maxrss / 1024


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def small_files(root, count):
    for number in range(count):
        write(root / f"{number % 100:02}" / f"{number % 7}" / f"file{number:05}.txt", f"{number}\n" * (number % 60 + 1))


def many_instructions(context):
    small_files(context / "src", 1000)
    lines = ["FROM scratch"]
    for number in range(10):
        lines += [f"ENV V{number}={number}", f"COPY src/{number:02} /src/{number:02}", f"LABEL l{number}={number}"]
    write(context / "Dockerfile", "\n".join([*lines, ""]))


def many_files(context):
    small_files(context / "src", 50_000)
    write(context / "Dockerfile", "FROM scratch\nCOPY src /src\n")


def big_file(context):
    write(context / "Dockerfile", "FROM scratch\nCOPY big /big\n")
    with (context / "big").open("wb") as file:
        # Half of it compresses, as program files do.
        for number in range(256):
            file.write(os.urandom(2 << 20))
            file.write(f"line {number} of some text\n".encode() * ((2 << 20) // 24))


def runs(count):
    def make(context):
        shutil.copy("/bin/busybox", context / "busybox")
        write(context / "Dockerfile", "FROM scratch\nCOPY busybox /bin/sh\n" + "RUN true\n" * count)

    return make


def nothing(_context, _round):
    pass


def change_one(context, number):
    write(context / "src" / "50" / "1" / "file00050.txt", f"changed {number}\n")


# name, how the context is made, whether each round starts cold, what changes before each round, rounds
WORKLOADS = [
    ("30 instructions, 1,000 files, cached", many_instructions, False, nothing, 9),
    ("30 instructions, 1,000 files, cold", many_instructions, True, nothing, 3),
    ("50,000 files, cold", many_files, True, nothing, 3),
    ("50,000 files, unchanged", many_files, False, nothing, 5),
    ("50,000 files, one changed", many_files, False, change_one, 3),
    ("1 GiB, cold", big_file, True, nothing, 2),
    ("no RUN, cold", runs(0), True, nothing, 5),
    ("20 RUN true, cold", runs(20), True, nothing, 3),
]


def bench(builder, context, cold, change, rounds):
    builder.forget()
    if not cold:
        measure(builder, context)
    results = []
    for number in range(rounds):
        if cold:
            builder.forget()
        change(context, f"{builder.name} {number} {time.time_ns()}")
        results.append(measure(builder, context))
    builder.forget()
    return statistics.median(seconds for seconds, _ in results), max(memory for _, memory in results)


def against_builders(place, program, names):
    """Prints a table; returns kiln's times by workload, and what is worse than it may be."""
    builders = [Kiln(program, place / "kiln")]
    if shutil.which("buildah"):
        builders.append(Buildah(place / "buildah"))
    if "BUILDKIT_HOST" in os.environ and shutil.which("buildctl"):
        builders.append(BuildKit(place / "buildkit"))
    peers = builders[1:]
    print(f"{'workload':40}{'kiln':>10}{'MiB':>6}" + "".join(f"{peer.name:>12}{'ratio':>8}" for peer in peers))
    complaints, times = [], {}
    for name, make, cold, change, rounds in WORKLOADS:
        if names and not any(part in name for part in names):
            continue
        context = fresh_context(place, make)
        (seconds, memory), *others = [bench(builder, context, cold, change, rounds) for builder in builders]
        times[name] = seconds
        columns = "".join(f"{other:11.3f}s{other / seconds:7.1f}x" for other, _ in others)
        print(f"{name:40}{seconds:9.3f}s{memory:6.0f}{columns}", flush=True)
        complaints += [f"{name}: slower than {peer.name}" for peer, (other, _) in zip(peers, others) if other < seconds]
        if memory > MEMORY_MIB_MAX:
            complaints.append(f"{name}: {memory:.0f} MiB of memory, at most {MEMORY_MIB_MAX}")
    return times, complaints


def fresh_context(place, make):
    context = place / "context"
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir()
    make(context)
    return context


class Planner(Kiln):
    """kiln, saying what it would do."""

    def command(self, context):
        return [self.program, "build", "-q", "--plan", str(context)]


class Archiver(Kiln):
    """kiln, writing an OCI archive."""

    def __init__(self, program, place, compression):
        super().__init__(program, place)
        self.compression = compression

    def command(self, context):
        output = f"type=oci,dest={self.place.with_suffix('.oci.tar')}"
        return [self.program, "build", "-q", "--compression", self.compression, "-o", output, str(context)]


def change_small(context, number):
    write(context / "small", f"changed {number}\n")


def pipeline(context, compressor, target):
    """Seconds that tar and a compressor take for what a context holds."""
    start = time.perf_counter()
    command = f"tar -C {context} -cf - . | {compressor} > {target}"
    subprocess.run(command, shell=True, check=True)
    return time.perf_counter() - start


def hashing(path):
    """Seconds to hash a file by SHA-256, as fast as this machine's OpenSSL can."""
    start = time.perf_counter()
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256")
    return time.perf_counter() - start


def alternating(rounds, *jobs):
    """The median of each job, done in turns, so that whatever else happens on the machine meets all of them."""
    results = [[job(number) for job in jobs] for number in range(rounds)]
    return [statistics.median(column) for column in zip(*results)]


def against_tools(place, program, walker):
    """What a large layer and many files cost, beside the plain tools that do a part of it. Returns what misses its aim."""
    threads, rows = os.cpu_count(), []
    context = fresh_context(place, big_file)
    change_small(context, "at first")
    for compression, compressor in [("gzip", f"pigz -p {threads}"), ("zstd", f"zstd -q -T{threads}")]:
        kiln = Archiver(program, place / "kiln", compression)

        def cold(_round):
            kiln.forget()
            return measure(kiln, context)[0]

        def changed(number):
            change_small(context, f"{compression} {number}")
            return measure(kiln, context)[0]

        seconds, other = alternating(3, cold, lambda _round: pipeline(context, compressor, place / "packed"))
        rows.append((f"1 GiB to an OCI archive, {compression}", seconds, f"tar | {compressor}", other, 1))
        seconds, other = alternating(3, changed, lambda _round: 2 * hashing(context / "big"))
        rows.append((f"the same, one small file changed, {compression}", seconds, "SHA-256 of it, twice", other, 1.5))
        kiln.forget()

    context, kiln = fresh_context(place, many_instructions), Kiln(program, place / "kiln")
    planner = Planner(program, place / "kiln")
    measure(kiln, context)

    def planned(number):
        write(context / "src" / "05" / "1" / "more.txt", f"changed {number}\n")
        return measure(planner, context)[0]

    built = lambda _round: measure(kiln, context)[0]
    seconds, other = alternating(7, lambda _round: measure(planner, context)[0], built)
    rows.append(("--plan, 30 instructions, nothing changed", seconds, "the build that follows", other, 1.2))
    seconds, other = alternating(7, planned, built)
    rows.append(("--plan, 30 instructions, one file changed", seconds, "the build that follows", other, 1))
    kiln.forget()

    context, kiln = fresh_context(place, many_files), Kiln(program, place / "kiln")

    def cold_files(_round):
        kiln.forget()
        return measure(kiln, context)[0]

    def changed_files(number):
        change_one(context, number)
        return measure(kiln, context)[0]

    def bare(_round):
        walked = subprocess.run([walker, context], check=True, capture_output=True, text=True).stdout
        return float(walked.split()[1])

    (first,) = alternating(3, cold_files)
    # A file that changed just now is not trusted, and read again.
    time.sleep(3)
    measure(kiln, context)
    seconds, other = alternating(7, lambda _round: measure(kiln, context)[0], bare)
    rows.append(("50,000 files, unchanged", seconds, "walk and stat alone", other, 2))
    (seconds,) = alternating(3, changed_files)
    rows.append(("50,000 files, one changed", seconds, "cold", first, 0.25))
    kiln.forget()

    print(f"\n{'layers':48}{'kiln':>10}  {'against':24}{'':>10}{'ratio':>8}{'at most':>9}")
    for name, seconds, peer, other, most in rows:
        print(f"{name:48}{seconds:9.3f}s  {peer:24}{other:9.3f}s{seconds / other:8.2f}{most:9}", flush=True)
    return [
        f"{name}: {seconds / other:.2f} of {peer}, at most {most}"
        for name, seconds, peer, other, most in rows
        if seconds > most * other
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument(
        "names", nargs="*", help="only workloads whose name contains one of these; `layers` for the tools"
    )
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    program = options.program.resolve()
    with tempfile.TemporaryDirectory(prefix="kiln-bench-") as place:
        place = pathlib.Path(place)
        times, complaints = against_builders(place, program, options.names)
        complaints += derived(times)
        walker = program.parent / "examples" / "bare_walk"
        if not options.names or "layers" in options.names:
            complaints += against_tools(place, program, walker)
    for complaint in complaints:
        print(f"! {complaint}")
    return 1 if options.check and complaints else 0


def derived(times):
    """Prints what follows from several workloads; returns what is above its aim."""
    complaints = []
    if {"no RUN, cold", "20 RUN true, cold"} <= times.keys():
        overhead = (times["20 RUN true, cold"] - times["no RUN, cold"]) / 20 * 1000
        print(f"overhead of one RUN: {overhead:.1f} ms (aim: {RUN_OVERHEAD_MS_MAX})")
        if overhead > RUN_OVERHEAD_MS_MAX:
            complaints.append(f"one RUN costs {overhead:.1f} ms")
    cached = times.get("30 instructions, 1,000 files, cached")
    if cached is not None:
        print(f"cached build: {cached * 1000:.1f} ms (aim: {CACHED_MS_MAX})")
        if cached * 1000 > CACHED_MS_MAX:
            complaints.append(f"a cached build takes {cached * 1000:.1f} ms")
    return complaints


if __name__ == "__main__":
    sys.exit(main())
