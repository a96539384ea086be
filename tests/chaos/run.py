"""One run of the chaos test: a real balancer, eight workers in trouble, and what must come out."""

import asyncio
import contextlib
from collections import Counter
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from tests.chaos.fleet import Fleet, descriptors, memory
from tests.chaos.load import Crowd, any_request
from tests.integration.process.harness import Balancer, Programs, until

WORKERS = 8
CLIENTS = 40
MOST_GROWTH = 8 * 2**20
"""Bytes by which the balancer's own memory may grow from the end of the warm-up to the end."""


def pool(seed: int) -> dict[str, Any]:
    """Return the pool's spec, of which the seed chooses what a user may choose."""
    chance = Random(f"pool {seed}")
    return {
        "maxInFlight": chance.choice((4, 8, 16)),
        "onClientGone": chance.choice(("cancel", "finish")),
        "retry": {
            "onTimeout": True,
            "refusedStatuses": [503],
            "nonIdempotent": chance.random() < 0.3,
        },
        "timeouts": {
            "firstByte": "3s",
            "betweenBytes": "10s",
            "connect": "500ms",
            "idle": chance.choice(("200ms", "1s")),
        },
        "health": {
            "probe": {"path": "/ready", "interval": "500ms", "timeout": "500ms", "failures": 2}
        },
    }


async def chaos(
    seed: int, seconds: float, folder: Path, *, warm_up: float = 5.0, pace: float = 1.0
) -> dict[str, Any]:
    """Run one seed; return what came out, with what is wrong in `wrong` (empty: it has passed).

    `warm_up`: seconds of load before, without trouble; `pace`: as how long as usual troubles last.
    """
    spec = pool(seed)
    limit = spec["maxInFlight"]
    fleet = Fleet(folder, WORKERS, limit, Random(seed), pace=pace)
    async with Programs(folder) as programs:
        try:
            await fleet.start()
            balancer = await programs.balancer(spec | {"endpoints": fleet.addresses})
            fleet.on_change = lambda: balancer.configure(spec | {"endpoints": fleet.addresses})
            await _ask(balancer, Crowd(balancer.port, CLIENTS, seed + 10**6), warm_up)
            await at_rest(balancer)
            before = memory(balancer.pid)
            files = descriptors(balancer.pid)
            make = partial(any_request, non_idempotent=spec["retry"]["nonIdempotent"])
            crowd = Crowd(balancer.port, CLIENTS, seed, make)
            await _ask(balancer, crowd, seconds, fleet)
            view = await at_rest(balancer)
            after = memory(balancer.pid)
            await until("all workers are in rotation", lambda: _all_in(balancer), pause=0.2)
            # A probe has one for a moment.
            await until("no file stays open", lambda: descriptors(balancer.pid) <= files)
        finally:
            await fleet.end()
    result = {"seed": seed, "seconds": seconds, "pool": spec}
    result |= _result(seconds, crowd, fleet, view)
    result["memory"] = {"before": before, "after": after}
    result["wrong"] = _wrong(result, limit)
    return result


async def _ask(
    balancer: Balancer, crowd: Crowd, seconds: float, fleet: Fleet | None = None
) -> None:
    """Let the clients ask for a while, and torment the workers if they are given."""
    asking = asyncio.create_task(crowd.run())
    tormenting = asyncio.create_task(fleet.torment()) if fleet else None
    done, _ = await asyncio.wait({asking}, timeout=seconds)
    assert not done, "the clients ended early"
    if tormenting is not None:
        tormenting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await tormenting
    crowd.stop()
    await asking


async def at_rest(balancer: Balancer) -> dict[str, Any]:
    """Wait until nothing runs, waits or is connected any more; return the view of it."""

    view: dict[str, Any] = {}

    async def idle() -> bool:
        nonlocal view
        view = await balancer.view()
        counts = [view["in_flight"], view["queued"], view["totals"]["client_connections"]]
        # Kept connections are closed after some seconds without use.
        counts.append(view["totals"]["worker_connections"])
        return not any(counts) and not any(worker["in_flight"] for worker in view["workers"])

    await until("every count is 0", idle, pause=0.2)
    return view


async def _all_in(balancer: Balancer) -> bool:
    view = await balancer.view()
    return [worker["in_rotation"] for worker in view["workers"]] == [True] * WORKERS


def _result(seconds: float, crowd: Crowd, fleet: Fleet, view: dict[str, Any]) -> dict[str, Any]:
    tally = crowd.tally
    lives = [journal.all() for member in fleet.members for journal in member.journals]
    sums = Counter[str]()
    for life in lives:
        sums.update(life)
    once = [
        line for m in fleet.members if m.once.exists() for line in m.once.read_text().splitlines()
    ]
    waits = sorted(tally.waits)
    return {
        "requests": tally.answered + tally.left + tally.excused.total() + len(tally.failed),
        "answered": tally.answered,
        "a_second": round(tally.answered / seconds),
        "clients_left": tally.left,
        "failed": tally.failed,
        "excused": dict(tally.excused),
        "faults": dict(fleet.faults),
        "retries": view["totals"]["retries"],
        "answered_by_balancer": view["totals"]["answered_by_balancer"],
        "worker": {
            "peak": max(life["peak"] for life in lives),
            "refused": sums["refused"],
            "refused_unexcused": sums["unexcused"],
            "damaged": sums["damaged"],
            "begun_twice": len(once) - len(set(once)),
            "in_flight": sum(member.journal["in_flight"] for member in fleet.members),
        },
        "wait_ms": {
            name: round(1000 * waits[int(share * (len(waits) - 1))], 1)
            for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
        },
    }


def _wrong(result: dict[str, Any], limit: int) -> list[str]:
    """Say what the promise was broken in."""
    worker = result["worker"]
    growth = result["memory"]["after"] - result["memory"]["before"]
    checks = {
        f"{len(result['failed'])} requests failed": result["failed"],
        f"a worker had {worker['peak']} at once": worker["peak"] > limit,
        f"{worker['refused_unexcused']} requests beyond a cap": worker["refused_unexcused"],
        f"{worker['damaged']} requests came damaged": worker["damaged"],
        f"{worker['begun_twice']} not to be repeated were": worker["begun_twice"],
        f"memory grew by {growth / 2**20:.1f} MiB": growth > MOST_GROWTH,
        "nothing was asked": result["answered"] < 10 * result["seconds"],
    }
    return [what for what, is_so in checks.items() if is_so]
