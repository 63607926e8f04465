"""Keys in AWS KMS: settings of the package, the caller's own boto3 session or client, and every way in which KMS fails."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import pytest
from conftest import ACCOUNT, CREDENTIALS, REGION, Cloud
from support import MIB, contents

import pywaxseal as wax


def seal(key: object, **more: Any) -> bytes:
    target = io.BytesIO()
    with wax.open(target, "wb", keys=key, **more) as file:  # type: ignore[call-overload]
        file.write(b"content")
    return target.getvalue()


def opened(sealed: bytes, **more: Any) -> bytes:
    with wax.open(io.BytesIO(sealed), **more) as file:
        return bytes(file.read())


def test_an_alias_an_arn_and_no_key_at_all(cloud: Cloud, folder: Path) -> None:
    arn = cloud.create_key()
    alias = cloud.alias("by-alias", arn)
    sealed = seal(alias, context={"env": "prod"})
    # As with the program: without `keys`, the keys of one's own account.
    assert opened(sealed) == b"content"
    assert opened(sealed, keys=alias, context={"env": "prod"}) == b"content"
    assert opened(sealed, keys=[arn]) == b"content"
    (folder / "x.wax").write_bytes(sealed)
    slot = wax.inspect(folder / "x.wax").slots[0]
    assert slot.key_id == arn and slot.kind == "aws-kms"
    wax.verify(folder / "x.wax")
    wax.decrypt_file(folder / "x.wax", folder / "x")
    assert (folder / "x").read_bytes() == b"content"
    wax.encrypt_file(folder / "x", folder / "y.wax", keys=arn)
    assert opened((folder / "y.wax").read_bytes()) == b"content"


def test_settings_instead_of_the_environment(moto: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        if name != "AWS_REGION":
            monkeypatch.setenv(name, value)
    kms = wax.Kms(region=REGION, endpoint_url=moto.url, timeout=20)
    arn = moto.create_key()
    assert opened(seal(arn, kms=kms), keys=arn, kms=kms) == b"content"


class Recorded:
    """The calls of a client of boto3."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.calls: list[tuple[str, dict[str, Any]]] = []
        client.meta.events.register("provide-client-params.kms.*", self.note)

    def note(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self.calls.append((model.name, dict(params)))


def test_the_callers_own_client_makes_the_calls(moto: Cloud) -> None:
    """The environment leads nowhere: only the client knows where KMS is, and who calls."""
    arn = moto.create_key()
    recorded = Recorded(moto.client("kms"))
    sealed = seal(arn, kms=recorded.client, context={"env": "prod"})
    assert [name for name, _ in recorded.calls] == ["GenerateDataKey"]
    params = recorded.calls[0][1]
    assert params["KeyId"] == arn and params["EncryptionContext"]["env"] == "prod"
    recorded.calls.clear()
    assert opened(sealed, keys=arn, kms=recorded.client) == b"content"
    assert [name for name, _ in recorded.calls] == ["Decrypt"]
    assert recorded.calls[0][1]["KeyId"] == arn


def test_the_callers_own_session(cloud: Cloud) -> None:
    arn = cloud.create_key()
    session = cloud.session()
    assert opened(seal(arn, kms=session), keys=arn, kms=session) == b"content"


def test_two_kms_keys_with_one_client(moto: Cloud) -> None:
    one, two = moto.create_key(), moto.create_key()
    recorded = Recorded(moto.client("kms"))
    sealed = seal([one, two], kms=recorded.client)
    assert sorted(name for name, _ in recorded.calls) == ["Encrypt", "GenerateDataKey"]
    for arn in (one, two):
        assert opened(sealed, keys=arn, kms=recorded.client) == b"content"


def test_one_client_for_many_threads(moto: Cloud) -> None:
    from concurrent.futures import ThreadPoolExecutor

    arn, client = moto.create_key(), moto.client("kms")
    with ThreadPoolExecutor(8) as pool:
        results = pool.map(lambda _: opened(seal(arn, kms=client), keys=arn, kms=client), range(24))
        assert list(results) == [b"content"] * 24


PUBLIC = {
    "ML_KEM_768": ("aws-kms-ml-kem", "Decapsulate", {"KeySpec": "ML_KEM_768", "KeyUsage": "ENCAPSULATE_DECAPSULATE"}),
    "RSA_3072": ("aws-kms-rsa", "Decrypt", {"KeySpec": "RSA_3072", "KeyUsage": "ENCRYPT_DECRYPT"}),
}


def recipient_of(cloud: Cloud, arn: str, folder: Path) -> wax.Recipient:
    """The recipient file of a key in KMS (spec 9.10)."""
    kind = next(kind for kind, _, properties in PUBLIC.values() if properties["KeySpec"] == spec_of(cloud, arn))
    public = base64.b64encode(cloud.client("kms").get_public_key(KeyId=arn)["PublicKey"]).decode()
    line = f"waxseal-recipient-v1:{kind}:{arn}:{public}"
    (folder / "recipient").write_text(f"{line}:{hashlib.sha256(line.encode()).hexdigest()[:8]}\n")
    return wax.Recipient.load(folder / "recipient")


def spec_of(cloud: Cloud, arn: str) -> str:
    spec: str = cloud.client("kms").describe_key(KeyId=arn)["KeyMetadata"]["KeySpec"]
    return spec


@pytest.mark.parametrize("spec", PUBLIC)
@pytest.mark.parametrize("name", ["arn", "alias"])
def test_the_callers_own_client_opens_what_a_public_half_sealed(
    small_kms: Cloud, folder: Path, spec: str, name: str
) -> None:
    kind, operation, properties = PUBLIC[spec]
    arn, other = (small_kms.create_key(**properties) for _ in range(2))
    sealed = seal(recipient_of(small_kms, arn, folder), context={"env": "prod"})
    assert [slot.kind for slot in wax.inspect(io.BytesIO(sealed)).slots] == [kind]
    recorded = Recorded(small_kms.client("kms"))
    key, wrong = arn, other
    if name == "alias":
        key, wrong = (small_kms.alias(f"{one.rpartition('/')[2]}", one) for one in (arn, other))
    assert opened(sealed, keys=key, kms=recorded.client, context={"env": "prod"}) == b"content"
    assert [call for call, _ in recorded.calls] == [operation]
    assert "EncryptionContext" not in recorded.calls[0][1], "KMS has none for such keys"
    error = failure(lambda: opened(sealed, keys=wrong, kms=recorded.client))
    assert isinstance(error, wax.NoKeyError), repr(error)
    # All others are tried, and this one opens.
    assert opened(sealed, keys=[wrong, key], kms=recorded.client) == b"content"


def test_a_client_that_is_too_old_says_so(small_kms: Cloud, folder: Path) -> None:
    arn = small_kms.create_key(**PUBLIC["ML_KEM_768"][2])
    sealed = seal(recipient_of(small_kms, arn, folder))
    error = failure(lambda: opened(sealed, keys=arn, kms=FakeClient(lambda **_: None)))
    assert "newer boto3" in str(error), repr(error)


def test_rewrap_takes_aliases_of_the_callers_own_client(moto: Cloud, folder: Path) -> None:
    """KMS says which keys they name."""
    old, new, more = (moto.create_key() for _ in range(3))
    aliases = {name: moto.alias(f"own-client-{name}", arn) for name, arn in (("old", old), ("new", new), ("more", more))}
    client = moto.client("kms")
    path = folder / "x.wax"
    path.write_bytes(seal([old, more], kms=client))
    (result,) = wax.rewrap([path], from_=aliases["old"], to=aliases["new"], kms=client)
    assert result.error is None and result.changed
    (result,) = wax.rewrap([path], remove=aliases["more"], kms=client)
    assert result.error is None and result.changed
    assert [slot.key_id for slot in wax.inspect(path).slots] == [new]
    assert opened(path.read_bytes(), keys=new, kms=client) == b"content"
    before = path.read_bytes()
    (result,) = wax.rewrap([path], from_=aliases["old"], to=aliases["new"], kms=client)
    assert result.error is None and not result.changed, "it may be repeated"
    assert path.read_bytes() == before


def test_what_is_no_client_is_a_type_error(folder: Path) -> None:
    for wrong in (3, "eu-west-1", object(), {"region": REGION}):
        with pytest.raises(TypeError):
            wax.open(folder / "x", "wb", keys="alias/x", kms=wrong)  # type: ignore[call-overload]


# --- what KMS refuses -------------------------------------------------------------------------------------------------


def failure(call: Callable[[], object]) -> wax.Error:
    with pytest.raises(wax.Error) as caught:
        call()
    return caught.value


def test_no_credentials(moto: Cloud) -> None:
    arn = moto.create_key()
    sealed = seal(arn, kms=moto.client("kms"))
    # The settings of the environment are read once for all calls without `kms`. Other tests have had credentials.
    for call in (
        lambda: opened(sealed, kms=wax.Kms()),
        lambda: seal(arn, kms=wax.Kms()),
        lambda: opened(sealed, keys=arn, kms=wax.Kms()),
    ):
        error = failure(call)
        assert isinstance(error, wax.NoKeyError), repr(error)
        assert error.hint


def test_a_key_that_does_not_exist(cloud: Cloud) -> None:
    for kms in (wax.Kms(), cloud.client("kms")):
        error = failure(lambda kms=kms: seal("alias/no-such-key", kms=kms))
        assert isinstance(error, wax.NoKeyError), (kms, repr(error))


def test_a_key_of_another_account_is_not_called_unasked(cloud: Cloud) -> None:
    """A file must not make its reader call a stranger's key."""
    role = cloud.client("sts").assume_role(RoleArn="arn:aws:iam::111122223333:role/r", RoleSessionName="session")
    given = role["Credentials"]
    stranger = boto3.Session(
        given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], region_name=REGION
    ).client("kms", endpoint_url=cloud.url)
    arn = stranger.create_key()["KeyMetadata"]["Arn"]
    assert ":111122223333:" in arn and ACCOUNT not in arn
    sealed = seal(arn, kms=stranger)
    error = failure(lambda: opened(sealed))
    assert isinstance(error, wax.NoKeyError), repr(error)
    recorded = Recorded(cloud.client("kms"))
    assert isinstance(failure(lambda: opened(sealed, kms=recorded.client)), wax.NoKeyError)
    assert not [name for name, _ in recorded.calls if name == "Decrypt"]
    # Whoever names the key calls it.
    assert opened(sealed, keys=arn, kms=stranger) == b"content"


