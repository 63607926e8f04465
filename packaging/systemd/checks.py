"""Runs the systemd parts of docs/backups.md on a machine with systemd, and checks what its units promise.

    checks.py ROOT WAXSEAL PYTHON

ROOT is from packaging/systemd/root, WAXSEAL is the program, and PYTHON has moto.
"""

import fcntl
import shutil
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import urllib.request

from machine import HERE, Machine, Session, blocks, wait_for, write_files

DOCUMENT = (HERE.parent.parent / "docs/backups.md").read_text()
RUN_HERE = "packaging/systemd/test runs this block"
# Nothing listens there.
NOBODY = "http://127.0.0.1:9"
AWS = "AWS_ACCESS_KEY_ID=id AWS_SECRET_ACCESS_KEY=secret AWS_REGION=eu-west-1"


def passed(what):
    print(f"ok: {what}", flush=True)


def prepare(machine, waxseal):
    """What docs/backups.md has before its systemd parts: the program, a key pair, and databases."""
    shutil.copy(waxseal, machine.path("/usr/bin/waxseal"))
    shutil.copytree(HERE, machine.path("/opt/packaging/systemd"))
    machine.run("waxseal key new --pair backup.identity && mkdir safe && mv backup.identity safe/")
    wait_for("PostgreSQL", lambda: machine.try_run("runuser -u postgres -- psql -c 'select 1'")[0] == 0)
    machine.run("runuser -u postgres -- createdb mydb")
    sql = "create table orders as select n as id, md5(n::text) as item from generate_series(1, 1000) n"
    machine.run(f"runuser -u postgres -- psql -q -d mydb -c '{sql}'")
    wait_for("MariaDB", lambda: machine.try_run("mariadb -e 'select 1'")[0] == 0)


def the_document(machine):
    """Its files are written, and its commands run and print what it says."""
    session = Session(machine)
    for before, language, text in blocks(DOCUMENT):
        if language == "ini":
            write_files(machine, text)
        elif language == "console" and RUN_HERE in (before or ""):
            session.block(text)
    passed(f"{session.count} commands of docs/backups.md")


def the_units(machine):
    """systemd finds no fault in them, and its own rating is low."""
    units = "waxseal-backup@mydb.service waxseal-backup@mydb.timer"
    found = machine.run(f"systemd-analyze verify --man=no {units}")
    assert found == "", found
    rated = machine.run("systemd-analyze security --threshold=12 --no-pager waxseal-backup@mydb.service | tail -n 1")
    passed(rated.strip("→ "))
    assert machine.show("waxseal-backup@mydb", "RestartForceExitStatus") == "6"
    assert machine.show("waxseal-backup@mydb", "Restart") == "no"
    assert machine.show("waxseal-backup@mydb", "RestartUSec") == "5min"
    assert machine.show("waxseal-backup@mydb.timer", "Persistent") == "yes"
    following = machine.show("waxseal-backup@mydb.timer", "NextElapseUSecRealtime").split()[2]
    assert "02:30:00" <= following < "03:00:00", following
    passed(f"the timer's next run is at {following}")


def the_content(machine):
    """The backups of the databases can be restored, and have all rows."""
    machine.run("runuser -u postgres -- createdb again")
    restore = "waxseal decrypt -k file:safe/backup.identity --to-command"
    dump = machine.run("ls /var/lib/waxseal-backup/mydb/mydb-*.wax | tail -n 1")
    # pg_restore runs as root, with the rights of postgres in the database.
    machine.run("runuser -u postgres -- createuser --superuser root")
    machine.run(f"{restore} {dump} -- pg_restore --single-transaction -d again")
    assert machine.run("psql -d again -A -t -c 'select count(*) from orders'") == "1000"
    machine.run(f"mariadb -e 'create database again' && {restore} /var/lib/waxseal-backup/shop/*.wax -- mariadb again")
    assert machine.run("mariadb -N -e 'select count(*) from again.orders'") == "3"
    passed("dumps of PostgreSQL and MariaDB are restored")


