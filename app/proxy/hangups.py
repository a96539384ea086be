"""Tells when a client goes away while its connection is not being read.

A transport whose reading is paused reports neither FIN nor reset. One extra epoll instance,
itself watched by the event loop, holds the sockets of paused connections and asks for nothing but
the hang-up. Where there is no epoll (macOS), a paused client's leaving is seen when reading goes
on.
"""

import asyncio
import contextlib
import select
import socket
import sys
from collections.abc import Callable


class Hangups:
    """The paused connections and what to call when their client hangs up."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._callbacks: dict[int, Callable[[], None]] = {}
        if sys.platform == "linux":
            self._epoll = select.epoll()
            loop.add_reader(self._epoll.fileno(), self._ready)

    def watch(self, sock: socket.socket, on_hangup: Callable[[], None]) -> None:
        """Call `on_hangup` once if the peer closes or resets while its reading is paused."""
        if sys.platform == "linux":
            self._callbacks[sock.fileno()] = on_hangup
            self._epoll.register(sock.fileno(), select.EPOLLRDHUP | select.EPOLLET)

    def unwatch(self, sock: socket.socket) -> None:
        """Watch no more; harmless if it was not watched. To be called before the socket closes."""
        if sys.platform == "linux" and self._callbacks.pop(sock.fileno(), None) is not None:
            with contextlib.suppress(FileNotFoundError):
                self._epoll.unregister(sock.fileno())

    def close(self) -> None:
        """Let go of the epoll instance, if it is there; what ends later need not be unwatched."""
        self._callbacks.clear()
        if sys.platform == "linux" and not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _ready(self) -> None:
        if sys.platform == "linux":
            for descriptor, _ in self._epoll.poll(0):
                on_hangup = self._callbacks.get(descriptor)
                if on_hangup is not None:
                    on_hangup()
