"""The network between the balancers' peer ports, which the tests can cut.

Before each pod's peer port stands a forwarder, on the pod's own address; the process listens on a
hidden one (`behind`). Who dials is known by the source address, since replicas bind what they open
to their own pod's address; the forwarder goes on from that address in turn. What always holds, as
with a switch that drops packets: between two pods that are cut off from each other nothing comes
through, neither bytes nor the end of a connection, in both directions, and nothing is closed; what
was held comes through when the cut is healed, in order.

Two things differ from dropped packets. A connect during a cut is accepted by the forwarder's
kernel, and then hears nothing. A connect to a process that is not there is accepted and reset,
instead of refused.
"""

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

_CHUNK = 64 * 1024
_BEHIND = 120 << 16
"""From a pod's address to its hidden one."""


def behind(address: str) -> str:
    """Return the hidden address of a pod, where its process listens for its peers."""
    return str(ipaddress.ip_address(address) + _BEHIND)


class Links:
    """Which pods, by their addresses, reach each other's peer ports."""

    def __init__(self) -> None:
        self._cut: dict[frozenset[str], asyncio.Event] = {}
        """What is set when the cut is healed."""

        self.held = 0
        """How many pieces, or ends, wait for a cut to be healed."""

    def cut(self, one: str, others: Iterable[str]) -> None:
        """Let nothing through between that pod and these."""
        for other in others:
            self._cut.setdefault(frozenset((one, other)), asyncio.Event())

    def heal(self) -> None:
        """Let everything through again."""
        cuts, self._cut = self._cut, {}
        for healed in cuts.values():
            healed.set()

    @asynccontextmanager
    async def fronting(self, address: str, port: int) -> AsyncIterator[None]:
        """Forward what comes to that pod's port, meanwhile."""
        tasks: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._forward(reader, writer, address, port))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(accept, address, port)
        try:
            yield
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # --- inside

    async def _forward(
        self, near: asyncio.StreamReader, back: asyncio.StreamWriter, address: str, port: int
    ) -> None:
        """Carry one connection from its dialer to the pod's process, until both have ended."""
        dialer = back.get_extra_info("peername")[0]
        pair = frozenset((dialer, address))
        writers = [back]
        try:
            await self._through(pair)
            far, forth = await asyncio.open_connection(
                behind(address), port, local_addr=(dialer, 0)
            )
            writers.append(forth)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(near, forth, pair))
                both.create_task(self._pump(far, back, pair))
            for writer in writers:
                writer.close()
                await writer.wait_closed()
        except* OSError:
            pass  # one end was reset, or nobody listens: the other end is told the same
        finally:
            for writer in writers:
                writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: frozenset[str]
    ) -> None:
        """Carry one direction to its end."""
        try:
            while data := await reader.read(_CHUNK):
                await self._through(pair)
                writer.write(data)
                await writer.drain()
        except OSError:
            await self._through(pair)
            raise
        await self._through(pair)
        with suppress(OSError):
            writer.write_eof()

    async def _through(self, pair: frozenset[str]) -> None:
        """Wait while the two are cut off from each other."""
        self.held += 1
        try:
            while (healed := self._cut.get(pair)) is not None:
                await healed.wait()
        finally:
            self.held -= 1
