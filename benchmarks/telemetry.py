"""What looking costs: counting a request that is over, a scrape of many workers, a watcher."""

import asyncio
from statistics import median
from time import process_time
from timeit import repeat

from prometheus_client import generate_latest

from app.admin.families import one
from app.admin.metrics import families
from app.admin.stream import Feed
from app.telemetry.requests import RequestStats
from tests.unit.admin.views import Balancer, View
from tests.unit.telemetry.requests_made import Ended

ROUNDS = 7
REQUESTS = 100_000
SIZES = (5, 500)


async def scrape(view: View) -> tuple[float, float, int]:
    """Return the milliseconds of CPU of a scrape, those of its longest part, and its bytes."""
    parts, length, began = [], 0, process_time()
    for family in families(Balancer(view)):
        length += len(generate_latest(one(family)))
        parts.append(process_time() - began)
        began = process_time()
    return sum(parts) * 1e3, max(parts) * 1e3, length


def main() -> None:
    stats, request = RequestStats(), Ended()
    space = {"ended": stats.ended, "request": request}
    times = repeat("ended(request)", globals=space, number=REQUESTS, repeat=ROUNDS)
    print(f"count a request that is over: {median(times) / REQUESTS * 1e6:.2f} µs")
    for size in SIZES:
        view = View(workers=size)
        for n in range(size):
            view.telemetry.requests.ended(Ended(worker=f"worker-{n + 1}"))
        found = [asyncio.run(scrape(view)) for _ in range(ROUNDS)]
        whole, longest = (median(column) for column in list(zip(*found, strict=True))[:2])
        print(
            f"a scrape of {size:>3} workers: {whole:.1f} ms of CPU, at most {longest:.1f} ms at a"
            f" time, {found[0][2] / 1024:.0f} KiB"
        )
        feed = Feed(view)
        began = process_time()
        for _ in range(10):
            feed.changes()
        print(
            f"the dashboard's tick:  {(process_time() - began) * 100:.1f} ms of CPU, twice a second"
        )
