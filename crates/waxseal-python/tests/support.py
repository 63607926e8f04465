"""What the tests share: contents, a reader that shares no code with the package, and Python processes of their own."""

from __future__ import annotations

import hashlib
import http.client
import http.server
import importlib.util
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pywaxseal as wax

REPOSITORY = Path(__file__).resolve().parents[3]
PACKAGE = Path(__file__).resolve().parents[1]

CHUNK = 16384
MIB = 1 << 20

# Sizes at which something changes: nothing, one chunk, the engine's parts, several parts.
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, MIB - 1, MIB, MIB + 1, 5 * MIB + 12345]

# How long a process may take before the test fails. A hang is a failure; the machine may be slow.
PATIENCE = 180


def contents(size: int, seed: str = "contents") -> bytes:
    """Bytes that differ everywhere, the same in every run."""
    return hashlib.shake_256(seed.encode()).digest(size)


def close_while_others_read(file: Any, read: Callable[[], bytes], expected: bytes, pause: float) -> None:
    """Closes `file` after `pause` seconds, while two threads read the expected bytes, or learn that it is closed."""
    wrong: list[object] = []

    def again_and_again() -> None:
        try:
            while True:
                if read() != expected:
                    wrong.append("bytes")
        except ValueError as error:
            if "closed" not in str(error):
                wrong.append(error)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=again_and_again) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(pause)
    file.close()
    # The number of its descriptor can belong to another file at once.
    with open(os.devnull, "rb"):
        for thread in threads:
            thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong


def load_reader() -> ModuleType:
    """`spec/reader.py`, which was written from the specification and shares no code with the package."""
    spec = importlib.util.spec_from_file_location("waxseal_reader", REPOSITORY / "spec/reader.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


READER = load_reader()


def plaintext_of(path: os.PathLike[str] | str, key: str) -> bytes:
    """The plaintext, opened by the independent reader with `key` (`file:PATH`)."""
    with READER.Sealed(os.fspath(path), keyfile=key.removeprefix("file:")) as raw:
        parts: list[bytes] = []
        while part := raw.read(1 << 20):
            parts.append(part)
        return b"".join(parts)


def is_valid(path: os.PathLike[str] | str, key: str) -> bool:
    """Whether the independent reader accepts the whole file."""
    try:
        plaintext_of(path, key)
    except (READER.Fail, OSError):
        return False
    return True


def names_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def new_key(path: Path) -> str:
    """A new key file, as `keys=` takes it."""
    wax.KeyFile.generate().save(path)
    return f"file:{path}"


@contextmanager
def emulator(what: str) -> Iterator[str]:
    """An emulator of AWS on 127.0.0.1; its URL. It ends when its standard input does, however the tests end."""
    server = subprocess.Popen(
        [sys.executable, str(REPOSITORY / "tests/support/serve.py"), what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
    )
    assert server.stdin is not None and server.stdout is not None
    port = server.stdout.readline().strip()
    assert port, f"the emulator {what} did not start"
    yield f"http://127.0.0.1:{port}"
    server.stdin.close()
    server.wait(60)


class Forwarding(http.server.BaseHTTPRequestHandler):
    """Passes each request on to an emulator, unless a subclass intercepts it."""

    upstream: str

    def intercepts(self) -> bool:
        """Whether this has answered the request, or has closed the connection."""
        return False

    def do_PUT(self) -> None:  # noqa: N802
        if self.intercepts():
            return
        length = int(self.headers.get("Content-Length", 0))
        connection = http.client.HTTPConnection(self.upstream, timeout=PATIENCE)
        connection.request(self.command, self.path, self.rfile.read(length), dict(self.headers))
        answer = connection.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "content-length", "date", "server", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_DELETE = do_GET = do_HEAD = do_POST = do_PUT  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def forwarding(handler: type[Forwarding]) -> Iterator[str]:
    """A server with this handler on 127.0.0.1; its URL."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without anything of AWS or of waxseal, and without the configuration of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "WAXSEAL_"))}
    kept |= {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONFAULTHANDLER": "1",
    }
    return kept | dict(extra or {})


PREAMBLE = """
import os, sys, io, gc, time, signal, threading, shutil, traceback
import pywaxseal as wax
sys.path.insert(0, {tests!r})
from support import contents, MIB, CHUNK
"""


def script(body: str) -> list[str]:
    """The command for a Python process that runs `body`."""
    return [sys.executable, "-c", PREAMBLE.format(tests=str(PACKAGE / "tests")) + textwrap.dedent(body)]


def run(body: str, *args: str, env: Mapping[str, str] | None = None, **more: Any) -> subprocess.CompletedProcess[str]:
    """Runs `body` in a process of its own. `sys.argv[1:]` are the arguments."""
    return subprocess.run(
        [*script(body), *args],
        env=clean_environment(env),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        **more,
    )


def run_well(body: str, *args: str, env: Mapping[str, str] | None = None, **more: Any) -> str:
    """As `run`, and the process must end well. Returns what it printed."""
    done = run(body, *args, env=env, **more)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def skipped(what: str, why: str) -> None:
    """Says aloud that something does not run here. `.ci/run` counts these lines."""
    line = f"skipped: {what}: {why}\n"
    os.write(2, line.encode())
    if listed := os.environ.get("WAXSEAL_SKIPPED"):
        with open(listed, "a") as out:
            out.write(line)


def everything(folder: str, name: str, key: str) -> bool:
    """Every way in and out once, on several cores."""
    content = contents(6 * MIB, name)
    plain, sealed, again, third = (os.path.join(folder, f"{name}.{end}") for end in ("in", "wax", "out", "open.wax"))
    with open(plain, "wb") as out:
        out.write(content)
    wax.encrypt_file(plain, sealed, keys=key)
    wax.verify(sealed, keys=key)
    wax.decrypt_file(sealed, again, keys=key)
    with wax.open(third, "wb", keys=key) as file:
        file.write(content)
    with wax.open(third, keys=key) as file:
        file.seek(MIB)
        good = file.read(100) == content[MIB : MIB + 100]
    with open(again, "rb") as back:
        return good and back.read() == content


def task(job: tuple[str, str, str]) -> bool:
    """`everything` for a pool of processes, which imports this module by its name."""
    return everything(*job)


def set_environment(variables: dict[str, str]) -> None:
    """For the processes of a pool."""
    os.environ.update(variables)
