"""The parts of jobs over a fleet that need no cluster: ledger, budget, lists, report, arithmetic."""

import hashlib
import json
import random

import fleet
import fleet_work
import pytest

JOB = {"command": "rotate", "from": "arn:a", "to": "arn:b"}


def done(name, before="1", e_tag="2", **more):
    return {"type": "done", "object": name, "before": before, "e_tag": e_tag, "result": "rewrapped"} | more


def test_a_ledger_survives_a_cut_at_every_byte(tmp_path):
    path = tmp_path / "ledger"
    ledger = fleet.Ledger(path, JOB)
    ledger.add({"type": "run", "run": "r", "at": "t"})
    ledger.add({"type": "begin", "run": "r", "objects": ["s3://b/ä", "s3://b/c"]})
    ledger.add(done("s3://b/ä"))
    ledger.add(done("s3://b/c"))
    ledger.close()
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        for tail in (b"", b"\0" * 7, b"{}\n"):
            path.write_bytes(whole[:cut] + tail)
            ledger = fleet.Ledger(path, JOB)
            kept = whole[:cut].rpartition(b"\n")[0].split(b"\n")
            complete = [json.loads(line) for line in kept if line]
            assert len(ledger.done) == sum(line["type"] == "done" for line in complete), cut
            ledger.add(done("s3://b/new"))
            ledger.close()
            assert [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]][-1] == done("s3://b/new")


def test_a_ledger_refuses_what_is_not_its_own(tmp_path):
    path = tmp_path / "ledger"
    ledger = fleet.Ledger(path, JOB)
    with pytest.raises(fleet.Refused, match="another driver"):
        fleet.Ledger(path, JOB)
    ledger.add(done("s3://b/c"))
    ledger.close()
    with pytest.raises(fleet.Refused, match="another job"):
        fleet.Ledger(path, JOB | {"to": "arn:c"})
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"{broken\n" + lines[1])
    with pytest.raises(fleet.Damaged, match="line 2"):
        fleet.Ledger(path, JOB)
    assert path.read_bytes() == lines[0] + b"{broken\n" + lines[1]


def test_a_ledger_knows_objects_by_their_e_tags(tmp_path):
    ledger = fleet.Ledger(tmp_path / "ledger", JOB)
    ledger.add(done("s3://b/c"))
    entries = {e_tag: fleet.Entry("s3://b/c", e_tag, 0) for e_tag in ("1", "2", "3", None)}
    has = {e_tag: (ledger.has(entry, True), ledger.has(entry, False)) for e_tag, entry in entries.items()}
    # If S3 lists the old ETag now, somebody has put the old object back.
    assert has == {"1": (False, True), "2": (True, True), "3": (False, False), None: (True, True)}
    assert not ledger.has(fleet.Entry("s3://b/d", "2", 0), False)


def test_the_budget_gives_no_more_than_its_rate():
    clock = [0.0]
    budget = fleet_work.Budget(100, lambda: clock[0])
    budget.open("r", 100)
    # It begins empty.
    assert budget.reserve("r", 10) == pytest.approx(0.1)
    assert budget.reserve("r", 10) == pytest.approx(0.2)
    # What was not used comes back.
    assert budget.reserve("r", 10, unused=10) == pytest.approx(0.2)
    # A long time without calls saves up a tenth of a second.
    clock[0] = 60.0
    assert budget.reserve("r", 10) == 0.0
    assert budget.reserve("r", 10) == pytest.approx(0.1)
    assert budget.reserve("an older driver's", 1) is None
    assert budget.state()["calls"] == 40
    chance, promised = random.Random(1), []
    for _ in range(2_000):
        clock[0] += chance.random() * 0.05
        calls = chance.randrange(1, 10)
        promised += [clock[0] + budget.reserve("r", calls)] * calls
    promised.sort()
    for start, when in enumerate(promised):
        within = sum(1 for other in promised[start : start + 200] if other < when + 1)
        assert within <= 100 * 1.1 + 10