def backup(machine, name, configuration, drop_in="", key="backup.identity.pub"):
    """A backup with these files. Retries come after 1 s."""
    machine.write(f"/etc/waxseal/backup/{name}.conf", configuration, 0o600)
    if key:
        machine.run(f"install -m 600 {key} /etc/waxseal/backup/{name}.key")
    folder = f"/etc/systemd/system/waxseal-backup@{name}.service.d"
    machine.write(f"{folder}/test.conf", f"[Service]\nRestartSec=1s\n{drop_in}")
    machine.run("systemctl daemon-reload")
    return f"waxseal-backup@{name}"


def ended(machine, unit):
    return wait_for(f"the end of {unit}", lambda: machine.show(unit, "ActiveState") in ("inactive", "failed"))


def left(machine, name):
    """All files that a backup has left, also hidden ones."""
    return machine.run(f"find /var/lib/private/waxseal-backup/{name} -mindepth 1 2>/dev/null || true").split()


def the_limits(machine):
    """What the probe tries is refused to a backup, and possible without the limits."""
    machine.write("/home/somebody/file", "x")
    machine.path("/home/somebody").chmod(0o755)
    machine.write("/etc/waxseal/backup/readable.conf", "x")
    machine.write("/tmp/of-the-machine", "x")
    shutil.copy(HERE / "probe", machine.path("/usr/local/bin/probe"))
    free = machine.run("systemd-run -q --wait --pipe -p LimitCORE=infinity probe")
    refused = [line.split()[0] for line in free.splitlines() if not line.endswith(" possible")]
    # Some kernels load no modules, not even for root.
    assert set(refused) <= {"load-module"}, f"the probe itself fails: {refused}"
    machine.run("rm -rf /usr/probe /etc/probe /var/lib/probe /run/probe /tmp/probe /tmp/null; umount /mnt")
    unit = backup(machine, "probe", "COMMAND=probe\n")
    machine.run(f"systemctl start --wait {unit}")
    sealed = left(machine, "probe")
    assert len(sealed) == 1, sealed
    held = machine.run(f"waxseal decrypt -q -k file:safe/backup.identity -o - {sealed[0]}")
    possible = [line.split()[0] for line in held.splitlines() if line.endswith(" possible")]
    assert possible == ["internet-socket"], possible
    assert len(held.splitlines()) == len(free.splitlines())
    count = len(free.splitlines()) - len(refused) - len(possible)
    passed(f"{count} things are refused to a backup, and possible without its limits")
    if refused:
        passed(f"refused to a backup, but this kernel allows it to nobody: {' '.join(refused)}")


def the_output_folder(machine):
    """Without a drop-in, a backup cannot write to another folder."""
    machine.run("install -d -m 777 /srv/open")
    unit = backup(machine, "outside", "COMMAND=echo x\nTO=/srv/open\n")
    assert machine.try_run(f"systemctl start --wait {unit}")[0] != 0
    assert machine.show(unit, "ExecMainStatus") == "7" and machine.show(unit, "ActiveState") == "failed"
    assert machine.run("ls -A /srv/open") == ""
    passed("a folder that is not allowed: exit code 7, not tried again")


def the_key(machine):
    """A secret key is nowhere but in the copy for the unit. A stopped backup leaves nothing."""
    machine.run("waxseal key new secret.key")
    unit = backup(machine, "secret", "COMMAND=sh -c 'echo half; exec sleep 100'\n", key="secret.key")
    machine.run(f"systemctl start {unit}")
    wait_for("the command", lambda: "sleep" in machine.run("cat /proc/[0-9]*/comm").split())
    secret = machine.path("/opt/secret.key").read_text().split(":")[-1].strip()[:40]
    copy = machine.run(f"cat /run/credentials/{unit}.service/key")
    assert secret in copy, "the copy of the key is where this test looks"
    # systemctl would print a credential that is in the unit itself.
    visible = machine.run(f"cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'; systemctl show {unit}")
    assert "WAXSEAL_KEY=file:/run/credentials/" in visible, "the environment is in what was read"
    assert secret not in visible
    folder = f"/run/credentials/{unit}.service"
    mode = machine.run(f"stat -c '%a %U' {folder}/key; stat -f -c %T {folder}")
    passed(f"the key is only in its copy: mode, owner and file system are {' '.join(mode.split())}")
    machine.run(f"systemctl stop {unit}")
    assert left(machine, "secret") == [], left(machine, "secret")
    said = machine.run(f"journalctl -q -o cat -t waxseal-backup -u {unit}")
    assert "others may read" not in said, said
    passed("a backup that is stopped leaves nothing")


