"""Keys: files, objects, passphrases, and what is never shown or carried away."""

from __future__ import annotations

import copy
import io
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from conftest import Sealed, new_key
from support import contents, plaintext_of

import pywaxseal as wax


def seals_and_opens(seal: object, opens: object) -> bool:
    target = io.BytesIO()
    with wax.open(target, "wb", keys=seal) as file:  # type: ignore[call-overload]
        file.write(b"content")
    target.seek(0)
    with wax.open(target, keys=opens) as file:  # type: ignore[call-overload]
        return bool(file.read() == b"content")


def test_a_key_file_is_saved_and_loaded(folder: Path) -> None:
    made = wax.KeyFile.generate()
    made.save(folder / "a.key")
    assert (folder / "a.key").stat().st_mode & 0o777 == 0o600
    loaded = wax.KeyFile.load(folder / "a.key")
    assert loaded.id == made.id and len(made.id) == 32
    assert seals_and_opens(made, loaded)
    assert seals_and_opens(f"file:{folder}/a.key", [loaded])
    assert wax.KeyFile.generate().id != made.id


def test_a_key_file_is_never_replaced(folder: Path) -> None:
    wax.KeyFile.generate().save(folder / "a.key")
    before = (folder / "a.key").read_bytes()
    with pytest.raises(wax.ExistsError):
        wax.KeyFile.generate().save(folder / "a.key")
    assert (folder / "a.key").read_bytes() == before


def test_what_is_no_key_file_is_refused(folder: Path) -> None:
    for content in (b"", b"text\n", b"\x00" * 100, b"waxseal-key-v1:00:00\n"):
        (folder / "bad.key").write_bytes(content)
        with pytest.raises(wax.Error) as caught:
            wax.KeyFile.load(folder / "bad.key")
        assert caught.value.exit_code == 2
    with pytest.raises(wax.Error) as caught:
        wax.KeyFile.load(folder / "missing.key")
    assert caught.value.exit_code == 7


def test_several_keys_each_open(folder: Path, key: str, other_key: str) -> None:
    phrase = wax.Passphrase("correct horse battery staple")
    both = [key, wax.KeyFile.load(other_key.removeprefix("file:")), phrase]
    for opener in (key, other_key, phrase, [other_key, key]):
        assert seals_and_opens(both, opener)


@pytest.mark.parametrize("change", ["add", "to"])
def test_a_rewrap_with_a_key_that_opens_nothing(folder: Path, key: str, other_key: str, change: str) -> None:
    with wax.open(folder / "x.wax", "wb", keys=key) as file:
        file.write(b"content")
    new: Any = {change: wax.KeyFile.generate()}
    (result,) = wax.rewrap([folder / "x.wax"], keys=other_key, **new)
    assert isinstance(result.error, wax.NoKeyError) and not result.changed, result.error


def test_an_identity_opens_what_its_recipient_seals(folder: Path) -> None:
    identity = wax.Identity.generate()
    identity.save(folder / "a.identity")
    identity.recipient.save(folder / "a.pub")
    assert (folder / "a.identity").stat().st_mode & 0o777 == 0o600
    recipient = wax.Recipient.load(folder / "a.pub")
    assert recipient.id == identity.id
    for sealer in (identity, recipient, f"file:{folder}/a.pub", f"file:{folder}/a.identity"):
        for opener in (identity, wax.Identity.load(folder / "a.identity"), f"file:{folder}/a.identity"):
            assert seals_and_opens(sealer, opener)
    with pytest.raises(wax.Error):
        seals_and_opens(recipient, recipient)


@pytest.mark.parametrize("phrase", ["a phrase of words", b"a phrase in bytes", lambda: "from a function", lambda: b"b"])
def test_a_passphrase_may_be_text_bytes_or_a_function(phrase: object) -> None:
    assert seals_and_opens(wax.Passphrase(phrase), wax.Passphrase(phrase))  # type: ignore[arg-type]


def test_text_and_its_utf8_are_one_passphrase() -> None:
    assert seals_and_opens(wax.Passphrase("pässword"), wax.Passphrase("pässword".encode()))


def test_a_passphrase_that_is_no_text_is_in_no_error() -> None:
    """In a Latin-1 environment, `os.environ` has such texts."""
    phrase = b"my s\xe9cret".decode("utf-8", "surrogateescape")
    for make in (lambda: wax.Passphrase(phrase), lambda: wax.Sealer(keys=wax.Passphrase(lambda: phrase))):
        with pytest.raises(wax.UsageError) as caught:
            make()
        error: BaseException | None = caught.value
        while error is not None:
            assert "cret" not in repr(error) + str(vars(error)), error
            error = error.__context__
    raw = phrase.encode("utf-8", "surrogateescape")
    assert seals_and_opens(wax.Passphrase(raw), wax.Passphrase(lambda: raw))


