#!/usr/bin/env python3
"""Images to a registry, from it, between two, and in files: kiln beside Debian's skopeo, with Debian's `docker-registry`.

    benches/transfers.py target/release/kiln

An image of 200 MiB in ten layers that do not shrink is sent to an empty registry, fetched into an empty place, and copied to a second
registry; then again with one layer changed, where the others are there; then once more, where nothing is to do. Each round has fresh
registries and places, the two take turns, and the median of each counts. skopeo keeps images in an OCI layout, kiln in its store;
neither unpacks anything. The image is also copied from the registry into an OCI layout, written to archives, and read from them: both
read the archives that kiln wrote. kiln brings an archive to the disk before it says that it is written, and checks what every layer
has in it when it loads one; skopeo does neither.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

from shared_cache import Registry
from whole_builds import write

ROUNDS = 3
LAYERS = 10
LAYER_BYTES = 20 << 20
ROWS = [
    ("push", "push, nothing is there"),
    ("push again", "push, one layer of ten changed"),
    ("push idle", "push, all is there"),
    ("pull", "pull, nothing is here"),
    ("pull again", "pull, one layer of ten changed"),
    ("pull idle", "pull, all is here"),
    ("copy", "copy, nothing is there"),
    ("copy again", "copy, one layer of ten changed"),
    ("copy idle", "copy, all is there"),
    ("layout", "copy to oci:, nothing is there"),
    ("layout again", "copy to oci:, one layer of ten changed"),
    ("layout idle", "copy to oci:, all is there"),
    ("save", "save as an OCI archive"),
    ("save docker", "save as a Docker archive"),
    ("load", "load an OCI archive"),
    ("load docker", "load a Docker archive"),
]
FORMS = {"": "oci", " docker": "docker"}


class Kiln:
    """kiln, whose images come from a store that a build has filled."""

    name = "kiln"

    def __init__(self, program, place):
        self.program, self.place = program, place

    def prepare(self, images, host):
        for tag in ["1", "2"]:
            run([self.program, "--store", self.place / "built", "tag", f"bench:{tag}", f"{host}/kiln:{tag}"])

    def push(self, tag, host):
        return [self.program, "--store", self.place / "built", "push", "-q", f"{host}/kiln:{tag}"]

    def pull(self, tag, host, to):
        return [self.program, "--store", to, "pull", "-q", f"{host}/kiln:{tag}"]

    def copy(self, tag, host, other):
        return [self.program, "copy", "-q", f"{host}/kiln:{tag}", f"{other}/kiln:{tag}"]

    def layout(self, tag, host, to):
        return [self.program, "copy", "-q", f"{host}/kiln:{tag}", f"oci:{to}"]

    def save(self, form, archive):
        return [self.program, "--store", self.place / "built", "save", "--format", form, "-o", archive, "bench:1"]

    def load(self, form, archive, to):
        return [self.program, "--store", to, "load", "-q", "-i", archive]


class Skopeo:
    """skopeo, whose images are OCI layouts that the same build has written."""

    name = "skopeo"

    def __init__(self, images):
        self.images = images

    def prepare(self, images, host):
        pass

    def words(self, source, target):
        flags = ["--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"]
        return ["skopeo", "--insecure-policy", "copy", *flags, source, target]

    def push(self, tag, host):
        return self.words(f"oci:{self.images[tag]}", f"docker://{host}/skopeo:{tag}")

    def pull(self, tag, host, to):
        return self.words(f"docker://{host}/skopeo:{tag}", f"oci:{to}:{tag}")

    def copy(self, tag, host, other):
        return self.words(f"docker://{host}/skopeo:{tag}", f"docker://{other}/skopeo:{tag}")

    def layout(self, tag, host, to):
        return self.words(f"docker://{host}/skopeo:{tag}", f"oci:{to}:{tag}")

    def save(self, form, archive):
        return self.words(f"oci:{self.images['1']}", f"{form}-archive:{archive}:bench:1")

    def load(self, form, archive, to):
        return self.words(f"{form}-archive:{archive}:{'1' if form == 'oci' else 'bench:1'}", f"oci:{to}:1")


def run(command):
    """Runs a command; what it says is shown when it fails. Returns the milliseconds it took."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/"}
    start = time.perf_counter()
    done = subprocess.run([str(word) for word in command], capture_output=True, env=environment, check=False)
    took = (time.perf_counter() - start) * 1000
    if done.returncode != 0:
        raise SystemExit(f"{command[0]}: {done.stderr.decode(errors='replace').strip()[-2000:]}")
    return took


