"""Rotates or verifies many sealed objects in S3. This is the part that no engine changes: the list of objects, the
ledger, the driver and the report. fleet_ray.py and fleet_dask.py run it on a cluster, and this program on one machine.

A worker needs pywaxseal and the engine. The driver also needs boto3. docs/clusters.md explains how to use it.
"""

import argparse
import csv
import dataclasses
import fcntl
import gzip
import hashlib
import io
import json
import os
import pathlib
import queue
import socket
import sys
import time
import urllib.parse
import uuid
from concurrent.futures import ThreadPoolExecutor

from fleet_plan import plan, table
from fleet_work import CALLS, PART, Budget, bare, chunks, now, step

# An object is tried so often in one run if the reason may pass: a service that cannot be reached or a worker that dies.
ATTEMPTS = 5
# Exit codes of failures that may pass: throttled or not reached, and an object that another program just replaced.
MAY_PASS = (6, 7)
# The exit code of a run is the most serious one, in waxseal's order.
SERIOUS = (1, 4, 3, 5, 7, 10, 8, 2, 6)
EXAMPLES = 20


class Usage(Exception):
    """The caller asked for something that cannot be."""

    exit_code = 2


class Refused(Usage):
    """A condition is not met, such as a ledger of another job."""

    exit_code = 8


class Damaged(Usage):
    """The ledger or the list is damaged."""

    exit_code = 3


# The objects


@dataclasses.dataclass(frozen=True)
class Entry:
    """An object, as a list names it. Without an ETag, only its name is known."""

    name: str
    e_tag: str | None
    size: int


def split(name):
    bucket, _, key = name.removeprefix("s3://").partition("/")
    return bucket, key


def client():
    import boto3

    return boto3.client("s3")


def listed(prefix, suffix=""):
    """The objects below a prefix, as S3 lists them now."""
    bucket, key = split(prefix)
    for page in client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key):
        for row in page.get("Contents", []):
            # An empty object whose name ends in a slash only shows a folder.
            if row["Key"].endswith(suffix) and not (row["Key"].endswith("/") and row["Size"] == 0):
                yield Entry(f"s3://{bucket}/{row['Key']}", bare(row["ETag"]), row["Size"])


def opened(place):
    """A file, or an object that is not sealed. Its bytes."""
    if not place.startswith("s3://"):
        return pathlib.Path(place).read_bytes()
    bucket, key = split(place)
    return client().get_object(Bucket=bucket, Key=key)["Body"].read()


def inventory(place, columns, suffix=""):
    """The objects of an S3 Inventory: its manifest.json, or one of its CSV files."""
    if not place.endswith(".json"):
        yield from rows_of(opened(place), place, columns, suffix)
        return
    manifest = json.loads(opened(place))
    if manifest.get("fileFormat") != "CSV":
        raise Usage(f"{place}: the inventory is not CSV")
    for file in manifest["files"]:
        if place.startswith("s3://"):
            there = f"s3://{manifest['destinationBucket'].rpartition(':')[2]}/{file['key']}"
        else:
            there = str(pathlib.Path(place).parent / pathlib.PurePosixPath(file["key"]).name)
        text = opened(there)
        if "MD5checksum" in file and hashlib.md5(text).hexdigest() != file["MD5checksum"]:
            raise Damaged(f"{there}: not the file that the manifest names")
        yield from rows_of(text, there, manifest["fileSchema"], suffix)


def rows_of(text, place, columns, suffix):
    """The rows of an S3 Inventory in CSV. Keys are written as in a URL there."""
    if place.endswith(".gz"):
        text = gzip.decompress(text)
    names = [name.strip() for name in columns.split(",")]
    if not {"Bucket", "Key"} <= set(names):
        raise Usage("the inventory needs the columns Bucket and Key")
    for values in csv.reader(io.StringIO(text.decode())):
        row = dict(zip(names, values, strict=True))
        # Only the present version of an object can be changed.
        if row.get("IsLatest", "true") != "true" or row.get("IsDeleteMarker", "false") == "true":
            continue
        key, size = urllib.parse.unquote_plus(row["Key"]), int(row.get("Size") or 0)
        if key.endswith(suffix) and not (key.endswith("/") and size == 0):
            yield Entry(f"s3://{row['Bucket']}/{key}", bare(row.get("ETag")), size)


