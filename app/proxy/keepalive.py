"""TCP keep-alive: how a peer is noticed that vanished without a FIN or a reset.

A machine that loses its power or its network says nothing. The kernel then asks at intervals, and
ends the connection when nobody answers: the event loop tells it as any other end.
"""

import socket
import sys
from typing import Final

INTERVAL: Final = 5
"""Seconds between two questions."""

QUESTIONS: Final = 3
"""Questions without an answer that end a connection."""


def set_keep_alive(sock: socket.socket, *, idle: int) -> None:
    """Ask a peer that was silent for `idle` seconds; see it lost `INTERVAL * QUESTIONS` later."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, INTERVAL)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, QUESTIONS)


def set_user_timeout(sock: socket.socket, seconds: float) -> None:
    """End the connection when what was sent is not acknowledged for so long."""
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))
