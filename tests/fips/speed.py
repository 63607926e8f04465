#!/usr/bin/env python3
"""What the FIPS build costs beside the default build: speed.py FIPS_BINARY OTHER_BINARY [ROUNDS [STARTS]]

It prints the rows of the table in docs/fips.md. In each round, every build does every work once, in random order. In
the column of a build are the median and, in brackets, the least time. The last column is the median of the ratios
within a round. Where other programs use the processors, run it with `chrt -r 5`.
"""

import mmap
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time

SIZE = 1 << 30
# What an output and the processes may take. Memory that the host of a virtual machine has taken back would be counted
# as time of the program that gets it.
TOUCHED = 3 << 29


def touch():
    with mmap.mmap(-1, TOUCHED, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        for at in range(0, TOUCHED, mmap.PAGESIZE):
            memory[at] = 1


def timed(program, args):
    begun = time.perf_counter()
    subprocess.run([program, *args], check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return time.perf_counter() - begun


def measure(builds, work, rounds, before):
    """Seconds of all rounds, for each work and each build. The first round warms up, and is not counted."""
    spent = {(what, name): [] for what in work for name in builds}
    for number in range(rounds + 1):
        for what, args in work.items():
            for name in random.sample(list(builds), len(builds)):
                before()
                seconds = timed(builds[name], args)
                if number > 0:
                    spent[what, name].append(seconds)
    return spent


def rows(spent, work, unit, factor, digits):
    for what in work:
        fips, other = spent[what, "fips"], spent[what, "default"]
        cells = [
            f"{statistics.median(seconds) * factor:.{digits}f} {unit} ({min(seconds) * factor:.{digits}f})"
            for seconds in (other, fips)
        ]
        ratio = statistics.median(mine / its for mine, its in zip(fips, other))
        print(f"| {what} | {cells[0]} | {cells[1]} | {ratio:.2f} |")


def machine():
    with open("/proc/cpuinfo") as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    policy = {os.SCHED_RR: "round robin", os.SCHED_FIFO: "fifo"}.get(os.sched_getscheduler(0), "usual")
    load = " ".join(f"{load:.1f}" for load in os.getloadavg())
    return f"{(names or [platform.machine()])[0]} x {os.cpu_count()}, Linux {platform.release()}, load {load}, scheduling: {policy}"


def main():
    builds = {"fips": sys.argv[1], "default": sys.argv[2]}
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 7
    starts = int(sys.argv[4]) if len(sys.argv) > 4 else 50
    for name, program in builds.items():
        version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.strip()
        assert ("FIPS" in version) == (name == "fips"), f"{program}: {version}"
        print(f"{name}: {version}, {os.path.getsize(program)} bytes")
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        path = lambda name: os.path.join(folder, name)
        with open(path("in"), "wb") as file:
            for _ in range(SIZE >> 20):
                file.write(os.urandom(1 << 20))
        with open(path("byte"), "wb") as file:
            file.write(b"x")
        subprocess.run([sys.argv[2], "key", "new", path("k")], check=True, capture_output=True)
        key = ["-k", "file:" + path("k"), "-f", "--no-sync", "-o"]
        large = {
            "seal 1 GiB": ["encrypt", *key, path("in.wax"), path("in")],
            "open 1 GiB": ["decrypt", *key, path("out"), path("in.wax")],
        }
        small = {
            "`waxseal --version`": ["--version"],
            "seal 1 byte": ["encrypt", *key, path("byte.wax"), path("byte")],
            "open 1 byte": ["decrypt", *key, path("byte.out"), path("byte.wax")],
        }
        print(machine())
        rows(measure(builds, large, rounds, touch), large, "s", 1, 2)
        rows(measure(builds, small, starts, lambda: None), small, "ms", 1000, 1)
        print(machine())
        with open(path("in"), "rb") as before, open(path("out"), "rb") as after:
            assert all(before.read(1 << 20) == after.read(1 << 20) for _ in range(SIZE >> 20)), "another content"


if __name__ == "__main__":
    main()