# The ledger


def digest(text, size):
    return hashlib.blake2b(text.encode(), digest_size=size).digest()


class Ledger:
    """A file to which lines are only added. Each addition is on the disk before the driver goes on. What it says
    is done: an object's line is written after its new version has replaced the old one.

    Lines, as JSON: `job` (first), `run` (a driver has started), `begin` (objects are given to a worker), `done`,
    `failed`, `again` (it failed and is tried again), `lost` (a worker has died), `end` (a driver has ended).
    """

    def __init__(self, path, job):
        self.path = path
        self.done = {}
        self.begun = set()
        self.file = open(path, "a+b", buffering=0)
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"{path}: another driver uses this ledger") from None
        good = 0
        for end, line in lines_of(path):
            if not good and line.get("job") != job:
                raise Refused(f"{path}: the ledger is of another job: {line.get('job')}")
            good = end
            self.take(line)
        # A driver that was killed, or a machine that lost its power, can leave a part of a line.
        self.file.truncate(good)
        if not good:
            self.add({"type": "job", "job": job, "at": now()})
            folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)

    def take(self, line):
        """Remembers a line. 16 bytes stand for a name, and 8 for an ETag: names of millions of objects are large."""
        if line["type"] == "begin":
            self.begun.update(digest(name, 16) for name in line["objects"])
        elif line["type"] == "done":
            name = digest(line["object"], 16)
            self.begun.discard(name)
            self.done[name] = digest(line["before"] or "", 8) + digest(line["e_tag"] or "", 8)
        elif line["type"] == "failed" and line["exit"] not in MAY_PASS:
            self.begun.discard(digest(line["object"], 16))

    def add(self, *lines):
        text = b"".join(json.dumps(line, ensure_ascii=False).encode(errors="surrogatepass") + b"\n" for line in lines)
        view = memoryview(text)
        while view:
            view = view[self.file.write(view) :]
        os.fsync(self.file.fileno())
        for line in lines:
            self.take(line)

    def has(self, entry, is_live):
        """Whether the work on this object is done. In a list that S3 makes now, the object must have the ETag that the
        work left. An inventory is older: the object may have the ETag that it had before the work.
        """
        known = self.done.get(digest(entry.name, 16))
        if known is None or entry.e_tag is None:
            return known is not None
        e_tag = digest(entry.e_tag, 8)
        return e_tag == known[8:] or (not is_live and e_tag == known[:8])

    def was_begun(self, name):
        """Whether an earlier driver gave the object to a worker and did not live to see the result."""
        return digest(name, 16) in self.begun

    def close(self):
        self.file.close()


def lines_of(path):
    """Each complete line with the position of its end. An incomplete line may only be the last one."""
    end, broken = 0, None
    with open(path, "rb") as file:
        for number, text in enumerate(file, 1):
            try:
                line = json.loads(text) if text.endswith(b"\n") else None
            except ValueError:
                line = None
            if not isinstance(line, dict) or "type" not in line:
                broken = broken or number
            elif broken:
                raise Damaged(f"{path}: line {broken} is damaged")
            else:
                end += len(text)
                yield end, line


# The driver


@dataclasses.dataclass
class Batch:
    objects: list
    attempt: int = 1
    not_before: float = 0.0


class Lost(Exception):
    """A batch whose worker died, or whose work ended in an error that is not waxseal's."""