def the_failures(machine):
    """Only exit code 6 is tried again."""
    cases = [
        ("fails", "COMMAND=false\n", "9", {}),
        ("nokey", "COMMAND=echo x\n", "2", {"key": None}),
        ("nocommand", "TO=/srv\n", "2", {}),
        ("notfound", "COMMAND=no-such-program\n", "9", {}),
    ]
    for name, configuration, code, more in cases:
        unit = backup(machine, name, configuration, **more)
        machine.try_run(f"systemctl start --wait {unit}")
        # A unit that waits for its next try is "activating".
        told = machine.show(unit, "ExecMainStatus"), machine.show(unit, "NRestarts"), machine.show(unit, "ActiveState")
        assert told == (code, "0", "failed"), f"{name}: {told}"
        assert left(machine, name) == []
    said = machine.run("journalctl -q -o cat -t waxseal-backup -u waxseal-backup@nokey")
    assert said == "there is no key: create /etc/waxseal/backup/nokey.key, or set WAXSEAL_KEY", said
    passed("exit codes 2 and 9 are not tried again")
    lost = f"COMMAND=echo x\nWAXSEAL_KEY=alias/backups\nAWS_ENDPOINT_URL={NOBODY}\n" + AWS.replace(" ", "\n") + "\n"
    unit = backup(machine, "lost", lost, key=None)
    machine.run(f"systemctl start {unit}")
    wait_for("the last try", lambda: machine.show(unit, "ActiveState") == "failed")
    said = machine.run(f"journalctl -q -o cat -t waxseal-backup -u {unit}")
    assert said.count("exit 6") == 5, said
    passed("exit code 6 is tried five times, and then the unit has failed")


class Moto:
    """An emulator of AWS on this machine, with a bucket and a key. Clients reach it through a port that opens late."""

    def __init__(self, machine, python):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        server = [python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.server = subprocess.Popen(server, **quiet)
        self.url = f"http://127.0.0.1:{self.port}"
        wait_for("moto", self.ready)
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/backups", method="PUT"))
        machine.run(f"{AWS} AWS_ENDPOINT_URL={self.url} waxseal key create --alias alias/backups")

    def ready(self):
        try:
            return urllib.request.urlopen(f"{self.url}/moto-api/").status == 200
        except OSError:
            return False

    def end(self):
        self.server.kill()
        self.server.wait()


class Forward(socketserver.BaseRequestHandler):
    """Passes on a connection."""

    port = None

    def handle(self):
        with socket.create_connection(("127.0.0.1", self.port)) as there:
            back = threading.Thread(target=copy, args=(there, self.request))
            back.start()
            copy(self.request, there)
            back.join()


def copy(source, target):
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def the_store(machine, python):
    """The backup to S3 of the document. The service answers only after the first try."""
    moto = Moto(machine, python)
    Forward.port = moto.port
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Forward, bind_and_activate=False)
    server.daemon_threads = True
    server.server_bind()
    try:
        # A name, so that the resolver of the C library is used as well.
        url = f"http://localhost:{server.server_address[1]}"
        credentials = "[default]\naws_access_key_id = id\naws_secret_access_key = secret\n"
        machine.write("/etc/waxseal/backup/s3.aws", credentials, 0o600)
        configuration = machine.path("/etc/waxseal/backup/s3.conf").read_text()
        unit = backup(machine, "s3", configuration + f"AWS_ENDPOINT_URL={url}\n", key=None)
        machine.run(f"systemctl start {unit}")
        tries = wait_for("a second try", lambda: int(machine.show(unit, "NRestarts")))
        server.server_activate()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ended(machine, unit)
        assert machine.show(unit, "Result") == "success", machine.run(f"journalctl -q -o cat -u {unit}")
        verified = machine.run(f"{AWS} AWS_ENDPOINT_URL={moto.url} waxseal verify -r -c host=db1 s3://backups/files/")
        assert verified.startswith("s3://backups/files/s3-") and verified.endswith(".wax: ok"), verified
        passed(f"after {tries} or more tries with exit code 6, {verified}")
        server.shutdown()
    finally:
        server.server_close()
        moto.end()


