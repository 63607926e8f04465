"""What travels to the workers of a fleet: the budget of calls to KMS, and the work on a batch of objects.

It imports nothing of its neighbours, so that an engine can send it to machines that only have pywaxseal.
"""

import datetime
import itertools
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

# A worker works on so many objects at once. If it dies, so many objects at most are half done.
PART = 16
# The calls to KMS for each object: ReEncrypt and the test of the new slot, or Decrypt.
CALLS = {"rotate": 2, "verify": 1}


class Superseded(Exception):
    """A newer driver has started. This worker's driver is gone."""


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# The budget


class Budget:
    """One budget of calls for all workers. It lives in one process, and all workers ask it.

    It promises calls ahead of time: who asks gets the number of seconds to wait. So nobody waits in line inside it, and
    what a dead worker was promised is lost, never doubled. It begins empty: a driver that is started again and again
    gets nothing for it.
    """

    def __init__(self, per_second, clock=time.monotonic):
        self.per_second, self.clock = per_second, clock
        self.free_at = clock()
        self.granted, self.run, self.first = 0, None, None
        self.lock = threading.Lock()

    def open(self, run, per_second):
        """A new driver. Workers of earlier ones get nothing more."""
        with self.lock:
            self.run, self.per_second, self.granted, self.first = run, per_second, 0, None

    def reserve(self, run, calls, unused=0):
        """The seconds to wait before `calls` calls. `unused` calls of an earlier promise were not made. None: stop."""
        with self.lock:
            if run != self.run:
                return None
            at = self.clock()
            self.granted += calls - unused
            self.first = self.first or time.time()
            # What nobody used is kept for a tenth of a second.
            self.free_at = max(self.free_at - unused / self.per_second, at - 0.1) + calls / self.per_second
            return max(0.0, self.free_at - at)

    def state(self):
        return {"per_second": self.per_second, "calls": self.granted, "first": self.first}


# The work of one worker


def step(order, reserve):
    """Works on the objects of `order`, and returns what became of each. `reserve` asks the budget."""
    import pywaxseal as wax

    def one(name):
        begun, fact = time.monotonic(), {"object": name, "at": now()}
        try:
            fact |= work(wax, order, name)
        except wax.Error as error:
            fact |= failure(error)
        return fact | {"seconds": round(time.monotonic() - begun, 3), "worker": where}

    work = rotated if order["command"] == "rotate" else verified
    calls = CALLS[order["command"]]
    where = f"{socket.gethostname()}:{os.getpid()}"
    outcomes, unused = [], 0
    with ThreadPoolExecutor(order["part"]) as threads:
        for part in chunks(order["objects"], order["part"]):
            wait = reserve(run=order["run"], calls=len(part) * calls, unused=unused)
            if wait is None:
                raise Superseded
            time.sleep(wait)
            made = list(threads.map(one, part))
            unused = calls * sum(outcome["result"] == "had-new-key" for outcome in made)
            outcomes += made
    if unused:
        reserve(run=order["run"], calls=0, unused=unused)
    return outcomes


def rotated(wax, order, name):
    [result] = wax.rewrap([name], from_=order["from"], to=order["to"])
    if result.error is not None:
        raise result.error
    return {
        "type": "done",
        "result": "rewrapped" if result.changed else "had-new-key",
        "before": bare(result.old_e_tag),
        "e_tag": bare(result.e_tag),
        "old_version": result.old_version_id,
        "version": result.version_id,
        "data_key": result.data_key_id,
        "old_keys": list(result.old_keys),
        "new_keys": list(result.new_keys),
        "request_ids": list(result.request_ids),
    }


def verified(wax, order, name):
    result = wax.verify(name, keys=order["keys"], quick=order["quick"])
    return {
        "type": "done",
        "result": "checked-end" if order["quick"] else "verified",
        "before": bare(result.e_tag),
        "e_tag": bare(result.e_tag),
        "version": result.version_id,
        "data_key": result.header.data_key_id,
        "bytes": result.plaintext_size,
        "request_ids": [],
    }


def failure(error):
    # Some kinds have a hidden one for Python's own exceptions.
    kind = next(kind.__name__ for kind in type(error).__mro__ if not kind.__name__.startswith("_"))
    fact = {"type": "failed", "result": "failed", "kind": kind, "exit": error.exit_code}
    fact |= {"message": str(error), "hint": error.hint}
    return fact | {"request_ids": [error.request_id] if error.request_id else []}


def bare(e_tag):
    """An ETag without quotes: S3 has them in answers, but not in its inventories."""
    return e_tag.strip('"') if e_tag else None


def chunks(items, size):
    items = iter(items)
    while chunk := list(itertools.islice(items, size)):
        yield chunk
