"""A simulated network: each direction of each link is a queue that delivers when it is told to.

A `Channel` holds what is on its way to one process, in order. It may be slow (`held`), or its two
places may be cut off from each other; then everything waits, and neither side hears of it. What a
`Link` says goes through the real `encode` and `Decoder`.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from app.peers.messages import Message
from app.peers.record import Member
from app.peers.wire import Decoder, encode

if TYPE_CHECKING:
    from tests.unit.peers.process import Process
    from tests.unit.peers.world import World

DIALING = 2.0
"""Seconds after which a dial or a handshake is given up."""

API = "the API"


class Channel:
    """What is on its way to `receiver` (None: to the API), between two places."""

    def __init__(self, world: "World", receiver: "Process | None", *places: str) -> None:
        self.receiver = receiver
        self.between = frozenset(places)
        self.held = False
        self.items: deque[Callable[[], None]] = deque()
        self._world = world

    def put(self, item: Callable[[], None]) -> None:
        if not self.items:
            self._world.busy.append(self)
        self.items.append(item)

    @property
    def open(self) -> bool:
        """Whether its first item could be delivered now."""
        stopped = self.receiver is not None and self.receiver.stopped
        return not (self.held or stopped or self.between in self._world.cuts)

    def deliver(self) -> None:
        item = self.items.popleft()
        if not self.items:
            self._world.busy.remove(self)
        item()

    def lose(self, keep: int) -> None:
        """Lose all but the first `keep` items."""
        while len(self.items) > keep:
            self.items.pop()
        if not self.items and self in self._world.busy:
            self._world.busy.remove(self)


class End:
    """One side of a link, as a replica has it."""

    other: "End"

    def __init__(self, process: "Process", out: Channel, version: int) -> None:
        self.heard_at = process.world.now
        self.process = process
        self.out = out
        self.open = True
        self.broken = False
        """Whether what is said is lost, though this side may not know it yet."""

        self.dial: Dial | None = None
        self._version = version
        self._decoder = Decoder(version)

    def send(self, message: Message) -> None:
        if self.open and not self.broken:
            self.out.put(partial(self.other.data, encode(message, self._version)))

    def close(self) -> None:
        if self.open:
            self.open = False
            if not self.broken:
                self.out.put(self.other.end)

    # --- what arrives

    def data(self, data: bytes) -> None:
        if self.open and self.process.alive:
            self.heard_at = self.process.world.now
            replica = self.process.replica
            replica.received(self, self._decoder.feed(data), self.process.world.now)

    def end(self) -> None:
        if not (self.open and self.process.alive):
            return
        self.open = False
        if self.dial is None or self.dial.over:
            self.process.replica.link_lost(self, self.process.world.now)
        else:
            self.dial.failed()

    def ready(self) -> None:
        """The last of the handshake has come to the one who called."""
        if self.dial is not None and self.open and self.process.alive:
            self.heard_at = self.process.world.now
            self.dial.done(self)


class Wire:
    """A link: its two ends."""

    def __init__(self, world: "World", caller: "Process", reached: "Process", version: int) -> None:
        places = caller.pod, reached.pod
        self.ends = (
            End(caller, Channel(world, reached, *places), version),
            End(reached, Channel(world, caller, *places), version),
        )
        self.ends[0].other, self.ends[1].other = self.ends[1], self.ends[0]

    def lose(self, keep: int) -> None:
        """Break: what is under way is lost, but for a few; each side learns of it in its time."""
        for end in self.ends:
            if not end.broken:
                end.broken = True
                end.out.lose(keep)
                end.out.put(end.other.end)

    def died(self, process: "Process") -> None:
        """End the side of a process that is no more: its kernel says so."""
        for end in self.ends:
            if end.process is process and end.open:
                end.close()


class Dial:
    """A connection that is being made, with its handshake: three ways, then the answer."""

    def __init__(self, caller: "Process", member: Member) -> None:
        self.caller = caller
        self.member = member
        self.started = caller.world.now
        self.over = False
        self._end: End | None = None
        target = caller.world.at(member.address)
        self._go(target, partial(self._hello, target))

    def _go(self, to: "Process | None", item: Callable[[], None]) -> None:
        Channel(self.caller.world, to, self.caller.pod, self.member.pod).put(item)

    def _hello(self, target: "Process | None") -> None:
        if target is None or not target.alive:
            self._go(self.caller, self.failed)
        else:
            self._go(self.caller, partial(self._challenge, target))

    def _challenge(self, target: "Process") -> None:
        if self.over or not self.caller.alive:
            return
        if target.member.id != self.member.id:
            self.failed()
        else:
            self._go(target, partial(self._proof, target))

    def _proof(self, target: "Process") -> None:
        if not target.alive:
            self._go(self.caller, self.failed)
            return
        world = self.caller.world
        wire = Wire(world, self.caller, target, world.version(self.caller, target))
        world.wires.append(wire)
        self._end, reached = wire.ends
        self._end.dial = self
        reached.out.put(self._end.ready)
        if self.over or not self.caller.alive:
            self._end.close()
        target.replica.accepted(self.caller.member, reached, world.now)

    def done(self, end: End) -> None:
        self.over = True
        self.caller.dialing = None
        self.caller.replica.dialed(self.member, end, self.caller.world.now)

    def failed(self) -> None:
        if not self.over and self.caller.alive:
            self.over = True
            self.caller.dialing = None
            if self._end is not None:
                self._end.close()
            self.caller.replica.dial_failed(self.member, self.caller.world.now)
