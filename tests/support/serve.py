"""Serves one emulator on 127.0.0.1 until its standard input ends, and prints its port first.

The test process has the other end of standard input open. However this process ends, the emulator ends too.
"""

import os
import socket
import sys
import threading


def end_with_parent():
    sys.stdin.buffer.read()
    os._exit(0)


def moto(tls):
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    app = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=tls)
    print(server.server_port, flush=True)
    server.serve_forever()


def ministack():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ.update(SERVICES="kms,sts", BIND_HOST="127.0.0.1", GATEWAY_PORT=str(port), PERSIST_STATE="0")
    print(port, flush=True)
    sys.argv = ["ministack"]
    from ministack.app import main

    main()


def certify(folder, host):
    """A certificate authority, and its certificate for `host` and 127.0.0.1."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.datetime.now(datetime.timezone.utc)

    def name(text):
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    def certificate(subject, key, issuer, issuer_key, extension, critical):
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=7))
            .add_extension(extension, critical)
            .sign(issuer_key, hashes.SHA256())
        )

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = certificate("test root", root_key, "test root", root_key, x509.BasicConstraints(True, None), True)
    names = [x509.DNSName(host), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    leaf = certificate("test", key, "test root", root_key, x509.SubjectAlternativeName(names), False)
    pem = serialization.Encoding.PEM
    with open(os.path.join(folder, "root.pem"), "wb") as out:
        out.write(root.public_bytes(pem))
    with open(os.path.join(folder, "leaf.pem"), "wb") as out:
        out.write(leaf.public_bytes(pem))
    with open(os.path.join(folder, "leaf.key"), "wb") as out:
        out.write(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )


if __name__ == "__main__":
    what, *more = sys.argv[1:]
    if what == "certify":
        certify(*more)
    else:
        threading.Thread(target=end_with_parent, daemon=True).start()
        if what == "moto":
            moto(tuple(more) or None)
        elif what == "small_kms":
            import kms

            kms.serve()
        else:
            ministack()