class Driver:
    """Gives batches to the cluster and writes what becomes of them. The cluster has `slots()`, `submit(order)`, which
    returns a ticket, and `next(seconds)`, which returns a ticket and its outcomes, or the error `Lost`, or None.
    """

    def __init__(self, options, job, cluster, ledger):
        self.options, self.job, self.cluster, self.ledger = options, job, cluster, ledger
        self.run = uuid.uuid4().hex
        self.open, self.again = {}, []
        self.seen = {"objects": 0, "bytes": 0, "done_before": 0}

    def entries(self):
        """The objects that are not done yet."""
        for entry, is_live in objects_of(self.options):
            self.seen["objects"] += 1
            self.seen["bytes"] += entry.size
            if self.ledger.has(entry, is_live):
                self.seen["done_before"] += 1
            else:
                yield entry.name

    def work(self):
        self.ledger.add({
            "type": "run", "run": self.run, "at": now(), "host": socket.gethostname(), "pid": os.getpid(),
            "source": self.options.inventory or self.options.prefix, "engine": self.cluster.name,
        })
        fresh = chunks(self.entries(), self.options.batch)
        more = True
        while more or self.open or self.again:
            while len(self.open) < 2 * max(self.cluster.slots(), 1):
                batch = self.due() or (more and next(fresh, None))
                if not batch:
                    more = more and batch is not None
                    break
                self.give(batch if isinstance(batch, Batch) else Batch(batch))
            self.collect()
        self.ledger.add({"type": "end", "run": self.run, "at": now(), "list": self.seen,
                         "budget": self.cluster.budget()})

    def due(self):
        for index, batch in enumerate(self.again):
            if batch.not_before <= time.monotonic():
                return self.again.pop(index)
        return None

    def give(self, batch):
        """An earlier driver's word that it began is needed later, to tell what that driver did not live to write."""
        batch.unrecorded = {name for name in batch.objects if self.ledger.was_begun(name)}
        self.ledger.add({"type": "begin", "run": self.run, "objects": batch.objects})
        order = self.job | {"run": self.run, "objects": batch.objects, "part": self.part()}
        self.open[self.cluster.submit(order)] = batch

    def part(self):
        """So few objects at once that their calls are no more than a tenth of a second's."""
        return max(1, min(PART, int(self.options.calls_per_second / 10 / CALLS[self.job["command"]])))

    def collect(self):
        ticket, outcomes = self.cluster.next(0.2)
        if ticket is None:
            return
        batch = self.open.pop(ticket)
        if isinstance(outcomes, Lost):
            self.lost(batch, outcomes)
            return
        lines, again = [], []
        for line in outcomes:
            if line["type"] == "failed" and line["exit"] in MAY_PASS and batch.attempt < ATTEMPTS:
                again.append(line["object"])
                line = line | {"type": "again"}
            if line["result"] == "had-new-key" and line["object"] in batch.unrecorded:
                # The driver before this one has changed it. CloudTrail has the request with this data key.
                line = line | {"result": "rewrapped-unrecorded"}
            lines.append(line | {"run": self.run, "attempt": batch.attempt})
        if lines:
            self.ledger.add(*lines)
        if again:
            self.retry(Batch(again, batch.attempt + 1))

    def lost(self, batch, error):
        """Half of the objects at a time: an object that kills its worker is alone in the end, and only it fails."""
        names = batch.objects
        self.ledger.add({"type": "lost", "run": self.run, "at": now(), "cause": str(error), "objects": names})
        if batch.attempt < ATTEMPTS:
            self.retry(Batch(batch.objects, batch.attempt + 1))
        elif len(names) > 1:
            middle = len(names) // 2
            self.retry(Batch(names[:middle], ATTEMPTS), Batch(names[middle:], ATTEMPTS))
        else:
            fact = {"type": "failed", "result": "failed", "kind": "WorkerLost", "exit": 6, "message": str(error)}
            self.ledger.add(fact | {"object": names[0], "run": self.run, "at": now(), "attempt": batch.attempt})

    def retry(self, *batches):
        for batch in batches:
            batch.not_before = time.monotonic() + min(2 ** (batch.attempt - 2), 16)
            self.again.append(batch)


def objects_of(options):
    """The objects of the job, each with whether S3 has listed it now."""
    if options.inventory:
        return ((entry, False) for entry in inventory(options.inventory, options.columns, options.suffix))
    return ((entry, True) for entry in listed(options.prefix, options.suffix))


# The report