class Answers(BaseHTTPRequestHandler):
    """A KMS that always gives one answer."""

    status, body, calls = 400, b"", 0

    def do_POST(self) -> None:  # noqa: N802 (a name of the standard library)
        type(self).calls += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def kms_that_answers(status: int, body: dict[str, object]) -> Iterator[tuple[str, type[Answers]]]:
    handler = type("Handler", (Answers,), {"status": status, "body": json.dumps(body).encode(), "calls": 0})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


CAUSES = [
    (400, "ThrottlingException", wax.UnavailableError),
    (500, "KMSInternalException", wax.UnavailableError),
    (503, "DependencyTimeoutException", wax.UnavailableError),
    (400, "AccessDeniedException", wax.NoKeyError),
    (400, "DisabledException", wax.NoKeyError),
    (400, "NotFoundException", wax.NoKeyError),
    (400, "KMSInvalidStateException", wax.NoKeyError),
    (400, "UnrecognizedClientException", wax.NoKeyError),
    (400, "ExpiredTokenException", wax.NoKeyError),
]
ARN = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@pytest.mark.parametrize(("status", "code", "kind"), CAUSES)
@pytest.mark.parametrize("through", ["settings", "client"])
def test_each_answer_has_its_class(
    status: int, code: str, kind: type[wax.Error], through: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    canary = "c4nary-of-the-service"
    with kms_that_answers(status, {"__type": code, "message": f"no {canary}"}) as (url, handler):
        kms: object = wax.Kms(endpoint_url=url, region=REGION, timeout=2)
        if through == "client":
            kms = Cloud(url).client("kms")
        error = failure(lambda: seal(ARN, kms=kms))
        assert type(error) is kind, repr(error)
        assert handler.calls >= 1
    assert error.exit_code == kind.exit_code


@pytest.mark.parametrize("through", ["settings", "client"])
def test_nobody_is_there(through: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    kms: object = wax.Kms(endpoint_url=url, region=REGION, timeout=2)
    if through == "client":
        kms = Cloud(url).client("kms")
    error = failure(lambda: seal(ARN, kms=kms))
    assert isinstance(error, wax.UnavailableError) and isinstance(error, ConnectionError), repr(error)


class FakeClient:
    """What a caller could pass as a client: it has the methods of one, and answers what it likes."""

    def __init__(self, answer: Callable[..., object]) -> None:
        self.meta = boto3.client("kms", region_name=REGION, endpoint_url="http://127.0.0.1:9").meta
        self.generate_data_key = self.decrypt = self.encrypt = answer


LIES: list[object] = [
    None,
    {},
    {"KeyId": ARN},
    {"KeyId": ARN, "Plaintext": b"short", "CiphertextBlob": b"x"},
    {"KeyId": ARN, "Plaintext": "x" * 32, "CiphertextBlob": b"x"},
    {"KeyId": ARN, "Plaintext": bytes(32), "CiphertextBlob": b""},
    {"KeyId": ARN, "Plaintext": bytes(32), "CiphertextBlob": bytes(100_000)},
    {"KeyId": "not an arn", "Plaintext": bytes(32), "CiphertextBlob": b"x"},
    {"KeyId": 3, "Plaintext": bytes(32), "CiphertextBlob": b"x"},
]


@pytest.mark.parametrize("lie", LIES, ids=range(len(LIES)))
def test_a_client_that_answers_nonsense_seals_nothing(lie: object) -> None:
    target = io.BytesIO()
    with pytest.raises((wax.Error, TypeError)) as caught:
        wax.open(target, "wb", keys=ARN, kms=FakeClient(lambda **_: lie))  # type: ignore[call-overload]
    assert not isinstance(caught.value, wax.Bug)
    assert target.getvalue() == b""


def test_a_client_that_gives_the_key_of_another_file_opens_nothing(moto: Cloud) -> None:
    arn = moto.create_key()
    sealed = seal(arn, kms=moto.client("kms"))
    fake = FakeClient(lambda **_: {"KeyId": arn, "Plaintext": os.urandom(32)})
    error = failure(lambda: opened(sealed, keys=arn, kms=fake))
    assert error.exit_code in (4, 5), repr(error)
    fake = FakeClient(lambda **_: {"KeyId": ARN, "Plaintext": bytes(32)})
    assert failure(lambda: opened(sealed, keys=arn, kms=fake)).exit_code in (4, 5)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (botocore.exceptions.NoCredentialsError(), wax.NoKeyError),
        (botocore.exceptions.EndpointConnectionError(endpoint_url="http://x"), wax.UnavailableError),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="http://x"), wax.UnavailableError),
        (ZeroDivisionError("c4nary"), ZeroDivisionError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=["no credentials", "no endpoint", "timeout", "an error of the client's own", "ctrl-c"],
)
def test_what_a_client_raises_has_its_class(raised: BaseException, kind: type[BaseException]) -> None:
    def answer(**_: object) -> object:
        raise raised

    with pytest.raises(kind):
        wax.open(io.BytesIO(), "wb", keys=ARN, kms=FakeClient(answer))  # type: ignore[call-overload]


