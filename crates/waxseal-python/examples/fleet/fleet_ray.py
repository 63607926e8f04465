"""Rotates or verifies many sealed objects in S3 with Ray: `fleet_ray.py rotate --help`."""

import sys
import time

import fleet
import fleet_work
import ray

# Workers need not have these files: the functions travel with the work.
ray.cloudpickle.register_pickle_by_value(fleet_work)


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class SharedBudget:
    """The budget in a process of its own. If that process dies, Ray starts it again, with an empty budget."""

    def __init__(self, run, per_second):
        self.budget = fleet_work.Budget(per_second)
        self.budget.open(run, per_second)

    def reserve(self, run, calls, unused=0):
        return self.budget.reserve(run, calls, unused)

    def state(self):
        return self.budget.state()


# The driver counts attempts and writes each of them down, so Ray makes none of its own.
@ray.remote(max_retries=0)
def work(order, budget):
    return fleet_work.step(order, lambda **asked: ray.get(budget.reserve.remote(**asked)))


class Cluster:
    name = f"ray {ray.__version__}"

    def __init__(self, address, per_second):
        ray.init(address=address or "auto", log_to_driver=False, logging_level="warning")
        self.per_second, self.shared, self.tickets = per_second, None, []

    def begin(self, run):
        self.shared = SharedBudget.remote(run, self.per_second)

    def slots(self):
        return int(ray.cluster_resources().get("CPU", 0))

    def submit(self, order):
        ticket = work.remote(order, self.shared)
        self.tickets.append(ticket)
        return ticket

    def next(self, seconds):
        if not self.tickets:
            time.sleep(seconds)
            return None, None
        ready, self.tickets = ray.wait(self.tickets, timeout=seconds)
        if not ready:
            return None, None
        try:
            return ready[0], ray.get(ready[0])
        except ray.exceptions.RayError as error:
            # The text of such an error can be long, and has a stack in it.
            cause = getattr(error, "cause", None) or error
            return ready[0], fleet.Lost(type(cause).__name__)

    def budget(self):
        return ray.get(self.shared.state.remote())

    def close(self):
        ray.shutdown()


if __name__ == "__main__":
    sys.exit(fleet.main(sys.argv[1:], "--address", "HOST:PORT of the cluster (the one on this machine)", Cluster))
