"""What the tests of jobs over a fleet share: a bucket of sealed objects, and a run of one of the programs."""

import collections
import concurrent.futures
import gzip
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import urllib.parse

import pywaxseal as wax
from servers import ROOT

PROGRAMS = ROOT / "crates/waxseal-python/examples/fleet"


class Bucket:
    """A bucket with versions, and sealed objects in it."""

    made = 0

    def __init__(self, servers, count):
        Bucket.made += 1
        self.servers, self.name = servers, f"fleet-{os.getpid()}-{Bucket.made}"
        self.old, self.new = servers.new_key(), servers.new_key()
        servers.s3.create_bucket(Bucket=self.name)
        servers.s3.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": "Enabled"})
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            self.content = dict(threads.map(self.put, range(count)))

    def put(self, number):
        """Most objects are small. Some are so large that S3 copies a part of them."""
        key = f"db/{number % 7}/ä {number:05}.parquet"
        length = (6 << 20) + number if number % 150 == 77 else number * 37 % 20_000
        content = hashlib.shake_128(key.encode()).digest(length)
        sealer = wax.Sealer(keys=[self.old], context={"env": "test"})
        sealed = bytes(sealer.push(content)) + bytes(sealer.finish())
        self.servers.s3.put_object(Bucket=self.name, Key=key, Body=sealed)
        return f"s3://{self.name}/{key}", hashlib.sha256(content).hexdigest()

    @property
    def prefix(self):
        return f"s3://{self.name}/db/"

    def e_tags(self):
        pages = self.servers.s3.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return {row["Key"]: row["ETag"].strip('"') for page in pages for row in page["Contents"]}

    def versions(self):
        """How many versions each object has."""
        count = collections.Counter()
        for page in self.servers.s3.get_paginator("list_object_versions").paginate(Bucket=self.name):
            count.update(f"s3://{self.name}/{version['Key']}" for version in page.get("Versions", []))
        return count

    def check(self):
        """Every object has the new key only, opens with it, and has its content."""

        def one(name):
            slots = wax.inspect(name).slots
            assert [slot.key_id for slot in slots] == [self.new], (name, slots)
            with wax.open(name, "rb", keys=[self.new]) as file:
                assert hashlib.sha256(file.read()).hexdigest() == self.content[name], name

        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            collections.deque(threads.map(one, self.content), maxlen=0)


class Job:
    """A command line of one of the programs, and its files."""

    def __init__(self, servers, cluster, folder, *arguments, per_second=200, batch=8):
        self.servers, self.folder = servers, pathlib.Path(folder)
        self.ledger, self.report = self.folder / "ledger.jsonl", self.folder / "report.json"
        self.command = [
            sys.executable, PROGRAMS / cluster.program, *arguments, cluster.option, cluster.address,
            "--ledger", self.ledger, "--report", self.report, "--calls-per-second", per_second, "--batch", batch]
        self.command = list(map(str, self.command))
        self.errors = self.folder / "stderr"

    def start(self):
        with open(self.errors, "ab") as errors:
            return subprocess.Popen(self.command, env=self.servers.environment, stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL, stderr=errors)

    def run(self, status=0):
        process = self.start()
        assert process.wait(3_000) == status, self.errors.read_text()
        return json.loads(self.report.read_text())

    def lines(self, *kinds):
        """Complete lines of the ledger."""
        if not self.ledger.exists():
            return []
        lines = [json.loads(text) for text in self.ledger.read_bytes().split(b"\n")[:-1]]
        return [line for line in lines if not kinds or line["type"] in kinds]

    def done(self):
        return sum(b'"type": "done"' in text for text in self.ledger.read_bytes().split(b"\n")) if (
            self.ledger.exists()) else 0


def inventory_of(bucket, folder, names):
    """An S3 Inventory in CSV, with keys as S3 writes them, and an old version that is no work."""
    rows, tags = [], bucket.e_tags()
    for name in names:
        key = name.removeprefix(f"s3://{bucket.name}/")
        quoted, tag = urllib.parse.quote_plus(key), tags.get(key, "0123")
        rows.append(f'"{bucket.name}","{quoted}","v1","true","false","100","{tag}"')
    rows.append(f'"{bucket.name}","db/old","v0","false","false","100","0123abcd"')
    text = gzip.compress("\n".join(rows).encode())
    (folder / "part.csv.gz").write_bytes(text)
    manifest = {
        "sourceBucket": bucket.name, "destinationBucket": "arn:aws:s3:::inventories", "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, ETag",
        "files": [{"key": "a/b/data/part.csv.gz", "size": len(text), "MD5checksum": hashlib.md5(text).hexdigest()}]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder / "manifest.json"


def altered(bucket, name, change):
    key = name.removeprefix(f"s3://{bucket.name}/")
    body = bucket.servers.s3.get_object(Bucket=bucket.name, Key=key)["Body"].read()
    bucket.servers.s3.put_object(Bucket=bucket.name, Key=key, Body=change(body))
    return body
