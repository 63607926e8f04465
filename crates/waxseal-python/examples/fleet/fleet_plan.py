"""Requests, dollars and hours of a job over many objects, by docs/clusters.md's assumptions."""

# What docs/clusters.md assumes. US dollars, the region us-east-1, and S3 Standard.
USD = {"call": 0.03 / 10_000, "read": 0.0004 / 1_000, "write": 0.005 / 1_000, "machine_hour": 0.40}
REQUEST_SECONDS, COPY_PER_SECOND = 0.04, 150e6
# One prefix of a bucket. A bucket that is used for long has more of them.
READS_PER_SECOND, WRITES_PER_SECOND = 5_500, 3_500
FRONT, FIRST_PART, COPY, RANGE = 128 << 10, 5 << 20, 5 << 30, 8 << 20


def plan(objects, size, calls_per_second, machines, gbits, at_once):
    """Requests, dollars and hours for `objects` objects of together `size` bytes."""
    mean = size / objects
    rest = max(0.0, mean - FIRST_PART)
    copies = -(-int(rest) // COPY)
    jobs = {
        # The front, its attributes and its tags, and the rest of the first part. Then one put; or create, part, copies,
        # complete. Bytes go in both directions at the same time.
        "rotate": {"calls": 2, "reads": 3 + (mean > FRONT), "writes": 3 + copies if copies else 1,
                   "moved": min(mean, FIRST_PART), "seconds": rest / COPY_PER_SECOND},
        "verify": {"calls": 1, "reads": 1 + -(-max(0, int(mean) - FRONT) // RANGE), "writes": 0, "moved": mean,
                   "seconds": 0},
        "verify --quick": {"calls": 1, "reads": 3, "writes": 0, "moved": min(mean, FRONT), "seconds": 0},
    }
    for job in jobs.values():
        # Ranges are read, and parts copied, at the same time.
        in_turn = job["calls"] + min(job["reads"], 4) + min(job["writes"], 4)
        seconds = in_turn * REQUEST_SECONDS + job.pop("seconds")
        for what in ("calls", "reads", "writes", "moved"):
            job[what] = round(job[what] * objects)
        job["hours by KMS"] = job["calls"] / calls_per_second / 3_600
        job["hours by S3"] = max(job["reads"] / READS_PER_SECOND, job["writes"] / WRITES_PER_SECOND) / 3_600
        job["hours by waiting"] = objects * seconds / at_once / 3_600
        job["hours by network"] = job["moved"] * 8 / (gbits * 1e9) / machines / 3_600
        hours = max(value for name, value in job.items() if name.startswith("hours"))
        job["USD for KMS"] = job["calls"] * USD["call"]
        job["USD for S3"] = job["reads"] * USD["read"] + job["writes"] * USD["write"]
        job["USD for machines"] = hours * machines * USD["machine_hour"]
    return jobs


def table(jobs):
    rows = [["", *jobs]]
    for what in next(iter(jobs.values())):
        form = "{:,.2f}" if what.startswith("hours") else "{:,.0f}"
        rows.append([{"moved": "bytes", "calls": "calls to KMS"}.get(what, what),
                     *(form.format(job[what]) for job in jobs.values())])
    return "".join("{:<18}{:>26}{:>26}{:>18}".format(*row).rstrip() + "\n" for row in rows)
