"""An object store (SeaweedFS), a KMS (tests/support/kms.py) and clusters of Ray and Dask, all on 127.0.0.1."""

import contextlib
import json
import os
import pathlib
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import boto3
import botocore.config

ROOT = pathlib.Path(__file__).resolve().parents[4]
DOCUMENT = (ROOT / "docs/clusters.md").read_text()
REGION = "eu-west-1"
# The server ends when this shell's stdin does. SeaweedFS leaves sockets in /tmp, whose names end in its ports.
WATCH = r"""
trap '' INT TERM HUP
exec 3<&0
folder=$1 socket=$2
shift 2
TMPDIR="$folder" "$@" </dev/null >"$folder/log" 2>&1 3<&- &
read -r _ <&3
kill -KILL $!
wait $! 2>/dev/null
rm -rf "$folder" $socket
"""
IDENTITIES = {"identities": [{"name": "all", "credentials": [{"accessKey": "AKIDEXAMPLE", "secretKey": "secret"}],
                              "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
# Ports that the system gives to nobody who asks for any port.
PORTS = range(20_000, 31_990, 10)


def blocks(kind):
    """The examples of docs/clusters.md of one language."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


def documented(begin):
    """The arguments of the command of docs/clusters.md that begins so."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return shlex.split(next(line for line in lines if line.startswith(begin)))


def tool(name):
    """A program of this interpreter's environment."""
    return str(pathlib.Path(sys.executable).with_name(name))


def wait_for(what, seconds=60.0, process=None):
    end = time.monotonic() + seconds
    while True:
        assert process is None or process.poll() is None, f"{process.args} has ended"
        with contextlib.suppress(Exception):
            if found := what():
                return found
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.05)


def free_block():
    for first in (*PORTS[os.getpid() % len(PORTS):], *PORTS):
        with contextlib.ExitStack() as sockets, contextlib.suppress(OSError):
            for port in range(first, first + 10):
                sockets.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise AssertionError("no free ports")


def watched(folder, sockets, *command):
    return subprocess.Popen(["sh", "-c", WATCH, "sh", str(folder), sockets, *map(str, command)], stdin=subprocess.PIPE,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def ended(process):
    process.stdin.close()
    process.wait()


class Servers:
    """S3 and KMS, and the environment in which programs find them."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="waxseal-fleet-"))
        self.stack = contextlib.ExitStack()
        self.stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.start_s3()
        self.start_kms()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self.environment = kept | {
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_ENDPOINT_URL_S3": self.s3_url,
            "AWS_ENDPOINT_URL_KMS": self.kms_url, "AWS_ENDPOINT_URL_STS": self.kms_url,
            "RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1",
            # A token of this run's own: the usual one is in the user's folder, where other clusters change it.
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }
        common = {"region_name": REGION, "aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret"}
        path_style = botocore.config.Config(s3={"addressing_style": "path"}, max_pool_connections=32)
        self.s3 = boto3.client("s3", endpoint_url=self.s3_url, config=path_style, **common)
        self.kms = boto3.client("kms", endpoint_url=self.kms_url, **common)
        wait_for(self.s3_works)

    def start_s3(self):
        folder, port = self.folder / "s3", free_block()
        folder.mkdir()
        (folder / "identities.json").write_text(json.dumps(IDENTITIES))
        weed = pathlib.Path(sys.executable).with_name("weed")
        services = ["s3", "master", "volume", "filer", "admin"]
        ports = [f"-{name}.port={port + 2 * index}" for index, name in enumerate(services)]
        ports += [f"-{name}.port.grpc={port + 2 * index + 1}" for index, name in enumerate(services)]
        process = watched(
            folder, f"/tmp/seaweedfs-*-{port // 10}?.sock", weed, "mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            "-master.telemetry=false", "-webdav=false", "-admin.ui=false", "-s3.iam=false", "-s3.port.iceberg=0",
            "-s3.port.lance=0", "-volume.max=10000", f"-dir={folder}", f"-s3.config={folder / 'identities.json'}",
            *ports)
        self.stack.callback(ended, process)
        self.s3_url = f"http://127.0.0.1:{port}"

    def s3_works(self):
        self.s3.create_bucket(Bucket="started")
        self.s3.put_object(Bucket="started", Key="object", Body=b"object")
        return self.s3.get_object(Bucket="started", Key="object")["Body"].read() == b"object"

    def start_kms(self):
        process = subprocess.Popen([sys.executable, ROOT / "tests/support/serve.py", "small_kms"],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.stack.callback(ended, process)
        self.kms_url = f"http://127.0.0.1:{int(process.stdout.readline())}"

    def fake(self, operation, **body):
        request = urllib.request.Request(self.kms_url, json.dumps(body).encode(),
                                         {"X-Amz-Target": f"Fake.{operation}"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def calls(self):
        return self.fake("Calls")["Calls"]

    def new_key(self):
        return self.kms.create_key()["KeyMetadata"]["Arn"]

    def close(self):
        self.stack.close()


class RayCluster:
    """A head node, as a process that is no part of the driver."""

    def __init__(self, servers, workers=4):
        # Ray gives its own helpers 15 s to start. On a busy machine this is not always enough.
        for left in range(5, -1, -1):
            self.start(servers, workers)
            try:
                wait_for(self.started, 120, self.process)
                return
            except AssertionError:
                self.close()
                if not left:
                    raise

    def start(self, servers, workers):
        # Its sockets' names are long, so the folder's is short.
        self.folder = tempfile.mkdtemp(prefix="wf", dir="/tmp")
        ports = free_block()
        self.address = f"127.0.0.1:{ports}"
        # The document's command, with ports of the block, in a folder of its own, and in the foreground.
        command = [
            tool("ray"), *documented("ray start --head")[1:], "--block", "--node-ip-address=127.0.0.1",
            f"--port={ports}", f"--node-manager-port={ports + 2}", f"--object-manager-port={ports + 3}",
            f"--dashboard-port={ports + 4}", f"--dashboard-agent-listen-port={ports + 5}",
            f"--dashboard-agent-grpc-port={ports + 6}",
            f"--runtime-env-agent-port={ports + 7}", f"--metrics-export-port={ports + 8}",
            f"--num-cpus={workers}", "--object-store-memory=80000000", f"--temp-dir={self.folder}"]
        self.log = open(os.path.join(self.folder, "start.log"), "wb")
        # In a session of its own, so that all of it can be ended.
        self.process = subprocess.Popen(list(map(str, command)), env=servers.environment, stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True)

    def started(self):
        return "Ray runtime started" in pathlib.Path(self.log.name).read_text()

    program, option = "fleet_ray.py", "--address"

    def workers(self):
        """The processes that do a task now, and the one with the budget."""
        return [pid for pid, line in commands() if line.startswith(("ray::work", "ray::SharedBudget"))
                and session(pid) == self.process.pid]

    def close(self):
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        for pid, _ in commands():
            if session(pid) == self.process.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class DaskCluster:
    """A scheduler, and workers that a nanny starts again."""

    def __init__(self, servers, workers=2, threads=2):
        self.folder = tempfile.mkdtemp(prefix="waxseal-dask-")
        file = os.path.join(self.folder, "scheduler.json")
        log = open(os.path.join(self.folder, "log"), "wb")
        common = {"env": servers.environment, "stdin": subprocess.DEVNULL, "stdout": log, "stderr": log,
                  "cwd": self.folder, "start_new_session": True}
        # The document's commands. Later options win.
        scheduler = [tool("dask"), *documented("dask scheduler")[1:], "--host=127.0.0.1", "--port=0",
                     f"--scheduler-file={file}"]
        self.scheduler = subprocess.Popen(scheduler, **common)
        self.address = wait_for(lambda: json.loads(pathlib.Path(file).read_text())["address"])
        worker = [self.address if word == "tcp://head:8786" else word for word in documented("dask worker")[1:]]
        worker += ["--host=127.0.0.1", f"--nworkers={workers}", f"--nthreads={threads}", "--memory-limit=0",
                   f"--local-directory={self.folder}", "--death-timeout=60"]
        self.worker = subprocess.Popen([tool("dask"), *worker], **common)
        log.close()

    program, option = "fleet_dask.py", "--scheduler"

    def workers(self):
        """The processes of the workers, without their nanny."""
        return [pid for pid, line in commands()
                if "multiprocessing" in line and "spawn_main" in line and session(pid) == self.worker.pid]

    def close(self):
        for process in (self.worker, self.scheduler):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def commands():
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                yield int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def session(pid):
    with contextlib.suppress(OSError):
        return os.getsid(pid)
    return None
