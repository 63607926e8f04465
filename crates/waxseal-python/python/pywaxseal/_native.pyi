"""The native half of `pywaxseal`. Everything public is in `pywaxseal` itself."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, Any, Protocol, TypeAlias, final

from typing_extensions import Buffer

from ._errors import Error

class _KmsClient(Protocol):
    """A client of boto3 for KMS."""

    @property
    def meta(self) -> Any: ...
    def generate_data_key(self, **kwargs: Any) -> Any: ...
    def decrypt(self, **kwargs: Any) -> Any: ...
    def encrypt(self, **kwargs: Any) -> Any: ...

class _Session(Protocol):
    """A session of boto3."""

    def client(self, service_name: str, /) -> Any: ...

_Key: TypeAlias = str | KeyFile | Identity | Recipient | Passphrase
_Keys: TypeAlias = _Key | Sequence[_Key]
_Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
_Pairs: TypeAlias = Mapping[str, str]
_CallsKms: TypeAlias = Kms | _KmsClient | _Session

__version__: str

@final
class KeyFile:
    """The key of a local key file."""

    @staticmethod
    def load(path: _Path) -> KeyFile: ...
    @staticmethod
    def generate() -> KeyFile: ...
    @property
    def id(self) -> str: ...
    def save(self, path: _Path) -> None: ...

@final
class Identity:
    """A key pair of an identity file."""

    @staticmethod
    def load(path: _Path) -> Identity: ...
    @staticmethod
    def generate() -> Identity: ...
    @property
    def id(self) -> str: ...
    @property
    def recipient(self) -> Recipient: ...
    def save(self, path: _Path) -> None: ...

@final
class Recipient:
    """A public key, which only seals."""

    @staticmethod
    def load(path: _Path) -> Recipient: ...
    @property
    def id(self) -> str: ...
    def save(self, path: _Path) -> None: ...

@final
class Passphrase:
    """A passphrase, or the function that asks for it."""

    def __new__(cls, passphrase: str | bytes | Callable[[], str | bytes]) -> Passphrase: ...

@final
class Kms:
    """Settings for keys in AWS KMS."""

    def __new__(
        cls,
        *,
        region: str | None = None,
        profile: str | None = None,
        endpoint_url: str | None = None,
        timeout: float | None = None,
    ) -> Kms: ...

@final
class S3:
    """Settings for objects in S3."""

    def __new__(
        cls, *, region: str | None = None, profile: str | None = None, endpoint_url: str | None = None
    ) -> S3: ...

@final
class Slot:
    """A wrapped data key of a file."""

    @property
    def kind(self) -> str: ...
    @property
    def kind_number(self) -> int: ...
    @property
    def key_id(self) -> str: ...
    @property
    def wrapped_key(self) -> bytes: ...

@final
class Inspection:
    """The header of a sealed file."""

    @property
    def slots(self) -> list[Slot]: ...
    @property
    def context(self) -> dict[str, str]: ...
    @property
    def labels(self) -> dict[str, str]: ...
    @property
    def suite(self) -> str: ...
    @property
    def data_key_id(self) -> str: ...
    @property
    def data_key_shared(self) -> bool: ...
    @property
    def generation(self) -> int: ...
    @property
    def header_size(self) -> int: ...
    @property
    def sealed_size(self) -> int | None: ...
    @property
    def plaintext_size_hint(self) -> int | None: ...
    @property
    def warnings(self) -> list[str]: ...

@final
class EncryptedFile:
    """A file that was sealed."""

    @property
    def plaintext_size(self) -> int: ...
    @property
    def sealed_size(self) -> int: ...
    @property
    def warnings(self) -> list[str]: ...

@final
class DecryptedFile:
    """A file that was opened into another one."""

    @property
    def plaintext_size(self) -> int: ...
    @property
    def key(self) -> str: ...
    @property
    def header(self) -> Inspection: ...
    @property
    def warnings(self) -> list[str]: ...

@final
class VerifiedFile:
    """A file that was checked."""

    @property
    def plaintext_size(self) -> int: ...
    @property
    def key(self) -> str: ...
    @property
    def header(self) -> Inspection: ...
    @property
    def quick(self) -> bool: ...
    @property
    def e_tag(self) -> str | None: ...
    @property
    def version_id(self) -> str | None: ...

@final
class RewrapResult:
    """What was done with one file."""

    @property
    def path(self) -> Any: ...
    @property
    def changed(self) -> bool: ...
    @property
    def old_keys(self) -> list[str]: ...
    @property
    def new_keys(self) -> list[str]: ...
    @property
    def request_ids(self) -> list[str]: ...
    @property
    def warnings(self) -> list[str]: ...
    @property
    def data_key_id(self) -> str | None: ...
    @property
    def old_e_tag(self) -> str | None: ...
    @property
    def e_tag(self) -> str | None: ...
    @property
    def old_version_id(self) -> str | None: ...
    @property
    def version_id(self) -> str | None: ...
    @property
    def error(self) -> Error | None: ...

@final
class Ranges:
    """Any range of a sealed file whose sealed bytes a function fetches."""

    def __new__(
        cls,
        size: int,
        fetch: Callable[[int, int], Buffer],
        *,
        keys: _Keys | None = None,
        context: _Pairs | None = None,
        labels: _Pairs | None = None,
        kms: _CallsKms | None = None,
    ) -> Ranges: ...
    @property
    def size(self) -> int: ...
    @property
    def key(self) -> str: ...
    @property
    def header(self) -> Inspection: ...
    def sealed_range(self, start: int, end: int) -> tuple[int, int]: ...
    def open_range(self, start: int, end: int, sealed: Buffer) -> bytes: ...
    def read_range(self, start: int, end: int) -> bytes: ...

@final
class Sealer:
    """Seals plaintext that is pushed."""

    def __new__(
        cls,
        *,
        keys: _Keys,
        context: _Pairs | None = None,
        labels: _Pairs | None = None,
        kms: _CallsKms | None = None,
    ) -> Sealer: ...
    def push(self, data: Buffer) -> bytes: ...
    def finish(self) -> bytes: ...
    @property
    def size(self) -> int | None: ...

def encrypt_file(
    src: _Path,
    dst: _Path,
    *,
    keys: _Keys,
    context: _Pairs | None = None,
    labels: _Pairs | None = None,
    overwrite: bool = False,
    sync: bool = True,
    kms: _CallsKms | None = None,
) -> EncryptedFile: ...
def decrypt_file(
    src: _Path,
    dst: _Path,
    *,
    keys: _Keys | None = None,
    context: _Pairs | None = None,
    labels: _Pairs | None = None,
    overwrite: bool = False,
    sync: bool = True,
    kms: _CallsKms | None = None,
) -> DecryptedFile: ...
def verify(
    path: _Path | IO[bytes],
    *,
    keys: _Keys | None = None,
    quick: bool = False,
    context: _Pairs | None = None,
    labels: _Pairs | None = None,
    kms: _CallsKms | None = None,
    s3: S3 | None = None,
) -> VerifiedFile: ...
def inspect(file: _Path | IO[bytes], *, s3: S3 | None = None) -> Inspection: ...
def rewrap(
    paths: _Path | Iterable[_Path],
    *,
    to: _Key | None = None,
    from_: _Key | None = None,
    add: _Keys | None = None,
    remove: _Keys | None = None,
    keys: _Keys | None = None,
    kms: _CallsKms | None = None,
    s3: S3 | None = None,
) -> list[RewrapResult]: ...

# What `pywaxseal._io` makes file objects of.

@final
class Reader:
    @property
    def size(self) -> int: ...
    @property
    def key(self) -> str: ...
    @property
    def header(self) -> Inspection: ...
    def readinto(self, buffer: Buffer) -> int: ...
    def readall(self) -> bytes: ...
    def read_range(self, start: int, end: int) -> bytes: ...
    def seek(self, offset: int, whence: int = 0) -> int: ...
    def tell(self) -> int: ...

@final
class StreamReader:
    @property
    def key(self) -> str: ...
    @property
    def header(self) -> Inspection: ...
    def readinto(self, buffer: Buffer) -> int: ...

@final
class Writer:
    def write(self, data: Buffer) -> int: ...
    def commit(self) -> list[str]: ...
    def discard(self) -> list[str]: ...
    def tell(self) -> int: ...

def open_reader(
    file: _Path | IO[bytes],
    *,
    keys: _Keys | None = None,
    context: _Pairs | None = None,
    labels: _Pairs | None = None,
    kms: _CallsKms | None = None,
    s3: S3 | None = None,
) -> Reader | StreamReader: ...
def open_stream(
    file: IO[bytes],
    *,
    keys: _Keys | None = None,
    context: _Pairs | None = None,
    labels: _Pairs | None = None,
    kms: _CallsKms | None = None,
) -> StreamReader: ...
def open_writer(
    file: _Path | IO[bytes],
    *,
    keys: _Keys | None,
    overwrite: bool,
    context: _Pairs | None = None,
    labels: _Pairs | None = None,
    kms: _CallsKms | None = None,
    s3: S3 | None = None,
    sync: bool = True,
) -> Writer: ...
def _before_fork() -> None: ...
def _after_fork() -> None: ...
