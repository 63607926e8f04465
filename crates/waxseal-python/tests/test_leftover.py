"""What a failure may leave in S3 is in the notes of the exception."""

from __future__ import annotations

import asyncio
import io
import shlex
import signal
import subprocess
import warnings

import pytest
from conftest import CREDENTIALS, Cloud
from support import MIB, PATIENCE, Forwarding, clean_environment, contents, forwarding, run, script

import pywaxseal as wax


class Refusing(Forwarding):
    """Refuses requests with one of these methods and parts of a path. A path with another end gets no answer."""

    refused: tuple[tuple[str, str], ...] = ()
    cut: str = ""

    def intercepts(self) -> bool:
        if self.cut and self.path.endswith(self.cut):
            self.close_connection = True
            return True
        if not any(self.command == method and part in self.path for method, part in self.refused):
            return False
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return True


NO_PARTS = ("PUT", "partNumber=")
NO_ABORT = ("DELETE", "uploadId=")


def refusing(cloud: Cloud, *kinds: tuple[str, str], lost: str = "") -> type[Refusing]:
    class Handler(Refusing):
        upstream = cloud.url.removeprefix("http://")
        refused = kinds
        cut = lost

    return Handler


def notes_of(error: BaseException) -> list[str]:
    return [note for note in getattr(error, "__notes__", []) if not note.startswith("hint: ")]


@pytest.mark.parametrize("step", ["write", "close"])
def test_an_upload_that_cannot_be_aborted(cloud: Cloud, bucket: str, key: str, step: str) -> None:
    """The note has a command that aborts it, with the settings of the call."""
    size = 192 * MIB if step == "write" else 40 * MIB
    with forwarding(refusing(cloud, NO_PARTS, NO_ABORT)) as url:
        file = wax.open(f"s3://{bucket}/it's", "wb", keys=key, s3=wax.S3(endpoint_url=url))
        with pytest.raises(wax.Error) as caught:
            file.write(bytes(size))
            file.close()
    (note,) = notes_of(caught.value)
    words, _, command = note.partition(": aws ")
    assert words.endswith("may be left, and costs money until it is aborted")
    (upload,) = cloud.uploads(bucket)
    assert shlex.split(command) == [
        *("s3api", "abort-multipart-upload", "--bucket", bucket, "--key", "it's", "--upload-id", upload),
        *("--endpoint-url", url),
    ]


@pytest.mark.parametrize("end", ["with", "discard"])
def test_an_upload_that_is_given_up(cloud: Cloud, bucket: str, key: str, end: str) -> None:
    """An exception of the caller gets the note. Where there is none, it is a warning."""
    with forwarding(refusing(cloud, NO_ABORT)) as url:
        file = wax.open(f"s3://{bucket}/x", "wb", keys=key, s3=wax.S3(endpoint_url=url))
        file.write(bytes(40 * MIB))
        if end == "with":
            with pytest.raises(ZeroDivisionError) as caught, file:
                raise ZeroDivisionError
            (told,) = notes_of(caught.value)
        else:
            with pytest.warns(RuntimeWarning) as warned:
                file.discard()
            (told,) = (str(warning.message) for warning in warned)
    (upload,) = cloud.uploads(bucket)
    assert "may be left" in told and f"--upload-id {upload}" in told


class Strict(Exception):
    """Takes no note."""

    __notes__ = ()  # type: ignore[assignment]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Strict, GeneratorExit, SystemExit, asyncio.CancelledError])
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("strict", [False, True])
def test_the_exception_comes_out_whatever_happens_to_the_note(
    cloud: Cloud, bucket: str, key: str, kind: type[BaseException], wrapped: bool, strict: bool
) -> None:
    with forwarding(refusing(cloud, NO_ABORT)) as url, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("error" if strict else "always", RuntimeWarning)
        file = wax.open(f"s3://{bucket}/x", "wb", keys=key, s3=wax.S3(endpoint_url=url))
        file.write(bytes(40 * MIB))
        with pytest.raises(kind) as caught, io.BufferedWriter(file) if wrapped else file:  # type: ignore[arg-type]
            raise kind
    told = notes_of(caught.value) + [str(warning.message) for warning in warned]
    # Python does not print the notes of the last three. With `-W error`, a warning would replace the exception.
    if not strict or kind is KeyboardInterrupt:
        assert len(told) == 1 and "may be left" in told[0]
        assert bool(notes_of(caught.value)) == (kind is KeyboardInterrupt)


def test_a_discard_in_the_middle_of_a_write(cloud: Cloud, bucket: str, key: str) -> None:
    body = """
file = wax.open(sys.argv[1], 'wb', keys=sys.argv[2])
signal.signal(signal.SIGUSR1, lambda *_: file.discard())
try: file.write(bytes(1024 * MIB))
except ValueError: pass
print('discarded', file.closed)
"""
    with forwarding(refusing(cloud, NO_ABORT)) as url:
        out, errors = until_an_upload(cloud, bucket, key, url, body, signal.SIGUSR1)
    assert out == "discarded True\n"
    assert "RuntimeWarning" in errors and "may be left" in errors


