"""`cryptography.cobblestone` as a program: seal|open KEY [IN OUT], or from standard input to standard output."""

import sys

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor

PIECE = 1 << 20
CONTEXT = b"a bench"


def carry(machine, source, sink):
    data, out = bytearray(PIECE), bytearray(2 * PIECE)
    views = memoryview(data), memoryview(out)
    while read := source.readinto(data):
        sink.write(views[1][: machine.update_into(views[0][:read], out)])
    sink.write(machine.finalize())


def main(what, key, *files):
    if what == "new":
        with open(key, "wb") as out:
            out.write(Cobblestone256Encryptor.generate_key())
        return
    with open(key, "rb") as file:
        secret = file.read()
    machine = (Cobblestone256Encryptor if what == "seal" else Cobblestone256Decryptor)(secret, CONTEXT)
    source, sink = (files[0], files[1]) if files else (0, 1)
    # Unbuffered, because the pieces are large enough. A `write` can be partial only in a pipe.
    with open(source, "rb", buffering=0) as source, open(sink, "wb", buffering=0 if files else PIECE) as sink:
        carry(machine, source, sink)


if __name__ == "__main__":
    main(*sys.argv[1:])