def build(program, place):
    """Builds the image, and the same with its last layer changed. Returns their layouts by tag, and archives of the first by form."""
    context, images = place / "context", {}
    lines = ["FROM scratch"]
    for number in range(LAYERS):
        write(context / f"layer-{number}", os.urandom(LAYER_BYTES))
        lines.append(f"COPY layer-{number} /")
    write(context / "Dockerfile", "\n".join(lines).encode())
    for tag in ["1", "2"]:
        images[tag] = place / f"layout-{tag}"
        output = f"type=oci,tar=false,dest={images[tag]}"
        run([program, "--store", place / "built", "build", "-q", "-t", f"bench:{tag}", "-o", output, context])
        # Without an output, which is all cached, the image is kept under its name.
        run([program, "--store", place / "built", "build", "-q", "-t", f"bench:{tag}", context])
        if tag == "1":
            for form in FORMS.values():
                images[form] = place / f"{form}.tar"
                run(Kiln(program, place).save(form, images[form]))
        write(context / f"layer-{LAYERS - 1}", os.urandom(LAYER_BYTES))
    return images


def measure(tool, place, images, times):
    """Does each row once, in fresh registries and a fresh place."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        fresh = pathlib.Path(folder)
        with Registry(fresh / "first") as first, Registry(fresh / "second") as second:
            tool.prepare(images, first.host)
            for tag, more in [("1", ""), ("2", " again"), ("2", " idle")]:
                took = {
                    "push": run(tool.push(tag, first.host)),
                    "pull": run(tool.pull(tag, first.host, fresh / "here")),
                    "copy": run(tool.copy(tag, first.host, second.host)),
                    "layout": run(tool.layout(tag, first.host, fresh / "layout")),
                }
                for row, value in took.items():
                    times.setdefault((tool.name, row + more), []).append(value)
        for more, form in FORMS.items():
            archive, to = fresh / f"{form}.tar", fresh / f"loaded-{form}"
            took = {"save": run(tool.save(form, archive)), "load": run(tool.load(form, images[form], to))}
            for row, value in took.items():
                times.setdefault((tool.name, row + more), []).append(value)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kiln", type=pathlib.Path)
    program = parser.parse_args().kiln.resolve()
    for needed in ["skopeo", "docker-registry"]:
        if not shutil.which(needed):
            raise SystemExit(f"{needed} is not installed: see tests/packages.txt")
    times = {}
    with tempfile.TemporaryDirectory(prefix="kiln-bench-") as folder:
        place = pathlib.Path(folder)
        images = build(program, place)
        tools = [Kiln(program, place), Skopeo(images)]
        for _ in range(ROUNDS):
            for tool in tools:
                measure(tool, place, images, times)
    print(f"\nan image of {LAYERS * LAYER_BYTES >> 20} MiB in {LAYERS} layers and a registry, medians of {ROUNDS}")
    print(f"{'':40}{'kiln':>10}{'skopeo':>10}{'ratio':>8}")
    for row, text in ROWS:
        own, other = (statistics.median(times[name, row]) for name in ["kiln", "skopeo"])
        print(f"{text:40}{own:7.0f} ms{other:7.0f} ms{other / own:7.1f}x")


if __name__ == "__main__":
    main()
