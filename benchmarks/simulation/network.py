"""Messages between replicas: each takes a while, and those of one connection arrive in order."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from benchmarks.simulation.events import Events
from benchmarks.simulation.workloads import exponential


@dataclass(frozen=True, slots=True)
class Network:
    """How long a message takes one way, in seconds: at least `least`, and exponential jitter."""

    least: float = 0.000125
    jitter: float = 0.000125
    """Mean of what comes on top."""

    @property
    def mean(self) -> float:
        """Seconds that a message takes on average."""
        return self.least + self.jitter

    def delay(self, random: Random) -> float:
        """Draw the seconds that one message takes."""
        return self.least + self.jitter * exponential(random)


class Wire:
    """One direction of one connection."""

    __slots__ = ("_last", "_network", "_random")

    def __init__(self, network: Network, random: Random) -> None:
        self._network = network
        self._random = random
        self._last = 0.0

    def carry(self, events: Events, arrive: Callable[..., object], *about: object) -> None:
        """Send a message: `arrive` is called when it is there, never before an earlier one."""
        self._last = max(self._last, events.now + self._network.delay(self._random))
        events.at(self._last, arrive, *about)