def test_a_wrong_passphrase_opens_nothing() -> None:
    with pytest.raises(wax.NoKeyError):
        seals_and_opens(wax.Passphrase("one phrase"), wax.Passphrase("another phrase"))


def test_a_function_for_a_passphrase_is_called_only_when_it_is_needed(sealed: Sealed) -> None:
    called = []

    def ask() -> str:
        called.append(1)
        return "phrase"

    key = wax.Passphrase(ask)
    assert not called
    with wax.open(sealed.path, keys=[sealed.key, key]) as file:
        file.read(1)
    assert not called, "the file has no slot for a passphrase"
    assert seals_and_opens(key, key)
    assert called


def test_what_a_function_for_a_passphrase_raises_comes_out() -> None:
    class Cancelled(Exception):
        pass

    def ask() -> str:
        raise Cancelled

    with pytest.raises(Cancelled):
        wax.Sealer(keys=wax.Passphrase(ask))
    with pytest.raises(TypeError):
        wax.Sealer(keys=wax.Passphrase(lambda: 3))  # type: ignore[arg-type,return-value]
    for bad in ("", "x" * 1025):
        with pytest.raises(wax.UsageError):
            wax.Sealer(keys=wax.Passphrase(bad))
        with pytest.raises(wax.UsageError):
            wax.Sealer(keys=wax.Passphrase(lambda bad=bad: bad))
    with pytest.raises(TypeError):
        wax.Passphrase(3)  # type: ignore[arg-type]


def key_objects(folder: Path) -> list[object]:
    identity = wax.Identity.generate()
    return [wax.KeyFile.generate(), identity, wax.Passphrase("a secret phrase"), wax.Passphrase(lambda: "a secret")]


def test_repr_shows_the_kind_and_the_id_only(folder: Path) -> None:
    for made in key_objects(folder):
        for text in (repr(made), str(made), f"{made}", f"{[made]}"):
            assert "secret" not in text and type(made).__name__ in text, text
        if not isinstance(made, wax.Passphrase):
            assert made.id in repr(made)  # type: ignore[attr-defined]
        assert not hasattr(made, "__dict__") or "secret" not in repr(vars(made))


def test_keys_are_not_pickled_or_copied(folder: Path) -> None:
    """Keys travel by name, never as bytes."""
    for made in key_objects(folder):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError):
                pickle.dumps(made, protocol)
        with pytest.raises(TypeError):
            pickle.dumps([made])
        with pytest.raises(TypeError):
            copy.deepcopy(made)


def test_settings_are_pickled() -> None:
    kms = wax.Kms(region="eu-west-1", profile="p", endpoint_url="http://127.0.0.1:1", timeout=3)
    s3 = wax.S3(region="eu-west-1", profile="p", endpoint_url="http://127.0.0.1:1")
    for made in (kms, s3, wax.Kms(), wax.S3()):
        assert repr(pickle.loads(pickle.dumps(made))) == repr(made)
    assert "eu-west-1" in repr(kms)


def test_a_key_file_that_others_may_read_gives_a_warning(folder: Path, key: str) -> None:
    path = folder / "loose.key"
    path.write_bytes(Path(key.removeprefix("file:")).read_bytes())
    path.chmod(0o644)
    with pytest.warns(UserWarning, match="loose.key"):
        wax.open(folder / "x", "wb", keys=f"file:{path}").discard()
    with pytest.warns(UserWarning, match="loose.key"):
        wax.KeyFile.load(path)
    path.chmod(0o600)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wax.open(folder / "x", "wb", keys=f"file:{path}").discard()


def test_a_relative_name_of_a_key_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    new_key(Path("here.key"))
    with wax.open("x.wax", "wb", keys="file:here.key") as file:
        file.write(contents(10))
    assert plaintext_of("x.wax", "file:here.key") == contents(10)


def test_the_variable_of_the_program_names_no_key_for_sealing(
    folder: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library does what its caller says: `keys` is not optional where something is sealed."""
    monkeypatch.setenv("WAXSEAL_KEY", key)
    with pytest.raises((TypeError, wax.UsageError)):
        wax.open(folder / "x", "wb")
    assert os.listdir(folder) == []