def test_a_report_is_made_from_the_ledger_alone(tmp_path):
    path = tmp_path / "ledger"
    ledger = fleet.Ledger(path, JOB)
    run = {"type": "run", "run": "r", "at": "t", "host": "h", "pid": 1, "source": "s3://b/", "engine": "e"}
    broken = {"type": "failed", "object": "s3://b/2", "kind": "NoKeyError", "exit": 5, "message": "m"}
    ledger.add(run, done("s3://b/1", request_ids=["x"]), broken)
    report = fleet.report(path)
    assert report["interrupted_runs"] == 1 and not report["complete"] and report["exit"] == 5
    assert report["counts"] == {"objects": 2, "failed": 1, "rewrapped": 1}
    ledger.add(run | {"run": "q"}, done("s3://b/2", request_ids=["y"]))
    ledger.add({"type": "end", "run": "q", "at": "t", "list": {}, "budget": {}})
    report = fleet.report(path)
    assert report["complete"] and report["exit"] == 0 and report["failures"] == []
    assert report["kms"]["request_ids_in_ledger"] == 2 and report["interrupted_runs"] == 1
    assert report["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("wrong", [
    ["rotate", "s3://b/", "--from", "alias/a", "--to", "arn:aws:kms:r:1:key/b"],
    ["verify", "--key", "arn:aws:kms:r:1:key/b"],
    ["verify", "s3://b/", "--inventory", "x.csv", "--key", "arn:aws:kms:r:1:key/b"],
    ["verify", "folder", "--key", "arn:aws:kms:r:1:key/b"],
])
def test_a_wrong_command_line_is_refused_before_anything_is_done(wrong, tmp_path):
    more = ["--ledger", str(tmp_path / "ledger"), "--calls-per-second", "10"]
    with pytest.raises(SystemExit) as refused:
        fleet.parsed([*wrong, *more], "--address", "")
    assert refused.value.code == 2 and not list(tmp_path.iterdir())


def test_a_job_that_was_interrupted_is_no_success(tmp_path, capsys):
    path = tmp_path / "ledger"
    ledger = fleet.Ledger(path, JOB)
    run = {"type": "run", "run": "r", "at": "t", "host": "h", "pid": 1, "source": "s3://b/", "engine": "e"}
    ledger.add(run, done("s3://b/1"))
    assert fleet.main(["report", str(path)], "--address", "", None) == 6
    ledger.add({"type": "end", "run": "r", "at": "t", "list": {}, "budget": {}})
    assert fleet.main(["report", str(path)], "--address", "", None) == 0
    assert capsys.readouterr().out.count('"complete"') == 2


@pytest.mark.parametrize("name", ["--objects", "--bytes", "--calls-per-second", "--machines", "--gbits", "--at-once"])
@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_a_plan_of_nothing_is_refused(name, value, capsys):
    good = {"--objects": "1", "--bytes": "1", "--calls-per-second": "1", "--machines": "1", "--gbits": "1", "--at-once": "1"}
    with pytest.raises(SystemExit) as refused:
        fleet.main(["plan", *(word for pair in (good | {name: value}).items() for word in pair)], "--address", "", None)
    assert refused.value.code == 2 and "number above 0" in capsys.readouterr().err


def test_an_inventory_in_csv_is_read_as_s3_writes_it(tmp_path):
    rows = [
        '"b","db/a%20%C3%A4+b%2Bc","v1","true","false","7","e1"', '"b","db/folder/","v","true","false","0","e2"',
        '"b","db/old","v0","false","false","7","e3"', '"b","db/gone","v","true","true","",""']
    (tmp_path / "part.csv").write_text("\n".join(rows))
    columns = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, ETag"
    found = list(fleet.inventory(str(tmp_path / "part.csv"), columns))
    assert found == [fleet.Entry("s3://b/db/a ä b+c", "e1", 7)]
    assert list(fleet.inventory(str(tmp_path / "part.csv"), columns, ".wax")) == []
    manifest = {"fileFormat": "CSV", "fileSchema": columns, "files": [{"key": "x/part.csv", "MD5checksum": "0"}]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(fleet.Damaged):
        list(fleet.inventory(str(tmp_path / "manifest.json"), columns))
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"fileFormat": "Parquet"}))
    with pytest.raises(fleet.Usage):
        list(fleet.inventory(str(tmp_path / "manifest.json"), columns))