# --- rewrap -----------------------------------------------------------------------------------------------------------


def test_rewrap_moves_files_to_another_key(cloud: Cloud, folder: Path) -> None:
    old, new = cloud.create_key(), cloud.create_key()
    alias = cloud.alias("rewrap-target", new)
    paths = [folder / f"{number}.wax" for number in range(3)]
    for path in paths:
        path.write_bytes(seal(old))
    payload = paths[0].read_bytes()[-23:]
    results = wax.rewrap(paths, to=alias)
    assert [result.path for result in results] == paths
    assert all(result.changed and result.error is None for result in results)
    for path in paths:
        assert [slot.key_id for slot in wax.inspect(path).slots] == [new]
        assert opened(path.read_bytes(), keys=new) == b"content"
    assert paths[0].read_bytes()[-23:] == payload
    again = wax.rewrap(paths, to=alias)
    assert not any(result.changed for result in again), "it may be repeated"


def test_rewrap_goes_on_after_a_file_that_fails(cloud: Cloud, folder: Path) -> None:
    old, new = cloud.create_key(), cloud.create_key()
    (folder / "a.wax").write_bytes(seal(old))
    (folder / "b.wax").write_bytes(b"not sealed")
    (folder / "d.wax").write_bytes(seal(old))
    results = wax.rewrap([folder / f"{name}.wax" for name in "abcd"], to=new)
    assert [getattr(result.error, "exit_code", 0) for result in results] == [0, 3, 10, 0]
    assert [result.changed for result in results] == [True, False, False, True]


def test_rewrap_adds_and_removes_keys(folder: Path, key: str, other_key: str) -> None:
    with wax.open(folder / "x.wax", "wb", keys=key) as file:
        file.write(contents(MIB))
    (result,) = wax.rewrap([folder / "x.wax"], add=other_key, keys=key)
    assert result.error is None and result.changed
    wax.verify(folder / "x.wax", keys=other_key)
    ids = [slot.key_id for slot in wax.inspect(folder / "x.wax").slots]
    assert len(ids) == 2
    (result,) = wax.rewrap([folder / "x.wax"], remove=key, keys=other_key)
    assert result.error is None and result.changed
    wax.verify(folder / "x.wax", keys=other_key)
    with pytest.raises(wax.NoKeyError):
        wax.verify(folder / "x.wax", keys=key)


def test_one_path_is_not_a_list_of_letters(folder: Path, key: str, other_key: str) -> None:
    with wax.open(folder / "x.wax", "wb", keys=key) as file:
        file.write(b"content")
    try:
        results = wax.rewrap(str(folder / "x.wax"), add=other_key, keys=key)
    except TypeError:
        return
    assert [result.path for result in results] == [str(folder / "x.wax")]
