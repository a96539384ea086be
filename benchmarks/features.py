"""What the features cost: leastwise as it is, beside itself with some of them switched off.

Each is saturated once in each round; what counts is the ratio within a round, and its median.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from app.config.settings import Settings, variable
from benchmarks import wrk
from benchmarks.contenders import ENDPOINTS, backend, leastwise, pool_spec
from benchmarks.machine import OTHER_CORES, PROXY_CORES, missing
from benchmarks.plain import compiled
from benchmarks.processes import Meter, running
from benchmarks.run import Run
from benchmarks.stats import spread
from benchmarks.tables import Table, ranged

ALL = "everything on"
PLAIN = "benchmarks.plain"


@dataclass(frozen=True, slots=True)
class Variant:
    """leastwise without something."""

    spec: Mapping[str, object] = field(default_factory=dict)
    """What differs in the pool's file."""

    settings: Mapping[str, str] = field(default_factory=dict)
    """What differs in the settings, by their names. One that does not exist is not measured."""

    program: str = "app"

    @property
    def possible(self) -> bool:
        """Whether this version has all of these settings, or is compiled."""
        if self.program == PLAIN:
            return compiled()
        return all(name in Settings.model_fields for name in self.settings)


_NO_CAP: dict[str, object] = {"maxInFlight": None}
_NO_RETRY: dict[str, object] = {"retry": {"nonIdempotent": False, "refusedStatuses": []}}
_NO_TIMEOUTS: dict[str, object] = {
    "timeouts": {"firstByte": None, "betweenBytes": None, "request": None}
}
_NO_PROBE: dict[str, object] = {"health": {"probe": None}}

VARIANTS = {
    ALL: Variant(),
    "no metrics": Variant(settings={"metrics": "false"}),
    "no timing headers": Variant(settings={"timing_headers": "false"}),
    "no cap": Variant(_NO_CAP),
    "no timeouts": Variant(_NO_TIMEOUTS),
    "no cap, timeouts, retries, probes": Variant(
        {**_NO_CAP, **_NO_TIMEOUTS, **_NO_RETRY, **_NO_PROBE}
    ),
    "everything on, plain Python": Variant(program=PLAIN),
}


def main(run: Run) -> None:
    """Measure all variants that this version has."""
    if missing(["nginx", "wrk"]):
        print("features: skipped, it needs nginx as the backend and wrk as the load")
        return
    variants = {name: variant for name, variant in VARIANTS.items() if variant.possible}
    for name in VARIANTS.keys() - variants.keys():
        print(f"features: {name!r} is left out, this version does not have it")
    rounds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(run.either(7, 2)):
        names = list(variants)
        order = {name: variants[name] for name in names[:: 1 if number % 2 else -1]}
        _round(order, rounds, run.either(2, 1))
    run.conclude("features", _summary(rounds), tables)


def _round(variants: Mapping[str, Variant], rounds: dict[str, list[float]], seconds: int) -> None:
    """Measure each variant once, in new processes: two of the same differ by some percent."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        home = Path(folder)
        workers = backend(home)
        stack.enter_context(running(workers, OTHER_CORES))
        addresses = [f"{host}:{workers.port}" for host in ENDPOINTS]
        script = wrk.scripts(home)["small"]
        for number, (name, variant) in enumerate(variants.items()):
            pool = pool_spec(addresses, **variant.spec)
            environ = {variable(key): value for key, value in variant.settings.items()}
            server = leastwise(home, pool, environ, f"variant-{number}", variant.program)
            with running(server, PROXY_CORES) as process:
                wrk.run(server.port, script, 1)
                meter = Meter(process)
                load = wrk.run(server.port, script, seconds)
                rounds[name].append(meter.read().total * 1e6 / load.requests)


def _summary(rounds: dict[str, list[float]]) -> dict[str, Any]:
    return {
        "cpu_us_per_request": {name: spread(those).as_json() for name, those in rounds.items()},
        "saved_percent": {
            name: spread(
                100 * (1 - without / whole)
                for without, whole in zip(those, rounds[ALL], strict=True)
            ).as_json()
            for name, those in rounds.items()
            if name != ALL
        },
    }


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return what the results hold, for people."""
    rows = []
    for name, cpu in figures["cpu_us_per_request"].items():
        saved = figures["saved_percent"].get(name)
        told = ""
        if saved is not None:
            told = f"{saved['median']:+.1f} % ({saved['min']:+.1f} to {saved['max']:+.1f})"
        rows.append([name, ranged(cpu["median"], cpu["min"], cpu["max"]), told])
    header = ["", "CPU µs per request", "saved, in the rounds"]
    return [Table("leastwise with features switched off", header, rows)]