class Scripted:
    """A cluster that answers each batch by a function."""

    name = "scripted"

    def __init__(self, answer):
        self.answer, self.orders = answer, []

    def slots(self):
        return 1

    def submit(self, order):
        self.orders.append(order)
        return len(self.orders)

    def next(self, seconds):
        pending = [number for number in range(1, len(self.orders) + 1) if number not in self.given]
        if not pending:
            return None, None
        self.given.add(pending[0])
        return pending[0], self.answer(self.orders[pending[0] - 1])

    def budget(self):
        return {}


def driven(monkeypatch, path, names, answer, command="rotate"):
    monkeypatch.setattr(fleet, "objects_of", lambda options: ((fleet.Entry(name, None, 1), True) for name in names))
    monkeypatch.setattr(fleet.time, "monotonic", iter(range(10**9)).__next__)
    arguments = [command, "s3://b/", "--from", "arn:aws:kms:r:1:key/a", "--to", "arn:aws:kms:r:1:key/b",
                 "--ledger", str(path), "--calls-per-second", "1000", "--batch", "4"]
    options = fleet.parsed(arguments, "--engine", "")
    ledger, cluster = fleet.Ledger(path, fleet.job_of(options)), Scripted(answer)
    cluster.given = set()
    fleet.Driver(options, fleet.job_of(options), cluster, ledger).work()
    ledger.close()
    return cluster


def test_an_object_that_kills_its_worker_is_the_only_one_that_fails(monkeypatch, tmp_path):
    names = [f"s3://b/{number}" for number in range(10)]

    def answer(order):
        held = order["objects"]
        if "s3://b/6" in held:
            return fleet.Lost("WorkerCrashedError")
        return [done(name, request_ids=[]) for name in held]

    driven(monkeypatch, tmp_path / "ledger", names, answer)
    report = fleet.report(tmp_path / "ledger")
    assert report["counts"] == {"objects": 10, "failed": 1, "rewrapped": 9} and report["exit"] == 6
    assert report["failures"][0]["kind"] == "WorkerLost" and report["failures"][0]["examples"] == ["s3://b/6"]


def test_what_an_earlier_worker_did_without_a_line_is_told_apart(monkeypatch, tmp_path):
    """A driver died after its workers had changed one of two objects. Somebody else had changed a third one."""
    names = ["s3://b/0", "s3://b/1", "s3://b/2"]
    path = tmp_path / "ledger"
    job = {"command": "rotate", "from": "arn:aws:kms:r:1:key/a", "to": "arn:aws:kms:r:1:key/b"}
    ledger = fleet.Ledger(path, job)
    ledger.add({"type": "begin", "run": "dead", "objects": names[:2]})
    ledger.close()

    def answer(order):
        results = {"s3://b/0": "had-new-key", "s3://b/1": "rewrapped", "s3://b/2": "had-new-key"}
        return [done(name, request_ids=[]) | {"result": results[name]} for name in order["objects"]]

    driven(monkeypatch, path, names, answer)
    results = {line["object"]: line["result"] for _, line in fleet.lines_of(path) if line["type"] == "done"}
    assert results == {"s3://b/0": "rewrapped-unrecorded", "s3://b/1": "rewrapped", "s3://b/2": "had-new-key"}


def test_a_failure_that_may_pass_is_tried_again_and_then_recorded(monkeypatch, tmp_path):
    tries = []

    def answer(order):
        tries.append(order)
        fact = {"type": "failed", "result": "failed", "kind": "UnavailableError", "exit": 6, "message": "m",
                "request_ids": ["r"]}
        return [fact | {"object": name} for name in order["objects"]]

    driven(monkeypatch, tmp_path / "ledger", ["s3://b/0"], answer)
    kinds = [line["type"] for _, line in fleet.lines_of(tmp_path / "ledger")]
    assert len(tries) == fleet.ATTEMPTS and kinds.count("again") == fleet.ATTEMPTS - 1 and kinds.count("failed") == 1
    report = fleet.report(tmp_path / "ledger")
    assert report["exit"] == 6 and report["kms"]["request_ids_in_ledger"] == fleet.ATTEMPTS
