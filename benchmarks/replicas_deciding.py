"""How many requests the arbiter decides a second: bytes in, bytes out, and no socket between.

One other replica asks for slots, in batches as they come from the wire when many requests come in
one turn of its loop: each batch asks for so many slots, and gives those of the batch before back.
The messages are put on the wire beforehand, by the same encoder; what the arbiter answers is put
on the wire, as `app.peers.link` does it. A decision is a slot that was granted and given back.
"""

from collections.abc import Iterator
from time import perf_counter, process_time
from typing import Any

from app.balancing.endpoint import EndpointSpec
from app.balancing.lease import Outcome
from app.balancing.policy import Policy
from app.balancing.pool import Pool
from app.peers import messages
from app.peers.arbiter import Arbiter
from app.peers.messages import Message
from app.peers.record import Member
from app.peers.wire import VERSIONS, Decoder, encode
from benchmarks.run import Run
from benchmarks.stats import spread

BATCH = 64
"""Requests that ask in one turn of their replica's loop."""

ENDPOINTS = 4
CAPS = {"free": 64, "queued": BATCH // ENDPOINTS}
"""The cap by how a request gets its slot: there are free ones, or a batch holds all there are, and
the next one waits in the queue for what that gives back."""

POOL = "pool"
VERSION = VERSIONS[1]
_ME = Member("me.1", "me", "me", "127.0.0.1:1")
_OTHER = Member("other.1", "other", "other", "127.0.0.2:1")


class Wire:
    """The arbiter's side of a link: what is said is put into bytes, and sent by the batch."""

    def __init__(self) -> None:
        self.heard_at = 0.0
        self._said: list[bytes] = []

    def send(self, message: Message) -> None:
        """Say something."""
        self._said.append(encode(message, VERSION))

    def flush(self) -> bytes:
        """Send what was said in one go; return it."""
        data = b"".join(self._said)
        self._said.clear()
        return data

    def close(self) -> None:
        """Nothing is to be closed here."""


class Deciding:
    """An arbiter with a pool, and one replica that has said that it holds nothing."""

    def __init__(self, cap: int) -> None:
        self.pool = Pool(Policy(max_in_flight=cap), key=POOL)
        specs = (EndpointSpec(f"pod-{n}", f"127.0.0.{n}", 80) for n in range(1, ENDPOINTS + 1))
        self.pool.apply_snapshot(specs, 0.0)
        self.wire = Wire()
        self._arbiter = Arbiter(_ME, 1, [_ME, _OTHER], [self.pool], 0.0)
        self._decoder = Decoder(VERSION)
        self._arbiter.attach(_OTHER, self.wire, 0.0)
        said: list[Message] = [
            messages.Promise(1, leaving=False),
            messages.Reported(),
            messages.NamePool(1, POOL),
        ]
        self.turn(b"".join(encode(one, VERSION) for one in said))

    def turn(self, data: bytes) -> bytes:
        """Take in what came in one go; return what is answered."""
        self._arbiter.take(self.wire, self._decoder.feed(data), 0.0)
        return self.wire.flush()


def batches(count: int, *, queued: bool = False, size: int = BATCH) -> Iterator[bytes]:
    """Return what a replica sends in each of so many turns, and in a last one.

    In a turn it gives back what it got in the one before, and asks; if `queued` it asks first. At
    the end it holds nothing.
    """
    acquire = messages.Acquire(0, 1, False, 0.0, 10.0, 600.0, ())
    release = messages.Release(0, Outcome.ANSWERED, None, "")
    for turn in range(count + 1):
        asks = range(turn * size, (turn + 1) * size) if turn < count else range(0)
        given = range((turn - 1) * size, turn * size) if turn else range(0)
        freed: list[Message] = [release._replace(ask=ask) for ask in given]
        wanted: list[Message] = [acquire._replace(ask=ask) for ask in asks]
        said = wanted + freed if queued else freed + wanted
        yield b"".join(encode(one, VERSION) for one in said)


def per_second(deciding: Deciding, sent: list[bytes]) -> tuple[float, float]:
    """Return how many are decided per second, and per second of CPU time.

    Raises RuntimeError if not every request was granted and given back.
    """
    began, cpu = perf_counter(), process_time()
    answers = [deciding.turn(data) for data in sent]
    took, spent = perf_counter() - began, process_time() - cpu
    said = Decoder(VERSION).feed(b"".join(answers))
    granted = sum(type(message) is messages.Grant for message in said)
    decisions = (len(sent) - 1) * BATCH
    if granted != decisions or deciding.pool.in_flight:
        raise RuntimeError(f"{granted} of {decisions} granted, {deciding.pool.in_flight} held")
    return decisions / took, decisions / spent


def measured(run: Run) -> dict[str, Any]:
    """Measure both ways in turns, after a round that is not counted."""
    turns = run.either(500, 200)
    both = {
        way: (Deciding(cap), list(batches(turns, queued=way == "queued")))
        for way, cap in CAPS.items()
    }
    rounds: dict[str, list[tuple[float, float]]] = {way: [] for way in both}
    for number in range(1 + run.either(15, 5)):
        for way, (deciding, sent) in both.items():
            found = per_second(deciding, sent)
            if number:
                rounds[way].append(found)
    ways = {
        way: {
            "per_second": spread(rate for rate, _ in those).as_json(),
            "per_cpu_second": spread(rate for _, rate in those).as_json(),
        }
        for way, those in rounds.items()
    }
    return {
        "decisions_per_second": ways["free"]["per_second"]["median"],
        "deciding": {"batch": BATCH, "decisions": turns * BATCH, **ways},
    }
