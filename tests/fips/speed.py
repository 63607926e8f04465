#!/usr/bin/env python3
"""Seconds for sealing and opening 1 GiB with two builds, taking turns: speed.py FIPS_BINARY OTHER_BINARY [ROUNDS]"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

SIZE = 1 << 30


def main():
    builds = {"fips": sys.argv[1], "default": sys.argv[2]}
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 7
    spent = {(name, what): [] for name in builds for what in ("seal", "open")}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        path = lambda name: os.path.join(folder, name)
        with open(path("in"), "wb") as file:
            for _ in range(SIZE >> 20):
                file.write(os.urandom(1 << 20))
        subprocess.run([sys.argv[2], "key", "new", path("k")], check=True, capture_output=True)
        key = ["-k", "file:" + path("k"), "-f", "--no-sync", "-o"]
        for number in range(rounds + 1):
            for name, program in builds.items():
                for what, args in (
                    ("seal", ["encrypt", *key, path("in.wax"), path("in")]),
                    ("open", ["decrypt", *key, path("out"), path("in.wax")]),
                ):
                    begun = time.monotonic()
                    subprocess.run([program, *args], check=True, capture_output=True)
                    if number > 0:  # The first round warms up.
                        spent[name, what].append(time.monotonic() - begun)
        start = {}
        for name, program in builds.items():
            begun = time.monotonic()
            for _ in range(20):
                subprocess.run([program, "--version"], check=True, capture_output=True)
            start[name] = (time.monotonic() - begun) / 20
    for (name, what), seconds in spent.items():
        rate = SIZE / statistics.median(seconds) / 1e9
        print(f"{name:8} {what}: median {statistics.median(seconds):.3f} s, least {min(seconds):.3f} s, {rate:.2f} GB/s")
    for name, seconds in start.items():
        print(f"{name:8} --version: {seconds * 1000:.1f} ms")


if __name__ == "__main__":
    main()