def report(path):
    """What a ledger says, for people and for auditors. It needs nothing but the ledger."""
    facts = {"report": 1, "ledger": os.path.abspath(path), "sha256": sha256(path)}
    latest, runs, lost = {}, {}, 0
    budget, requests = None, 0
    for _, line in lines_of(path):
        kind = line["type"]
        if kind == "job":
            facts |= {"job": line["job"], "started": line["at"]}
        elif kind == "run":
            runs[line["run"]] = {name: line[name] for name in ("run", "at", "host", "pid", "source", "engine")}
            runs[line["run"]]["ended"] = None
        elif kind == "end":
            runs[line["run"]] |= {"ended": line["at"], "list": line["list"]}
            budget = line["budget"]
        elif kind == "lost":
            lost += 1
        elif kind in ("done", "failed", "again"):
            requests += len(line.get("request_ids", []))
            name = digest(line["object"], 16)
            if kind == "failed":
                latest[name] = line
            # That it has the new key later does not change that this job gave it that key.
            elif kind == "done" and not (line["result"] == "had-new-key" and isinstance(latest.get(name), str)):
                latest[name] = sys.intern(line["result"])
        facts["last"] = line.get("at", facts.get("last"))
    failed = [line for line in latest.values() if isinstance(line, dict)]
    counts = {"objects": len(latest), "failed": len(failed)}
    for result in latest.values():
        if isinstance(result, str):
            counts[result] = counts.get(result, 0) + 1
    ended = bool(runs) and list(runs.values())[-1]["ended"] is not None
    worst = min((SERIOUS.index(line["exit"]) for line in failed), default=None)
    return facts | {
        "complete": ended and not failed,
        "exit": 0 if worst is None else SERIOUS[worst],
        "counts": counts,
        "failures": causes(failed),
        "runs": list(runs.values()),
        "interrupted_runs": sum(run["ended"] is None for run in runs.values()),
        "lost_batches": lost,
        "kms": {"request_ids_in_ledger": requests, "budget_of_last_run": budget},
    }


def causes(failed):
    found = {}
    for line in failed:
        cause = found.setdefault((line["kind"], line["exit"]), {
            "kind": line["kind"], "exit": line["exit"], "count": 0, "message": line["message"], "examples": []})
        cause["count"] += 1
        if len(cause["examples"]) < EXAMPLES:
            cause["examples"].append(line["object"])
    return sorted(found.values(), key=lambda cause: SERIOUS.index(cause["exit"]))


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path, text):
    """The file is the old one or the new one, never a part."""
    draft = f"{path}.{os.getpid()}.tmp"
    with open(draft, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


# One machine


class Threads:
    """A cluster that is only this machine."""

    name = "threads"

    def __init__(self, batches, per_second):
        self.shared, self.per_second, self.batches = Budget(per_second), per_second, int(batches or 4)
        self.pool, self.finished = ThreadPoolExecutor(self.batches), queue.Queue()

    def begin(self, run):
        self.shared.open(run, self.per_second)

    def slots(self):
        return self.batches

    def submit(self, order):
        ticket = self.pool.submit(step, order, self.shared.reserve)
        ticket.add_done_callback(self.finished.put)
        return ticket

    def next(self, seconds):
        try:
            ticket = self.finished.get(timeout=seconds)
        except queue.Empty:
            return None, None
        error = ticket.exception()
        return ticket, Lost(type(error).__name__) if error else ticket.result()

    def budget(self):
        return self.shared.state()

    def close(self):
        self.pool.shutdown()


# The command line


def above_0(kind):
    def number(text):
        value = kind(text)
        if not 0 < value < float("inf"):
            raise ValueError
        return value

    # argparse says in its message that this is what the value is not.
    number.__name__ = "number above 0"
    return number


def parsed(arguments, engine_option, engine_help):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("rotate", "replace one KMS key by another"), ("verify", "authenticate all objects")):
        command = commands.add_parser(name, help=text)
        command.add_argument("prefix", nargs="?", help="s3://BUCKET/PREFIX/: all objects below it")
        command.add_argument("--inventory", help="an S3 Inventory instead: its manifest.json, or a CSV file (.gz)")
        command.add_argument("--columns", default="Bucket, Key, Size, ETag", help="of a CSV file without manifest.json")
        command.add_argument("--suffix", default="", help="only objects whose names end so")
        command.add_argument("--ledger", required=True, help="the file that remembers what is done")
        command.add_argument("--report", help="where the report goes at the end (stdout)")
        command.add_argument("--calls-per-second", type=float, required=True, help="to KMS, of all workers together")
        command.add_argument("--batch", type=int, default=100, help="objects for a worker at once (100)")
        command.add_argument(engine_option, help=engine_help, dest="engine")
        if name == "rotate":
            command.add_argument("--from", required=True, dest="old", help="ARN of the old key")
            command.add_argument("--to", required=True, dest="new", help="ARN of the new key")
        else:
            command.add_argument("--key", required=True, help="ARN of the key that must open all objects")
            command.add_argument("--quick", action="store_true", help="only the ends of the objects")
    reports = commands.add_parser("report", help="the report of a ledger again")
    reports.add_argument("ledger")
    plans = commands.add_parser("plan", help="requests, dollars and hours of a job")
    plans.add_argument("--objects", type=above_0(int), required=True)
    plans.add_argument("--bytes", type=above_0(int), required=True, help="of all objects together")
    plans.add_argument("--calls-per-second", type=above_0(float), required=True, help="to KMS")
    plans.add_argument("--machines", type=above_0(int), required=True)
    plans.add_argument("--gbits", type=above_0(float), default=10, help="of a machine's network (10)")
    plans.add_argument("--at-once", type=above_0(int), required=True, help="objects: 16 for each batch under way")
    options = parser.parse_args(arguments)
    if options.command in ("rotate", "verify"):
        check(options, parser)
    return options


