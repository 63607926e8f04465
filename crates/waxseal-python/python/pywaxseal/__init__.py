"""Sealed files, as easy to use as plain ones.

>>> import pywaxseal as wax, tempfile, os
>>> folder = tempfile.TemporaryDirectory()
>>> path = os.path.join(folder.name, "notes.wax")
>>> key = wax.KeyFile.generate()
>>> with wax.open(path, "wb", keys=key) as f:
...     _ = f.write(b"all that is mine")
>>> with wax.open(path, keys=key) as f:
...     _ = f.seek(4)
...     f.read(4)
b'that'
>>> folder.cleanup()
"""

from ._errors import (
    Bug,
    Error,
    ExistsError,
    FormatError,
    IoError,
    NoKeyError,
    NotFoundError,
    TamperedError,
    UnavailableError,
    UnmetError,
    UsageError,
)
from ._io import SealedReader, SealedWriter, open
from ._native import (
    S3,
    DecryptedFile,
    EncryptedFile,
    Identity,
    Inspection,
    KeyFile,
    Kms,
    Passphrase,
    Ranges,
    Recipient,
    RewrapResult,
    Sealer,
    Slot,
    VerifiedFile,
    __version__,
    decrypt_file,
    encrypt_file,
    inspect,
    rewrap,
    verify,
)

__all__ = [
    "S3",
    "Bug",
    "DecryptedFile",
    "EncryptedFile",
    "Error",
    "ExistsError",
    "FormatError",
    "Identity",
    "Inspection",
    "IoError",
    "KeyFile",
    "Kms",
    "NoKeyError",
    "NotFoundError",
    "Passphrase",
    "Ranges",
    "Recipient",
    "RewrapResult",
    "SealedReader",
    "SealedWriter",
    "Sealer",
    "Slot",
    "TamperedError",
    "UnavailableError",
    "UnmetError",
    "UsageError",
    "VerifiedFile",
    "__version__",
    "decrypt_file",
    "encrypt_file",
    "inspect",
    "open",
    "rewrap",
    "verify",
]
