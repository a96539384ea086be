"""The listening socket: accepts clients as long as there is room for them.

Our own accept loop, since the event loop's own servers go on accepting at the limit of open files
and drop what they have accepted. Here accepting pauses at the limit and goes on when a client has
left; those who come meanwhile wait in the kernel's backlog.
"""

import asyncio
import errno
import logging
import socket
from math import inf
from time import monotonic
from typing import cast

from app.proxy.downstream import Downstream
from app.proxy.keepalive import set_keep_alive
from app.proxy.proxy import Proxy

BACKLOG = 4096
_BATCH = 64
"""Connections accepted in one turn of the loop, so that others get their turn too."""

_KEEP_ALIVE = 30
"""Seconds of silence after which a client is asked whether it is still there."""

_PAUSE = 0.1
"""Seconds until accepting is tried again after the kernel had no file or memory left."""

_QUIET = 10.0
"""Seconds between two warnings that accepting pauses."""

_SHORTAGE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

log = logging.getLogger(__name__)


class Listener:
    """Accepts the clients of one data port."""

    def __init__(self, proxy: Proxy, max_connections: int) -> None:
        self._proxy = proxy
        self._max = max_connections
        self._loop = asyncio.get_running_loop()
        self._sockets: list[socket.socket] = []
        self._accepting = False
        self._warned_at = -inf
        self._opening: set[asyncio.Task[object]] = set()
        proxy.on_room = self._room

    @property
    def ports(self) -> list[int]:
        """The ports that are listened on."""
        return [sock.getsockname()[1] for sock in self._sockets]

    def listen(self, host: str, port: int) -> None:
        """Open the socket and begin to accept. Raises `OSError`."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.create_server(
            (host, port), family=family, backlog=BACKLOG, dualstack_ipv6=host == "::"
        )
        sock.setblocking(False)
        set_keep_alive(sock, idle=_KEEP_ALIVE)  # those that are accepted inherit it
        self._sockets.append(sock)
        self._accepting = False
        self._room()

    def close(self) -> None:
        """Accept no more. Connections that are there live on."""
        self._pause()
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()

    def _room(self) -> None:
        """Accept, if there is room and it is not being done."""
        if not self._accepting and self._sockets and self._count() < self._max:
            self._accepting = True
            for sock in self._sockets:
                self._loop.add_reader(sock.fileno(), self._accept, sock)

    def _count(self) -> int:
        return len(self._proxy.downstreams) + len(self._opening)

    def _pause(self) -> None:
        if self._accepting:
            self._accepting = False
            for sock in self._sockets:
                self._loop.remove_reader(sock.fileno())

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_BATCH):
            if self._count() >= self._max:
                self._warn(f"at the limit of {self._max} client connections")
                self._pause()
                return
            try:
                sock, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _SHORTAGE:
                    raise
                self._warn(error.strerror or str(error))
                self._pause()
                self._loop.call_later(_PAUSE, self._room)
                return
            sock.setblocking(False)
            task = self._loop.create_task(self._open(sock))
            self._opening.add(task)
            task.add_done_callback(self._opened)

    def _warn(self, why: str) -> None:
        """Say that accepting pauses: at times, since at the limit it does so for each client."""
        now = monotonic()
        if now - self._warned_at >= _QUIET:
            self._warned_at = now
            log.warning("%s: accepting pauses until others have left", why)

    async def _open(self, sock: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, sock)
        except OSError as error:  # gone before it began
            log.debug("a client left at once: %s", error)
            sock.close()

    def _protocol(self) -> asyncio.Protocol:
        """Make the protocol of a client: one by its methods, not by its base."""
        return cast("asyncio.Protocol", Downstream(self._proxy))

    def _opened(self, task: "asyncio.Task[object]") -> None:
        """Count it no longer as opening; it is a client by now, or gone."""
        self._opening.discard(task)
        self._room()
