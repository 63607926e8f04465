"""Ctrl-c interrupts long work: KeyboardInterrupt, nothing committed, and the process can go on."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import CREDENTIALS, Cloud
from support import MIB, PATIENCE, REPOSITORY, Forwarding, clean_environment, forwarding, names_in, script

import pywaxseal as wax

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc shows how far a process is")

SIZE = 1 << 30


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, key: str) -> Path:
    """1 GiB without content on the disk, and sealed."""
    folder = tmp_path_factory.mktemp("huge")
    with open(folder / "in", "wb") as file:
        file.truncate(SIZE)
    wax.encrypt_file(folder / "in", folder / "in.wax", keys=key, sync=False)
    return folder


def moved(pid: int) -> int:
    """The bytes that a process has read and written."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("rchar", "wchar")))


def start(call: str, *args: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    body = f"""
signal.signal(signal.SIGINT, signal.default_int_handler)
def work():
    {call}
try:
    print('ready', flush=True)
    work()
    print('done')
except KeyboardInterrupt:
    print('KeyboardInterrupt')
with wax.open(sys.argv[1] + '/afterwards', 'wb', keys=sys.argv[2]) as file: file.write(bytes(3 * MIB))
wax.verify(sys.argv[1] + '/afterwards', keys=sys.argv[2])
print('goes on')
"""
    process = subprocess.Popen(
        [*script(body), *args], env=clean_environment(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.stderr and process.stderr.read()
    return process


def interrupt_in_the_middle(process: subprocess.Popen[str]) -> None:
    """Waits until the work is under way, and stops the process, so that it cannot end before the signal is there."""
    before = moved(process.pid)
    deadline = time.monotonic() + PATIENCE
    while moved(process.pid) < before + 20 * MIB:
        assert process.poll() is None, "the work ended before the signal"
        assert time.monotonic() < deadline, "the work does not move"
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGSTOP)
    os.kill(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGCONT)


CALLS = {
    "encrypt_file": "wax.encrypt_file(sys.argv[3] + '/in', sys.argv[1] + '/x', keys=sys.argv[2])",
    "decrypt_file": "wax.decrypt_file(sys.argv[3] + '/in.wax', sys.argv[1] + '/x', keys=sys.argv[2])",
    "verify": "wax.verify(sys.argv[3] + '/in.wax', keys=sys.argv[2])",
    "one large write": "import mmap\n"
    "    with open(sys.argv[3] + '/in', 'rb') as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m, "
    "wax.open(sys.argv[1] + '/x', 'wb', keys=sys.argv[2]) as out:\n"
    "        out.write(m)\n        print('written')",
    "one large readinto": "import mmap\n"
    "    with wax.open(sys.argv[3] + '/in.wax', keys=sys.argv[2]) as f, mmap.mmap(-1, f.size) as m:\n"
    "        f.readinto(m)\n        print('read')",
    "one large read": "wax.open(sys.argv[3] + '/in.wax', keys=sys.argv[2]).read()",
    "copyfileobj": "with open(sys.argv[3] + '/in', 'rb') as f, wax.open(sys.argv[1] + '/x', 'wb', keys=sys.argv[2]) "
    "as out: shutil.copyfileobj(f, out)",
}


@pytest.mark.parametrize("call", CALLS)
def test_ctrl_c_interrupts(folder: Path, large: Path, key: str, call: str) -> None:
    process = start(CALLS[call], str(folder), key, str(large))
    interrupt_in_the_middle(process)
    out, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (0, "KeyboardInterrupt\ngoes on\n"), errors
    assert names_in(folder) == {"afterwards"}


@pytest.mark.parametrize("call", ["encrypt_file", "decrypt_file"])
def test_ctrl_c_leaves_an_existing_file(folder: Path, large: Path, key: str, call: str) -> None:
    (folder / "x").write_bytes(b"old")
    process = start(CALLS[call][:-1] + ", overwrite=True)", str(folder), key, str(large))
    interrupt_in_the_middle(process)
    out, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (0, "KeyboardInterrupt\ngoes on\n"), errors
    assert names_in(folder) == {"afterwards", "x"} and (folder / "x").read_bytes() == b"old"


def test_another_handler_of_the_users_own_may_let_the_work_go_on(folder: Path, large: Path, key: str) -> None:
    """A signal interrupts only if its handler raises."""
    call = (
        "signal.signal(signal.SIGINT, lambda *_: print('handled'))\n"
        "    wax.encrypt_file(sys.argv[3] + '/in', sys.argv[1] + '/x', keys=sys.argv[2], sync=False)"
    )
    process = start(call, str(folder), key, str(large))
    interrupt_in_the_middle(process)
    out, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (0, "handled\ndone\ngoes on\n"), errors
    wax.verify(folder / "x", keys=key, quick=True)


SILENT = {
    "a KMS that does not answer": "wax.open(sys.argv[1] + '/x', 'wb', keys='alias/silent')",
    "encrypt_file with a KMS that does not answer": "wax.encrypt_file(sys.executable, sys.argv[1] + '/x', "
    "keys='alias/silent')",
    "rewrap with a KMS that does not answer": "wax.rewrap(sys.argv[1] + '/x', from_='slot:0', to='alias/silent')",
    "an S3 that does not answer": "wax.open('s3://bucket/name', keys=sys.argv[2])",
    "verify with an S3 that does not answer": "wax.verify('s3://bucket/name', keys=sys.argv[2])",
}


@pytest.mark.parametrize("call", SILENT)
def test_ctrl_c_interrupts_a_wait_for_aws(folder: Path, key: str, call: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        if "rewrap" in call:
            (folder / "x").write_bytes((REPOSITORY / "tests/corpus/0.1.0/only-aws-kms.wax").read_bytes())
        process = start(SILENT[call], str(folder), key, env={**CREDENTIALS, "AWS_ENDPOINT_URL": url})
        connection, _ = server.accept()
        with connection:
            connection.settimeout(PATIENCE)
            assert connection.recv(1), "the request is under way"
            begun = time.monotonic()
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=PATIENCE)
            waited = time.monotonic() - begun
    assert (process.returncode, out) == (0, "KeyboardInterrupt\ngoes on\n"), errors
    if "rewrap" in call:
        (folder / "x").unlink()
    assert names_in(folder) == {"afterwards"}
    # The attempts' own timeouts are far longer than a turn of the loop that looks for signals.
    assert waited < 60, f"{waited} s"


def test_ctrl_c_in_a_callback_is_passed_on(key: str) -> None:
    """What the caller's own function raises comes out as it is."""

    def fetch(start: int, end: int) -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wax.Ranges(1 << 20, fetch, keys=key)

    def phrase() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wax.Sealer(keys=wax.Passphrase(phrase))


class Silent(Forwarding):
    """Does not answer requests of one kind."""

    method: str
    target: str
    asked: threading.Event

    def intercepts(self) -> bool:
        if self.command != self.method or self.target not in self.path:
            return False
        self.asked.set()
        with contextlib.suppress(OSError):
            while self.rfile.read(MIB):
                pass
        self.close_connection = True
        return True


UPLOADS = {
    "write": ("PUT", "partNumber=", "file.write(bytes(192 * MIB))"),
    "close": ("PUT", "partNumber=", "file.write(bytes(40 * MIB)); file.close()"),
    # With a part that does not exist, a rewrap asks whether the store checks conditions.
    "rewrap": ("POST", "uploadId=", "wax.rewrap([sys.argv[1] + '-old'], keys=sys.argv[2], to=sys.argv[3])"),
}


@pytest.mark.parametrize("what", UPLOADS)
def test_ctrl_c_aborts_the_upload(cloud: Cloud, bucket: str, key: str, other_key: str, what: str) -> None:
    """The process ends at once after the exception, so nothing is left to a thread."""

    class Handler(Silent):
        upstream = cloud.url.removeprefix("http://")
        method, target, _ = UPLOADS[what]
        asked = threading.Event()

    with wax.open(f"s3://{bucket}/x-old", "wb", keys=key) as file:
        file.write(b"old")
    body = f"""
signal.signal(signal.SIGINT, signal.default_int_handler)
file = wax.open(sys.argv[1], 'wb', keys=sys.argv[2])
try:
    {UPLOADS[what][2]}
except KeyboardInterrupt:
    os.write(1, b'KeyboardInterrupt')
os._exit(0)
"""
    with forwarding(Handler) as url:
        process = subprocess.Popen(
            [*script(body), f"s3://{bucket}/x", key, other_key],
            env=clean_environment({**CREDENTIALS, "AWS_ENDPOINT_URL": url}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while not Handler.asked.wait(1):
            assert process.poll() is None, process.communicate()
        assert len(cloud.uploads(bucket)) == 1
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (0, "KeyboardInterrupt"), errors
    assert cloud.uploads(bucket) == []
