"""`python -m tests.chaos.measure`: how fast the balancer leaves a worker that dies or hangs.

Under load, with real processes, read off the wire. Two figures stand side by side for a kill: how
long the kernel takes from SIGKILL to the first sign (a FIN, a reset, a refusal), which is not the
balancer's doing, and how long after that sign it still wrote new requests to the worker, which is.
"""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import click
import uvloop

from tests.chaos.fleet import Fleet, Member
from tests.chaos.load import Crowd, small_request
from tests.chaos.wire import Packet, Wire
from tests.integration.process.harness import Programs
from tests.pages import put

PAGE = Path("docs/reliability.md")
RESULTS = Path("benchmarks/results/faults.json")
LIMIT = 8
LOADS = {
    "each_worker_busy": (32, 0.2),
    "each_worker_mostly_idle": (6, 0.004),
}
"""How many clients, and how long a request takes at most (seconds). The first fills half of the
slots; with the second the only connections to a worker that dies are often idle ones."""

INTERVAL, FAILURES = 0.5, 2
THRESHOLD = (INTERVAL * 1.1) * FAILURES + INTERVAL
"""Seconds by which the probe must have ejected: two intervals with their jitter, and a timeout."""

SPEC: dict[str, Any] = {
    "maxInFlight": LIMIT,
    "retry": {"onTimeout": True, "refusedStatuses": [503]},
    "timeouts": {"firstByte": "10s"},
    "health": {
        "probe": {
            "path": "/ready",
            "interval": f"{INTERVAL}s",
            "timeout": f"{INTERVAL}s",
            "failures": FAILURES,
        }
    },
}


async def measure(load: str, kills: int, stops: int, folder: Path) -> dict[str, Any]:
    """Kill and stop one worker after the other under load; return the figures."""
    clients, longest = LOADS[load]
    fleet = Fleet(folder, 8, LIMIT, Random(0))
    wire = Wire()
    wire.open()
    async with Programs(folder) as programs:
        try:
            await fleet.start()
            balancer = await programs.balancer(SPEC | {"endpoints": fleet.addresses})
            make = partial(small_request, longest)
            crowd = Crowd(balancer.port, clients, 0, make, leave=0.0, hurried=1.0)
            asking = asyncio.create_task(crowd.run())
            began = time.time()
            await asyncio.sleep(2.0)
            killed = [await _kill(fleet.members[n % 8]) for n in range(kills)]
            stopped = [await _stop(fleet.members[n % 8]) for n in range(stops)]
            crowd.stop()
            await asking
            client_port = f"127.0.0.1:{balancer.port}"
        finally:
            wire.close()
            await fleet.end()
    packets = wire.packets
    figures = {
        "requests_a_second": round(crowd.tally.answered / (time.time() - began)),
        "failed": len(crowd.tally.failed) + crowd.tally.excused.total(),
        "kill": _after_kills(packets, killed),
    }
    return figures | ({"stop": _after_stops(packets, stopped, client_port)} if stops else {})


async def _kill(member: Member) -> tuple[str, float, float]:
    """Kill a worker and start it anew; return its address and the time of either."""
    at = time.time()
    await member.end()
    await asyncio.sleep(0.7)
    again = time.time()
    await member.start()
    await member.listens()
    await asyncio.sleep(0.5)
    return member.address, at, again


async def _stop(member: Member) -> tuple[str, float, float]:
    """Stop a worker and let it go on; return its address and the time of either."""
    at = time.time()
    member.signal(signal.SIGSTOP)
    await asyncio.sleep(THRESHOLD + 1.5)
    again = time.time()
    member.signal(signal.SIGCONT)
    await asyncio.sleep(2.5)
    return member.address, at, again


def _after_kills(packets: list[Packet], kills: list[tuple[str, float, float]]) -> dict[str, Any]:
    to_sign, to_last = [], []
    for address, at, again in kills:
        within = [packet for packet in packets if at <= packet.time < again]
        sign = min(packet.time for packet in within if packet.ends and packet.source == address)
        sent = [packet.time for packet in within if packet.request and packet.target == address]
        to_sign.append(sign - at)
        to_last.append(max(0.0, max(sent, default=sign) - sign))
    return {
        "times": len(kills),
        "kill_to_first_sign_ms": _spread(to_sign),
        "first_sign_to_last_request_ms": _spread(to_last),
    }


def _after_stops(
    packets: list[Packet], stops: list[tuple[str, float, float]], balancer: str
) -> dict[str, Any]:
    came = {p.request: p.time for p in reversed(packets) if p.request and p.target == balancer}
    to_last, late = [], 0
    before: list[float] = []
    during: list[float] = []
    for address, at, again in stops:
        for packet in packets:
            if not packet.request or packet.target == balancer:
                continue
            others = packet.target != address and packet.request in came
            dispatch = packet.time - came.get(packet.request, 0.0)
            if others and at - 1.0 <= packet.time < at:
                before.append(dispatch)
            # Those that were sent to the hung worker first are sent again much later.
            elif others and at <= came[packet.request] and packet.time < again:
                during.append(dispatch)
        sent = [p.time for p in packets if p.request and p.target == address and p.time < again]
        to_last.append(max(0.0, max(sent) - at))
        late += sum(time_sent > at + THRESHOLD for time_sent in sent)
    return {
        "times": len(stops),
        "stop_to_last_request_ms": _spread(to_last),
        "probe_threshold_ms": round(1000 * THRESHOLD),
        "requests_after_threshold": late,
        "dispatch_to_others_before_ms": _spread(before),
        "dispatch_to_others_meanwhile_ms": _spread(during),
    }


def _spread(seconds: Iterable[float]) -> dict[str, float]:
    """Summarise times, in milliseconds."""
    found = sorted(1000 * value for value in seconds)
    last = len(found) - 1
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: round(found[int(share * last)], 3) for name, share in shares.items()}


def table(figures: dict[str, Any]) -> str:
    """Write the figures for people."""
    lines = ["| load | measured | p50 | p99 | max |", "|---|---|---|---|---|"]
    for load, found in figures.items():
        for fault in ("kill", "stop"):
            for name, value in found.get(fault, {}).items():
                if isinstance(value, dict):
                    what = f"{fault}: {name.removesuffix('_ms').replace('_', ' ')}, ms"
                    cells = (load.replace("_", " "), what, *value.values())
                    lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    stop = next(found["stop"] for found in figures.values() if "stop" in found)
    late, threshold = stop["requests_after_threshold"], stop["probe_threshold_ms"]
    lines += ["", f"Requests to a stopped worker after the probe's {threshold} ms: {late}."]
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--kills", default=24, show_default=True)
@click.option("--stops", default=5, show_default=True)
@click.option("--keep", is_flag=True, help="Write faults.json and its table in docs.")
def main(kills: int, stops: int, *, keep: bool) -> None:
    """Measure how fast a dead or hung worker is left."""
    try:
        figures = {}
        for load, few in zip(LOADS, (stops, 0), strict=True):
            with TemporaryDirectory() as folder:
                figures[load] = uvloop.run(measure(load, kills, few, Path(folder)))
    except PermissionError:
        sys.exit("not measured: to listen on the loopback interface needs root")
    print(json.dumps(figures, indent=1))
    if keep:
        RESULTS.write_text(json.dumps(figures, indent=1) + "\n")
        put(PAGE, "faults", table(figures))


if __name__ == "__main__":
    main()
