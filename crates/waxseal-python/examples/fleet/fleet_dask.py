"""Rotates or verifies many sealed objects in S3 with Dask: `fleet_dask.py rotate --help`."""

import queue
import sys

import cloudpickle
import distributed
import fleet
import fleet_work
from distributed.diagnostics.plugin import SchedulerPlugin

# Workers and the scheduler need not have these files: the functions travel with the work.
cloudpickle.register_pickle_by_value(fleet_work)


class SharedBudget(SchedulerPlugin):
    """The budget in the scheduler, to which every worker has a connection. A dead worker takes nothing with it, and the
    next driver finds the same budget.
    """

    name = "waxseal-budget"
    idempotent = True

    def __init__(self, per_second):
        self.per_second = per_second

    async def start(self, scheduler):
        # If a worker dies, the driver must know it, write it down, and give the batch to another worker itself.
        scheduler.allowed_failures = 0
        budget = fleet_work.Budget(self.per_second)
        scheduler.handlers["waxseal_open"] = budget.open
        scheduler.handlers["waxseal_reserve"] = budget.reserve
        scheduler.handlers["waxseal_state"] = budget.state


def work(order):
    worker = distributed.get_worker()

    def reserve(**asked):
        return distributed.utils.sync(worker.loop, worker.scheduler.waxseal_reserve, **asked)

    return fleet_work.step(order, reserve)


class Cluster:
    name = f"dask {distributed.__version__}"

    def __init__(self, address, per_second):
        self.client = distributed.Client(address)
        self.client.register_plugin(SharedBudget(per_second))
        self.per_second, self.finished = per_second, queue.Queue()

    def ask(self, what, **arguments):
        return self.client.sync(getattr(self.client.scheduler, what), **arguments)

    def begin(self, run):
        self.ask("waxseal_open", run=run, per_second=self.per_second)

    def slots(self):
        return sum(self.client.nthreads().values())

    def submit(self, order):
        # The driver counts attempts and writes each of them down, so Dask makes none of its own.
        ticket = self.client.submit(work, order, pure=False, retries=0)
        ticket.add_done_callback(self.finished.put)
        return ticket

    def next(self, seconds):
        try:
            ticket = self.finished.get(timeout=seconds)
        except queue.Empty:
            return None, None
        if ticket.status == "finished":
            return ticket, ticket.result()
        error = ticket.exception() if ticket.status == "error" else None
        return ticket, fleet.Lost(type(error).__name__ if error else ticket.status)

    def budget(self):
        return self.ask("waxseal_state")

    def close(self):
        self.client.close()


if __name__ == "__main__":
    sys.exit(fleet.main(sys.argv[1:], "--scheduler", "address of the scheduler, tcp://HOST:PORT", Cluster))
