"""Every command, program and example in docs/clusters.md."""

import json
import re
import subprocess
import sys

import pytest
from fleet_kit import PROGRAMS, Bucket, inventory_of
from servers import DOCUMENT, blocks

import fleet
import fleet_work

MANIFEST = "s3://inventories/backups/daily/2026-11-28T01-00Z/manifest.json"


def commands():
    """The command lines that run a program, and the ones that start a cluster."""
    lines = [line for block in blocks("sh") for line in block.replace("\\\n", "").splitlines()]
    started = [line for line in lines if line.startswith("python ")]
    others = [line for line in lines if line not in started]
    return started, others


def run(line, folder, environment, **replaced):
    for old, new in replaced.items():
        line = line.replace({"prefix": "s3://backups/db/", "scheduler": "tcp://head:8786"}.get(old, old), new)
    line = re.sub(r"python (fleet\w*\.py)", rf"{sys.executable} {PROGRAMS}/\1", line)
    made = subprocess.run(["bash", "-c", line], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=600)
    assert made.returncode == 0, (line, made.stdout, made.stderr)
    return made.stdout


def put_inventory(servers, bucket, folder):
    manifest = json.loads(inventory_of(bucket, folder, bucket.content).read_text())
    with_bucket = manifest | {"destinationBucket": "arn:aws:s3:::inventories"}
    try:
        servers.s3.create_bucket(Bucket="inventories")
    except servers.s3.exceptions.BucketAlreadyOwnedByYou:
        pass
    bucket_name, _, key = MANIFEST.removeprefix("s3://").partition("/")
    servers.s3.put_object(Bucket=bucket_name, Key=key, Body=json.dumps(with_bucket).encode())
    servers.s3.put_object(Bucket=bucket_name, Key=manifest["files"][0]["key"],
                          Body=(folder / "part.csv.gz").read_bytes())


def test_the_documented_commands_do_what_the_document_says(servers, cluster, tmp_path):
    bucket = Bucket(servers, 40)
    put_inventory(servers, bucket, tmp_path)
    environment = servers.environment | {"OLD_KEY": bucket.old, "NEW_KEY": bucket.new, "RAY_ADDRESS": cluster.address}
    places = {"prefix": bucket.prefix, "scheduler": cluster.address}
    started, _ = commands()
    own = [line for line in started if cluster.program in line]
    assert len(own) == {"ray": 4, "dask": 1}[cluster.kind]
    for line in own:
        run(line, tmp_path, environment, **places)
    bucket.check()
    report = json.loads(run("python fleet.py report rotate.jsonl", tmp_path, environment))
    assert report["counts"] == {"objects": 40, "failed": 0, "rewrapped": 40} and report["complete"]
    if cluster.kind == "ray":
        for name, result in (("verify", "verified"), ("quick", "checked-end"), ("inventory", "had-new-key")):
            counts = json.loads((tmp_path / f"{name}.json").read_text())["counts"]
            assert counts == {"objects": 40, "failed": 0, result: 40}

    # The examples have the form of what was made.
    example = next(json.loads(block) for block in blocks("text") if block.startswith("{"))
    assert form(example) == form(report)
    line = next(line for _, line in fleet.lines_of(tmp_path / "rotate.jsonl") if line["type"] == "done")
    example = next(json.loads(block) for block in blocks("json") if '"type": "done"' in block)
    assert form(example) == form(line)


def form(value):
    """The names and kinds of values. `null` and text are one kind, and numbers are one."""
    if isinstance(value, dict):
        return {name: form(member) for name, member in value.items()}
    if isinstance(value, list):
        return [form(value[0])] if value else []
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else (
        "text" if value is None else type(value).__name__)


def test_the_command_for_one_machine_rotates_one_file_of_an_inventory(servers, tmp_path):
    bucket = Bucket(servers, 20)
    keys = [name.split("/", 3)[3].replace(" ", "+") for name in bucket.content]
    rows = "".join(f'"{bucket.name}","{key}","5","0123"\n' for key in keys)
    (tmp_path / "second.csv").write_text(rows)
    (tmp_path / "files").write_text(f"{tmp_path}/first.csv\n{tmp_path}/second.csv\n")
    environment = servers.environment | {"OLD_KEY": bucket.old, "NEW_KEY": bucket.new, "SHARE": "500",
                                         "FILES": str(tmp_path / "files"), "AWS_BATCH_JOB_ARRAY_INDEX": "1"}
    block = next(block for block in blocks("sh") if "AWS_BATCH" in block)
    run(block, tmp_path, environment)
    assert json.loads((tmp_path / "report.json").read_text())["counts"]["rewrapped"] == 20
    bucket.check()


def test_the_function_for_step_functions_rotates_its_batch(servers):
    bucket = Bucket(servers, 10)
    machine = next(json.loads(block) for block in blocks("json") if "StartAt" in block)
    batcher = machine["States"]["Rotate"]["ItemBatcher"]
    order = batcher["BatchInput"]["order"] | {"from": bucket.old, "to": bucket.new}
    items = [{"Bucket": bucket.name, "Key": name.split("/", 3)[3].replace(" ", "+"), "ETag": "0123"}
             for name in bucket.content]
    made = {"fleet_work": fleet_work}
    exec(blocks("python")[0], made)
    # All functions together have the budget of the text.
    assert made["budget"].per_second * machine["States"]["Rotate"]["MaxConcurrency"] == 5000
    outcomes = made["handler"]({"BatchInput": {"job": "j", "order": order}, "Items": items}, None)
    assert [outcome["result"] for outcome in outcomes] == ["rewrapped"] * 10
    bucket.check()


def test_the_arithmetic_is_what_the_program_calculates(tmp_path):
    started, _ = commands()
    line = next(line for line in started if " plan " in line)
    shown = next(block for block in blocks("text") if "calls to KMS" in block)
    assert run(line, tmp_path, None) == shown


def test_all_examples_in_json_are_json_and_all_commands_are_known():
    for block in blocks("json"):
        json.loads(block)
    started, others = commands()
    assert len(started) == 8, "each is run by a test above"
    known = ("ray start ", "dask scheduler ", "dask worker ", "file=$(sed ", "    ")
    assert all(line.startswith(known) for line in others), others
    assert "fleet.py report" in DOCUMENT
