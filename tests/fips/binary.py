#!/usr/bin/env python3
"""What an auditor can see in the binary of a FIPS build.

    binary.py FIPS_BINARY OTHER_BINARY

1. No code of another library with an AEAD, with key derivation of passwords or with key encapsulation is linked. The
   binary of the default build shows that the same search finds such code.
2. The AWS-LC that is linked is the one of Cargo.lock, and not another one of this machine.
3. Everything that the program calls for AES-GCM and HKDF lies inside the boundary of the module.
4. A module that was altered by one byte ends the process before it does anything.

The binaries must have their symbols (no strip).
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

# Crates by the names in their symbols, and AWS-LC without its module.
FOREIGN = re.compile(
    r"(?<![\w:])(ring::|ring_core_|aes_gcm::|aes::|ghash::|polyval::|chacha20::|chacha20poly1305::|poly1305::|argon2::|blake2::"
    r"|ml_kem::|x_wing::|x25519_dalek::|curve25519_dalek::|aws_lc_0_)"
)
# What the program calls, without the prefix that AWS-LC gives to each version.
CALLED = ["EVP_AEAD_CTX_seal_scatter", "EVP_AEAD_CTX_open_gather", "EVP_AEAD_CTX_init", "HKDF_expand", "RAND_bytes"]
LOCKED = re.compile(r'^name = "aws-lc-fips-sys"\nversion = "(\d+)\.(\d+)\.(\d+)"$', re.M)


def prefix():
    """What begins the names of AWS-LC in the version of Cargo.lock."""
    lock = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../Cargo.lock")
    with open(lock) as file:
        return "aws_lc_fips_" + "_".join(LOCKED.search(file.read()).groups()) + "_"


def symbols(path, *options):
    lines = subprocess.run(["nm", *options, path], check=True, capture_output=True, text=True).stdout.splitlines()
    for line in lines:
        parts = line.split(" ", 2)
        if len(parts) == 3 and parts[0]:
            yield int(parts[0], 16), parts[1], parts[2]


def foreign(path):
    return sorted({name for _, kind, name in symbols(path, "-C") if kind in "tTwW" and FOREIGN.search(name)})


def boundary(path):
    """The functions of AWS-LC, and where the module begins and ends."""
    functions, begins = {}, prefix()
    for address, kind, name in symbols(path):
        if name.startswith(begins) and kind in "tT":
            functions[name.removeprefix(begins)] = address
    missing = [name for name in CALLED if name not in functions]
    assert not missing, f"no functions {begins}*: {missing}"
    text = {name: address for address, _, name in symbols(path) if "BORINGSSL_bcm_text_" in name}
    begin = [address for name, address in text.items() if name.endswith("text_start")]
    end = [address for name, address in text.items() if name.endswith("text_end")]
    assert len(begin) == 1 and len(end) == 1 and begin < end, f"no module: {text}"
    return functions, begin[0], end[0]


def file_offset(path, address):
    """Where the byte at `address` is in the file."""
    headers = subprocess.run(["readelf", "-lW", path], check=True, capture_output=True, text=True).stdout
    for line in headers.splitlines():
        parts = line.split()
        if parts[:1] == ["LOAD"]:
            offset, start, size = (int(parts[at], 16) for at in (1, 2, 4))
            if start <= address < start + size:
                return address - start + offset
    raise AssertionError(f"no segment has {address:#x}")


def altered(path, folder, address):
    copy = os.path.join(folder, "altered")
    shutil.copy(path, copy)
    with open(copy, "r+b") as file:
        file.seek(file_offset(path, address))
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    return copy


def main():
    fips, other = sys.argv[1:]
    found = foreign(fips)
    assert not found, "foreign code: " + ", ".join(found[:20])
    control = foreign(other)
    assert len(control) >= 20, f"{other} is not a default build with symbols: {control}"
    functions, begin, end = boundary(fips)
    for name in CALLED:
        assert begin <= functions[name] < end, f"{name} is not in the module"
    # AWS-LC's own ChaCha20-Poly1305 and MD5 are outside. So the comparison can fail.
    outside = [name for name, address in functions.items() if not begin <= address < end]
    assert outside, "everything is inside?"
    with tempfile.TemporaryDirectory() as folder:
        run = lambda binary: subprocess.run([binary, "--version"], capture_output=True, text=True)
        copy = os.path.join(folder, "copy")
        shutil.copy(fips, copy)
        whole = run(copy)
        assert whole.returncode == 0 and "AWS-LC FIPS" in whole.stdout, whole
        bad = run(altered(fips, folder, functions["HKDF_expand"] + 4))
        assert bad.returncode == -signal.SIGABRT and not bad.stdout, bad
    print(f"no foreign code (the other build has {len(control)} functions of it)")
    print(f"{len(functions) - len(outside)} functions of AWS-LC are in the module, {len(outside)} are outside")
    print("in the module: " + ", ".join(CALLED))
    print("an altered module ends the process:", bad.stderr.strip().splitlines()[0])


if __name__ == "__main__":
    main()
