"""Who else may read or write a key's file. A warning, and no refusal: Kubernetes mounts secrets with 0644.

The rule is that of the program: others may where the mode says so for everybody, or for a group that is neither root's
nor one of the groups of this process. File systems that have no modes show the same mode for every file.
"""

from __future__ import annotations

import os
import stat
import warnings

_WITHOUT_MODES = {"9p", "cifs", "drvfs", "exfat", "fuseblk", "msdos", "ntfs", "ntfs3", "smb3", "vboxsf", "vfat"}
_READ, _WRITE = 4, 2


def check_secret(path: os.PathLike[str]) -> None:
    """Warns if others may read the file."""
    if (mode := _mode_for_others(path, _READ)) is not None:
        _warn(f"others may read the key file {os.fspath(path)!r} (mode {mode:04o}); run chmod 600 on it")


def check_public(path: os.PathLike[str]) -> None:
    """Warns if others may write the file: whoever can replace a public key reads what is sealed from then on."""
    if (mode := _mode_for_others(path, _WRITE)) is not None:
        _warn(
            f"others may write the recipient file {os.fspath(path)!r} (mode {mode:04o}) and so read what is sealed to it; "
            "run chmod go-w on it"
        )


def _warn(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=3)


def _mode_for_others(path: os.PathLike[str], right: int) -> int | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    mode = stat.S_IMODE(found.st_mode) & 0o777
    of_group = bool(mode & (right << 3)) and found.st_gid not in (0, os.getegid(), *os.getgroups())
    if not stat.S_ISREG(found.st_mode) or not (mode & right or of_group):
        return None
    return mode if _has_modes(found.st_dev) else None


def _has_modes(device: int) -> bool:
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            kinds = [line.split(" - ", 1)[-1].split(" ")[0] for line in mounts if line.split(" ")[2:3] == [number]]
    except OSError:
        return True
    return not any(kind in _WITHOUT_MODES for kind in kinds)
