#!/usr/bin/env python3
"""What a store of 100,000 records costs beside one of 100: a cached build, which must stay flat, and looking after the store.

    benches/store_scale.py target/release/kiln

The records are written by this program in kiln's form, 25,000 of each kind that a cached build looks up. A bare open and read of
as many known names in a folder of each size is measured beside it, as the floor that the file system gives. `--check` ends with 1
when a cached build takes more than FLAT_MAX times as long.
"""

import argparse
import hashlib
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile
import time

from whole_builds import many_instructions

FEW, MANY = 100, 100_000
KINDS = ["definition", "content", "fields", "listing"]
ROUNDS = 15
FLAT_MAX = 1.25


def record(kind, key, payload):
    """Returns the bytes of a record: see builder/store/src/record_format.rs."""
    head = struct.pack("<IIQ", 1, 0, len(payload))
    digest = hashlib.sha256(struct.pack("<Q", len(kind)) + kind.encode() + key + head + payload).digest()
    return b"kilnrec\0" + head + digest + payload


def fill(store, count):
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        key = hashlib.sha256(f"{number}".encode()).digest()
        folder = store / "records" / kind
        folder.mkdir(parents=True, exist_ok=True)
        (folder / key.hex()).write_bytes(record(kind, key, b"x" * 150))


def bare(store):
    """Opens and reads 100 names of each folder, in microseconds each."""
    names = [path for kind in KINDS for path in sorted((store / "records" / kind).iterdir())[:100]]
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for name in names:
            name.read_bytes()
        times.append((time.perf_counter() - start) / len(names))
    return statistics.median(times)


def call(program, store, *words):
    environment = {"PATH": os.environ["PATH"], "HOME": str(store.parent), "KILN_HOME": str(store)}
    pathlib.Path(store.parent / "empty.toml").touch()
    environment["KILN_CONFIG"] = str(store.parent / "empty.toml")
    start = time.perf_counter()
    child = subprocess.run([program, *words], env=environment, capture_output=True, check=False)
    seconds = time.perf_counter() - start
    if child.returncode != 0:
        sys.exit(f"kiln {words} failed ({child.returncode}): {child.stderr.decode(errors='replace')}")
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    program = options.program.resolve()
    with tempfile.TemporaryDirectory(prefix="kiln-bench-") as place:
        place = pathlib.Path(place)
        many_instructions(place / "context")
        stores = {count: place / f"store{count}" for count in (FEW, MANY)}
        for count, store in stores.items():
            call(program, store, "build", "-q", "-t", "bench", str(place / "context"))
            fill(store, count)
        times = {count: [] for count in stores}
        for _ in range(ROUNDS):
            # One after the other, so that a busy machine is busy for both.
            for count, store in stores.items():
                times[count].append(call(program, store, "build", "-q", "-t", "bench", str(place / "context")))
        rows = [("cached build of 30 instructions", {count: statistics.median(times[count]) for count in stores})]
        rows.append(("bare open and read of a record", {count: bare(store) for count, store in stores.items()}))
        for words in (["df"], ["fsck"], ["prune", "--dry-run"], ["prune", "-f", "--max", "1k"]):
            rows.append((f"kiln {' '.join(words)}", {count: call(program, store, *words) for count, store in stores.items()}))
    print(f"{'':40}{FEW:>14,}{MANY:>14,}{'ratio':>9}")
    for name, took in rows:
        print(f"{name:40}{took[FEW] * 1000:11.3f} ms{took[MANY] * 1000:11.3f} ms{took[MANY] / took[FEW]:9.2f}")
    flat = rows[0][1][MANY] / rows[0][1][FEW]
    if flat > FLAT_MAX:
        print(f"! a cached build with {MANY:,} records takes {flat:.2f} times as long as with {FEW}")
    return 1 if options.check and flat > FLAT_MAX else 0


if __name__ == "__main__":
    sys.exit(main())
