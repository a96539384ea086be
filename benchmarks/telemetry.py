"""What looking costs: counting a request that is over, a scrape of many workers, a watcher."""

import asyncio
from statistics import median
from time import process_time
from timeit import repeat
from typing import Any

from prometheus_client import generate_latest

from app.admin.families import one
from app.admin.metrics import families
from app.admin.stream import Feed
from app.telemetry.requests import RequestStats
from benchmarks.run import Run
from benchmarks.tables import Table, figure
from tests.unit.admin.views import Balancer, View
from tests.unit.telemetry.requests_made import Ended

ROUNDS = 7
TICKS = 10
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


def main(run: Run) -> None:
    """Measure counting, then a scrape and the dashboard's tick by the number of workers."""
    rounds = run.either(ROUNDS, 3)
    stats, request = RequestStats(), Ended()
    space = {"ended": stats.ended, "request": request}
    times = repeat("ended(request)", globals=space, number=REQUESTS, repeat=rounds)
    sizes = {str(size): measure(size, rounds) for size in SIZES}
    figures = {"count_us": median(times) / REQUESTS * 1e6, "workers": sizes}
    run.conclude("telemetry", figures, tables)


def measure(size: int, rounds: int) -> dict[str, float]:
    """Scrape a balancer with so many workers, and follow it as a dashboard does."""
    view = View(workers=size)
    for n in range(size):
        view.telemetry.requests.ended(Ended(worker=f"worker-{n + 1}"))
    found = [asyncio.run(scrape(view)) for _ in range(rounds)]
    whole, longest = (median(column) for column in list(zip(*found, strict=True))[:2])
    feed = Feed(view)
    began = process_time()
    for _ in range(TICKS):
        feed.changes()
    tick = (process_time() - began) / TICKS * 1e3
    return {
        "scrape_ms": whole,
        "scrape_longest_ms": longest,
        "scrape_kib": found[0][2] / 1024,
        "tick_ms": tick,
    }


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return what the results hold, for people."""
    names = ("scrape_ms", "scrape_longest_ms", "scrape_kib", "tick_ms")
    rows = [
        [size, *(figure(found[name]) for name in names)]
        for size, found in figures["workers"].items()
    ]
    header = ["workers", "a scrape, CPU ms", "at most at a time", "its KiB", "a tick, CPU ms"]
    counted = [["a request that is over", figure(figures["count_us"])]]
    return [
        Table("To look at it, by the number of workers", header, rows),
        Table("To count", ["", "µs"], counted),
    ]
