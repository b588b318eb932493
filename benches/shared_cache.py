#!/usr/bin/env python3
"""A cache in a registry: kiln's `--cache-to` and `--cache-from` beside those of Debian's buildah, in one Debian `docker-registry`.

    benches/shared_cache.py target/release/kiln

Three builds of one project, by each in turns: an empty store fills an empty cache; an empty store finds all in the cache; a store
that knows all has nothing to do, and is told to read and write the cache all the same. The median of each counts.
"""

import argparse
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from whole_builds import Buildah, Kiln, write

ROUNDS = 3
STEPS = 12
FILES = 40
FILE_BYTES = 20_000
ROWS = [("fill", "an empty store fills the cache"), ("take", "an empty store takes all layers"), ("idle", "nothing to do")]


class Registry:
    """A registry on a free port, which ends with the block."""

    def __init__(self, place):
        self.place = place

    def __enter__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.host = "127.0.0.1:%d" % free.getsockname()[1]
        self.place.mkdir()
        storage = f"storage: {{filesystem: {{rootdirectory: {self.place}/data}}}}"
        config = self.place / "config.yml"
        config.write_text(f"version: 0.1\nlog: {{level: error}}\n{storage}\nhttp: {{addr: '{self.host}'}}\n")
        environment = {"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
        self.server = subprocess.Popen(["docker-registry", "serve", str(config)], **quiet)
        host, port = self.host.split(":")
        for _ in range(400):
            with socket.socket() as probe:
                if probe.connect_ex((host, int(port))) == 0:
                    return self
            time.sleep(0.025)
        raise SystemExit("docker-registry does not start")

    def __exit__(self, *_):
        self.server.kill()
        self.server.wait()


def project(context):
    """Steps that each bring files which do not shrink."""
    lines = ["FROM scratch"]
    for step in range(STEPS):
        for number in range(FILES):
            write(context / f"part-{step}" / f"file-{number}", os.urandom(FILE_BYTES))
        lines.append(f"COPY part-{step} /part-{step}")
    write(context / "Dockerfile", "\n".join(lines).encode())


def words(builder, repository, row):
    """The words that name the cache."""
    source = [f"--cache-from={repository}"]
    if builder.name == "buildah":
        target, more = [f"--cache-to={repository}"], ["--tls-verify=false"]
    else:
        target = [f"--cache-to=type=registry,ref={repository},mode=max"]
        # Layers stay in the cache until something needs them, so something does: buildah fetches all.
        more = ["-o", f"type=oci,dest={builder.place}.tar"] if row == "take" else []
    return {"fill": target, "take": source, "idle": [*source, *target]}[row] + more


def milliseconds(builder, context, more):
    """Builds once. What is said on the way is shown when that fails."""
    *command, last = builder.command(context)
    environment = {"PATH": os.environ["PATH"], "HOME": "/", **builder.environment()}
    start = time.perf_counter()
    done = subprocess.run([*command, *more, last], capture_output=True, env=environment, check=False)
    took = (time.perf_counter() - start) * 1000
    if done.returncode != 0:
        raise SystemExit(f"{builder.name}: {done.stderr.decode(errors='replace').strip()[-2000:]}")
    return took


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kiln", type=pathlib.Path)
    program = parser.parse_args().kiln.resolve()
    for needed in ["buildah", "docker-registry"]:
        if not shutil.which(needed):
            raise SystemExit(f"{needed} is not installed: see tests/packages.txt")
    times = {}
    with tempfile.TemporaryDirectory(prefix="kiln-bench-") as folder, Registry(pathlib.Path(folder, "registry")) as registry:
        place, context = pathlib.Path(folder), pathlib.Path(folder, "context")
        project(context)
        builders = [Kiln(program, place / "kiln"), Buildah(place / "buildah")]
        for number in range(ROUNDS):
            for builder in builders:
                repository = f"{registry.host}/{builder.name}/cache-{number}"
                for row, _ in ROWS:
                    if row != "idle":
                        builder.forget()
                    took = milliseconds(builder, context, words(builder, repository, row))
                    times.setdefault((builder.name, row), []).append(took)
        for builder in builders:
            builder.forget()
    megabytes = STEPS * FILES * FILE_BYTES / 1e6
    print(f"\na cache in a registry, {STEPS} steps of {megabytes / STEPS:.1f} MB each, medians of {ROUNDS}")
    print(f"{'':34}{'kiln':>10}{'buildah':>10}{'ratio':>8}")
    for row, text in ROWS:
        own, other = (statistics.median(times[name, row]) for name in ["kiln", "buildah"])
        print(f"{text:34}{own:7.0f} ms{other:7.0f} ms{other / own:7.1f}x")


if __name__ == "__main__":
    sys.exit(main())