def test_a_signal_handler_that_exits_in_the_middle_of_a_write(cloud: Cloud, bucket: str, key: str) -> None:
    """Python prints no notes of `SystemExit`."""
    body = """
file = wax.open(sys.argv[1], 'wb', keys=sys.argv[2])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
file.write(bytes(1024 * MIB))
"""
    with forwarding(refusing(cloud, NO_ABORT)) as url:
        _, errors = until_an_upload(cloud, bucket, key, url, body, signal.SIGTERM)
    assert "RuntimeWarning" in errors and "may be left" in errors


@pytest.mark.parametrize("end", ["", "held = [file]; held.append(held); del file", "with file: sys.exit(3)"])
def test_the_end_of_the_process(cloud: Cloud, bucket: str, key: str, end: str) -> None:
    body = f"file = wax.open(sys.argv[1], 'wb', keys=sys.argv[2])\nfile.write(bytes(40 * MIB))\n{end}"
    with forwarding(refusing(cloud, NO_ABORT)) as url:
        done = run(body, f"s3://{bucket}/x", key, env={**CREDENTIALS, "AWS_ENDPOINT_URL": url})
    (upload,) = cloud.uploads(bucket)
    assert "RuntimeWarning" in done.stderr and upload in done.stderr, done.stderr
    assert done.returncode == (3 if "exit" in end else 0)


def test_only_what_this_file_has_left(cloud: Cloud, bucket: str, key: str) -> None:
    """Not what an earlier one has left, or what another one is doing."""
    with forwarding(refusing(cloud, NO_ABORT)) as url:
        s3, name = wax.S3(endpoint_url=url), f"s3://{bucket}/x"
        first = wax.open(name, "wb", keys=key, s3=s3)
        first.write(bytes(40 * MIB))
        with pytest.warns(RuntimeWarning):
            first.discard()
        at_work = wax.open(name, "wb", keys=key, s3=s3)
        at_work.write(bytes(40 * MIB))
        with pytest.raises(ZeroDivisionError) as caught, wax.open(name, "wb", keys=key, s3=s3) as file:
            file.write(b"nothing was sent")
            raise ZeroDivisionError
        assert notes_of(caught.value) == []
        at_work.close()


def test_an_upload_that_was_aborted(cloud: Cloud, bucket: str, key: str) -> None:
    with forwarding(refusing(cloud, NO_PARTS)) as url:
        file = wax.open(f"s3://{bucket}/x", "wb", keys=key, s3=wax.S3(endpoint_url=url))
        with pytest.raises(wax.Error) as caught:
            file.write(bytes(192 * MIB))
            file.close()
    assert notes_of(caught.value) == []
    assert cloud.uploads(bucket) == []


def test_an_upload_whose_id_was_lost(
    cloud: Cloud, bucket: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with forwarding(refusing(cloud, lost="?uploads")) as url:
        file = wax.open(f"s3://{bucket}/x", "wb", keys=key, s3=wax.S3(endpoint_url=url))
        with pytest.raises(wax.UnavailableError) as caught:
            file.write(bytes(40 * MIB))
            file.close()
    (note,) = notes_of(caught.value)
    assert "an unfinished upload without any part may be left" in note
    assert f"aws s3api list-multipart-uploads --bucket {bucket} --prefix x --endpoint-url {url}" in note


def test_a_rewrap(cloud: Cloud, bucket: str, key: str, other_key: str) -> None:
    """Each element of the list has its own error, with its own notes. This store has no conditions, so every rewrap
    fails after its upload was created."""
    url = f"s3://{bucket}/x"
    with wax.open(url, "wb", keys=key) as file:
        file.write(contents(MIB))
    with forwarding(refusing(cloud, NO_ABORT)) as endpoint:
        results = wax.rewrap([url, f"s3://{bucket}/none"], keys=key, to=other_key, s3=wax.S3(endpoint_url=endpoint))
    (upload,) = cloud.uploads(bucket)
    first, second = (notes_of(result.error) for result in results if result.error is not None)
    assert len(first) == 1 and f"--upload-id {upload}" in first[0]
    assert second == []


def until_an_upload(cloud: Cloud, bucket: str, key: str, url: str, body: str, number: int) -> tuple[str, str]:
    """Runs `body`, and sends it a signal when there is an upload. Returns what it prints."""
    process = subprocess.Popen(
        [*script(body), f"s3://{bucket}/x", key],
        env=clean_environment({**CREDENTIALS, "AWS_ENDPOINT_URL": url}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not cloud.uploads(bucket):
        assert process.poll() is None
    process.send_signal(number)
    return process.communicate(timeout=PATIENCE)


def test_ctrl_c(cloud: Cloud, bucket: str, key: str) -> None:
    body = """
signal.signal(signal.SIGINT, signal.default_int_handler)
file = wax.open(sys.argv[1], 'wb', keys=sys.argv[2])
try:
    file.write(bytes(1024 * MIB))
except KeyboardInterrupt as error:
    print(getattr(error, '__notes__', []), flush=True)
os._exit(0)
"""
    with forwarding(refusing(cloud, NO_ABORT)) as url:
        out, _ = until_an_upload(cloud, bucket, key, url, body, signal.SIGINT)
    (upload,) = cloud.uploads(bucket)
    assert "may be left" in out and f"--upload-id {upload}" in out
