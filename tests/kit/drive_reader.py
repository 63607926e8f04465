"""Runs reader.py, whose path is the first argument, once for each line of standard input.

A line is a JSON list of arguments. The answer is a line too: exit code, standard error, length and SHA-256 of what
came out. One process for all: to import what the reader needs takes longer than to run it.

With the second argument `Sealed`, the file is read as a module's user reads it: from the front, then again backwards.
"""
import contextlib, hashlib, importlib.util, io, json, os, runpy, sys, types

opened, really_open = [], os.open


def open_and_note(*args, **kwargs):
    opened.append(really_open(*args, **kwargs))
    return opened[-1]


def run(reader, args):
    out, errors = types.SimpleNamespace(buffer=io.BytesIO()), io.StringIO()
    sys.argv, sys.stdout, code = [reader, *args], out, 0
    try:
        with contextlib.redirect_stderr(errors):
            runpy.run_path(reader, run_name="__main__")
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        sys.stdout = sys.__stdout__
        while opened:
            with contextlib.suppress(OSError):
                os.close(opened.pop())
    plaintext = out.buffer.getvalue()
    return [code, errors.getvalue(), len(plaintext), hashlib.sha256(plaintext).hexdigest()]


def keywords(args):
    """The options as the module takes them, and the input."""
    given, args = {}, args[:-1]
    while args[1:]:
        name, _, value = args.pop(0).partition("=")
        name, value = name.lstrip("-").replace("-", "_"), value or args.pop(0)
        if name.endswith("_file"):
            given[name] = value
        else:
            given.setdefault(name, []).append(value)
    return given, args[0]


def read_at_all_places(module, args):
    given, path = keywords(args)
    code, errors, plaintext = 0, "", b""
    try:
        with module.Sealed(path, **given) as file:
            errors = f"reader: warning: {file.warning}\n" if file.warning else ""
            while part := file.read(5000):
                plaintext += part
            length = file.seek(0, os.SEEK_END)
            assert length == len(plaintext), (length, len(plaintext))
            for end in range(length, 0, -4999):
                begin = max(end - 4999, 0)
                assert file.seek(begin - length, os.SEEK_END) == begin
                part = b""
                while len(part) < end - begin:
                    part += file.read(end - begin - len(part))
                assert part == plaintext[begin:end], begin
    except module.Fail as error:
        code, errors = error.code, f"{errors}reader: {error.kind}: {error}\n"
    return [code, errors, len(plaintext), hashlib.sha256(plaintext).hexdigest()]


def load(path):
    spec = importlib.util.spec_from_file_location("reader", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


path = sys.argv[1]
if sys.argv[2:] == ["Sealed"]:
    module = load(path)
    answer = lambda args: read_at_all_places(module, args)
else:
    os.open = open_and_note
    answer = lambda args: run(path, args)
for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