def check(options, parser):
    if bool(options.prefix) == bool(options.inventory):
        parser.error("either a prefix or --inventory")
    if options.prefix and not options.prefix.startswith("s3://"):
        parser.error("the prefix is s3://BUCKET/PREFIX/")
    if options.batch < 1 or not 0 < options.calls_per_second < float("inf"):
        parser.error("--batch and --calls-per-second must be above 0")
    for key in [options.old, options.new] if options.command == "rotate" else [options.key]:
        # An alias can come to mean another key while the job runs, and each use of it costs a call.
        if not key.startswith("arn:") or ":key/" not in key:
            parser.error(f"{key}: give the ARN of the key, not an alias")


def job_of(options):
    if options.command == "rotate":
        return {"command": "rotate", "from": options.old, "to": options.new}
    return {"command": "verify", "keys": [options.key], "quick": options.quick}


def complain(error, exit_code):
    print(f"fleet: error: {type(error).__name__}: {error}", file=sys.stderr)
    return exit_code


def main(arguments, engine_option, engine_help, connect):
    """Runs the job. `connect(engine, calls_per_second)` gives the cluster."""
    options = parsed(arguments, engine_option, engine_help)
    try:
        if options.command == "plan":
            sys.stdout.write(table(plan(options.objects, options.bytes, options.calls_per_second, options.machines,
                                        options.gbits, options.at_once)))
            return 0
        if options.command != "report":
            run(options, connect)
        made = report(options.ledger)
    except Usage as error:
        return complain(error, error.exit_code)
    except OSError as error:
        return complain(error, 6 if isinstance(error, ConnectionError) else 7)
    except Exception as error:
        # boto3 is only in the driver.
        if not type(error).__module__.startswith("botocore."):
            raise
        return complain(error, 7 if hasattr(error, "response") else 6)
    text = json.dumps(made, indent=2) + "\n"
    if getattr(options, "report", None):
        write_whole(options.report, text)
    else:
        sys.stdout.write(text)
    # A job that was interrupted has not failed, but it is not done: start it again.
    return made["exit"] if made["exit"] or made["complete"] else 6


def run(options, connect):
    job = job_of(options)
    ledger = Ledger(options.ledger, job)
    cluster = connect(options.engine, options.calls_per_second)
    try:
        driver = Driver(options, job, cluster, ledger)
        cluster.begin(driver.run)
        driver.work()
    finally:
        cluster.close()
        ledger.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], "--batches", "so many batches at once on this machine (4)", Threads))