def the_mail(machine):
    """The drop-ins of the document send a mail."""
    box = "/var/mail/root"
    machine.write("/usr/local/bin/mail", f'#!/bin/sh\n{{ echo "$*"; cat; }} >{box}.new\nmv {box}.new {box}\n', 0o755)
    machine.run("systemctl reset-failed && systemctl daemon-reload")
    machine.try_run("systemctl start --wait waxseal-backup@broken")
    wait_for("a mail", lambda: machine.path(box).exists())
    mail = machine.path(box).read_text()
    assert mail.startswith("-s The backup broken has failed root\n") and "the command tar failed" in mail, mail
    passed("a failed backup sends a mail")


def the_timer(machine):
    """A timer starts a backup."""
    unit = backup(machine, "tick", "COMMAND=echo x\n")
    timer = "[Timer]\nOnCalendar=\nOnActiveSec=1s\nRandomizedDelaySec=0\nAccuracySec=1s\n"
    machine.write("/etc/systemd/system/waxseal-backup@tick.timer.d/test.conf", timer)
    machine.run(f"systemctl daemon-reload && systemctl start {unit}.timer")
    wait_for("a backup by the timer", lambda: len(left(machine, "tick")) == 1)
    passed("a timer makes a backup")


def start_cron(machine):
    """The script and the crontab of the document, but every minute."""
    for before, language, text in blocks(DOCUMENT):
        if "book: file nightly-backup" in (before or ""):
            machine.write("/usr/local/bin/nightly-backup", text, 0o755)
        if language == "text" and text.startswith("MAILTO="):
            crontab = text.replace("30 2 * * *", "* * * * *")
    assert "* * * * * postgres nightly-backup mydb" in crontab, crontab
    machine.run("mkdir /etc/waxseal && install -m 644 backup.identity.pub /etc/waxseal/")
    machine.run("install -d -o postgres /var/backups/mydb")
    machine.write("/etc/cron.d/backups", crontab)


def the_crontab(machine):
    found = wait_for("a backup by cron", lambda: machine.run("ls /var/backups/mydb").split(), 130)
    name = f"/var/backups/mydb/{found[0]}"
    assert machine.run(f"waxseal verify -k file:safe/backup.identity -l backup=mydb {name}") == f"{name}: ok"
    passed("cron makes a backup")


def loopback():
    """Turns on the interface `lo` of a new network, which has no other interface."""
    with socket.socket() as any_socket:
        # SIOCSIFFLAGS, with the flags IFF_UP and IFF_RUNNING.
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x41))


def main(root, waxseal, python):
    loopback()
    with Machine(root) as machine:
        version = machine.run("systemctl --version").splitlines()[0]
        failed = machine.run("systemctl --failed --plain --no-legend").splitlines()
        passed(f"{version} is up; failed units: {' '.join(line.split()[0] for line in failed) or 'none'}")
        prepare(machine, waxseal)
        start_cron(machine)
        the_document(machine)
        the_units(machine)
        the_content(machine)
        the_limits(machine)
        the_output_folder(machine)
        the_key(machine)
        the_failures(machine)
        the_store(machine, python)
        the_mail(machine)
        the_timer(machine)
        the_crontab(machine)


if __name__ == "__main__":
    main(*sys.argv[1:])
