"""Jobs over a fleet (examples/fleet): real clusters of Ray and Dask, a real object store, and a KMS that counts.

FLEET_OBJECTS and FLEET_KILLS make the run larger: `.ci/full` rotates 10,000 objects, and kills the driver 20 times.
"""

import collections
import contextlib
import json
import os
import random
import signal
import subprocess
import time

import pytest
import pywaxseal as wax
from fleet_kit import Bucket, Job, altered, inventory_of

OBJECTS = int(os.environ.get("FLEET_OBJECTS", "300"))
KILLS = int(os.environ.get("FLEET_KILLS", "0")) or None
SEED = int(os.environ.get("FLEET_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
# Starting a driver takes Ray several seconds.
KILLS_OF = {"ray": 5, "dask": 20}


def rotation(servers, cluster, bucket, folder, **more):
    arguments = ["rotate", bucket.prefix, "--from", bucket.old, "--to", bucket.new]
    return Job(servers, cluster, folder, *arguments, **more)


def re_encrypted(servers, bucket):
    """The successful calls of ReEncrypt to this bucket's new key, by data key."""
    calls = (call for call in servers.calls() if call["Operation"] == "ReEncrypt" and call["Status"] == 200)
    ours = (call["Body"] for call in calls if call["Body"]["DestinationKeyId"] == bucket.new)
    return collections.Counter(body["SourceEncryptionContext"]["waxseal:data-key-id"] for body in ours)


def kill_at_random(job, chance, per_kill):
    """Starts the driver and kills it: during its start, or some work later. Returns whether it was killed."""
    before, process = job.done(), job.start()
    try:
        if chance.random() < 0.2:
            seconds = chance.uniform(0, 3)
        else:
            seconds, wanted = chance.uniform(0, 0.2), before + chance.randrange(0, max(2 * per_kill, 1))
            while process.poll() is None and job.done() <= wanted:
                time.sleep(0.01)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        return process.poll() is None
    finally:
        process.kill()
        process.wait()


def check_rotation(servers, bucket, job, report):
    """Nothing is lost, and nothing is done twice."""
    bucket.check()
    assert report["complete"] and report["exit"] == 0, report
    assert set(bucket.versions().values()) == {2}, "each object was replaced once"
    assert report["counts"]["objects"] == len(bucket.content) == sum(
        report["counts"].get(result, 0) for result in ("rewrapped", "rewrapped-unrecorded")), report["counts"]
    done = collections.Counter(line["object"] for line in job.lines("done"))
    assert done == dict.fromkeys(bucket.content, 1), "each object has one line"
    # KMS was asked once for each object. If a worker or its driver died between that call and the new object, the
    # answer was lost, and KMS was asked again: so the object was given to workers twice.
    given = collections.Counter(name for line in job.lines("begin") for name in line["objects"])
    counted, ids = re_encrypted(servers, bucket), {}
    for name in bucket.content:
        ids[wax.inspect(name).data_key_id] = name
    assert set(counted) == set(ids)
    twice = {ids[data_key]: count for data_key, count in counted.items() if count > 1}
    assert all(count <= given[name] for name, count in twice.items()), twice
    recorded = {request for line in job.lines("done") for request in line["request_ids"]}
    print(f"{len(ids)} objects, {counted.total()} ReEncrypt, {len(twice)} repeated, {len(recorded)} request ids,"
          f" {report['counts']}, {report['interrupted_runs']} interrupted runs, {report['lost_batches']} lost batches")


def test_a_driver_that_is_killed_loses_nothing_and_repeats_nothing(servers, cluster, tmp_path):
    bucket = Bucket(servers, OBJECTS)
    kills = KILLS or KILLS_OF[cluster.kind]
    # The budget makes the job so long that it is killed at work.
    job = rotation(servers, cluster, bucket, tmp_path, per_second=OBJECTS / 8, batch=max(4, OBJECTS // 100))
    chance = random.Random(SEED)
    print(f"FLEET_SEED={SEED}")
    killed = 0
    for left in range(kills, 0, -1):
        killed += kill_at_random(job, chance, (OBJECTS - job.done()) // (left + 1))
    assert killed >= kills // 2, "the job was too short"
    report = job.run()
    check_rotation(servers, bucket, job, report)
    assert report["interrupted_runs"] <= killed

    # The ledger knows all objects by their ETags: no call to KMS, and no new line about an object.
    calls, lines = len(servers.calls()), len(job.lines("done"))
    report = job.run()
    assert report["runs"][-1]["list"]["done_before"] == OBJECTS
    assert (len(servers.calls()), len(job.lines("done"))) == (calls, lines)

    # Without the ledger, the objects themselves show that they are done.
    job.ledger.rename(tmp_path / "lost.jsonl")
    report = job.run()
    assert report["counts"] == {"objects": OBJECTS, "failed": 0, "had-new-key": OBJECTS}
    assert len(servers.calls()) == calls and set(bucket.versions().values()) == {2}


def test_workers_that_die_lose_nothing(servers, cluster, tmp_path):
    bucket = Bucket(servers, 120)
    job = rotation(servers, cluster, bucket, tmp_path, per_second=60, batch=8)
    process, chance, killed = job.start(), random.Random(SEED), 0
    for _ in range(4):
        wanted = job.done() + 8
        while process.poll() is None and job.done() < wanted:
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 0.3))
        if process.poll() is None and (workers := cluster.workers()):
            os.kill(chance.choice(workers), signal.SIGKILL)
            killed += 1
    assert process.wait(600) == 0, job.errors.read_text()
    assert killed >= 2, "the job was too short"
    check_rotation(servers, bucket, job, json.loads(job.report.read_text()))


def test_all_workers_share_one_budget(servers, cluster, tmp_path):
    bucket, rate = Bucket(servers, 160), 80
    job = rotation(servers, cluster, bucket, tmp_path, per_second=rate, batch=10)
    report = job.run()
    at = sorted(call["At"] for call in servers.calls() if call["Operation"] in ("ReEncrypt", "Decrypt")
                and bucket.new in (call["Body"].get("DestinationKeyId"), call["Body"].get("KeyId")))
    assert len(at) == 2 * 160
    budget = report["kms"]["budget_of_last_run"]
    assert budget["calls"] == len(at) and budget["per_second"] == rate
    # A call that comes before the budget allows it would be above this line.
    for made, when in enumerate(at, 1):
        assert made <= rate * (when - budget["first"] + 0.1) + 1, (made, when - budget["first"])
    most = max(sum(start <= other < start + 1 for other in at) for start in at)
    workers = {line["worker"] for line in job.lines("done")}
    assert len(workers) > 1
    seconds = at[-1] - at[0]
    print(f"{len(at)} calls by {len(workers)} processes in {seconds:.1f} s, of {rate}/s, at most {most} in a second")


def test_each_failure_is_reported_with_its_cause_and_does_not_stop_the_rest(servers, cluster, tmp_path):
    bucket = Bucket(servers, 30)
    names = list(bucket.content)
    plain, missing = names[3], f"{bucket.prefix}missing.parquet"
    sealed = altered(bucket, plain, lambda _: b"not sealed\n" * 100)
    rotate = ["rotate", "--inventory", inventory_of(bucket, tmp_path, [*names, missing]), "--from", bucket.old,
              "--to", bucket.new]
    (tmp_path / "rotate").mkdir()
    job = Job(servers, cluster, tmp_path / "rotate", *rotate)
    servers.fake("Fail", Operation="ReEncrypt", Code="DisabledException", Times=1)
    servers.fake("Fail", Operation="ReEncrypt", Code="ThrottlingException", Times=2)
    report = job.run(3)
    found = {(cause["kind"], cause["exit"]): (cause["count"], cause["examples"]) for cause in report["failures"]}
    disabled = found[("NoKeyError", 5)][1][0]
    assert found == {("FormatError", 3): (1, [plain]), ("NoKeyError", 5): (1, [disabled]),
                     ("NotFoundError", 10): (1, [missing])}, report
    assert report["counts"] == {"objects": 31, "failed": 3, "rewrapped": 28} and not report["complete"]

    # The next run does only what is left.
    altered(bucket, plain, lambda _: sealed)
    altered(bucket, names[0], lambda body: body)
    servers.s3.put_object(Bucket=bucket.name, Key="db/missing.parquet", Body=sealed)
    bucket.content[missing] = bucket.content[plain]
    job.run()
    assert {line["object"] for line in job.lines("done")[28:]} == {plain, missing, disabled}
    bucket.check()

    # An altered object and a cut one; and one that another key opens.
    (tmp_path / "verify").mkdir()
    altered(bucket, names[5], lambda body: body[:-20] + bytes(20))
    altered(bucket, names[7], lambda body: body[:-1])
    job = Job(servers, cluster, tmp_path / "verify", "verify", bucket.prefix, "--key", bucket.new)
    report = job.run(4)
    assert [(cause["exit"], sorted(cause["examples"])) for cause in report["failures"]] == [
        (4, sorted([names[5], names[7]]))]
    assert report["counts"] == {"objects": 31, "failed": 2, "verified": 29}
    (tmp_path / "old").mkdir()
    report = Job(servers, cluster, tmp_path / "old", "verify", "--quick", bucket.prefix, "--key", bucket.old).run(5)
    assert [(cause["exit"], cause["count"]) for cause in report["failures"]] == [(5, 31)]
