"""What looking costs: counting a request that is over."""

from statistics import median
from timeit import repeat

from app.telemetry.requests import RequestStats
from tests.unit.telemetry.requests_made import Ended

ROUNDS = 7
REQUESTS = 100_000


def main() -> None:
    stats, request = RequestStats(), Ended()
    space = {"ended": stats.ended, "request": request}
    times = repeat("ended(request)", globals=space, number=REQUESTS, repeat=ROUNDS)
    print(f"count a request that is over: {median(times) / REQUESTS * 1e6:.2f} µs")
