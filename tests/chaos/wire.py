"""What passes on the loopback interface, with the kernel's time of each packet: needs root.

So the balancer is measured from outside: when a worker's first sign of death stood on the wire,
and when the balancer last wrote a request to it.
"""

import asyncio
import re
import socket
import struct
from dataclasses import dataclass

_ALL_PROTOCOLS = 3
_OUTGOING = 4  # of the packet's type: on loopback, each is seen leaving and arriving
_TIMESTAMPS = 35  # SO_TIMESTAMPNS
_FORCE_BUFFER = 33  # SO_RCVBUFFORCE
_LOOK_AT = 512
_FIN, _RST = 0x01, 0x04
_HEAD = re.compile(rb"(?:GET|PUT|POST) /\S* HTTP/1\.1\r\n")
_ID = re.compile(rb"\r\nX-Id: (\S+)\r\n")


@dataclass(frozen=True, slots=True)
class Packet:
    """Something of interest: an end of a connection, or a request's head."""

    time: float
    """The kernel's, in seconds of the real-time clock."""

    source: str
    target: str
    """Both as host:port."""

    ends: bool
    """Whether it is a FIN or a RST."""

    request: str
    """The X-Id of the request whose head it carries; empty for none."""


class Wire:
    """Listens on loopback from `open` to `close`."""

    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)

    def open(self) -> None:
        """Begin. Raises `PermissionError` without the right to."""
        self._socket.setsockopt(socket.SOL_SOCKET, _TIMESTAMPS, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, _FORCE_BUFFER, 2**26)
        self._socket.setblocking(False)
        self._socket.bind(("lo", _ALL_PROTOCOLS))
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def close(self) -> None:
        """End, with all that came until now read."""
        self._read()
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        while True:
            try:
                data, ancillary, _, address = self._socket.recvmsg(_LOOK_AT, 64)
            except BlockingIOError:
                return
            if address[2] != _OUTGOING and len(data) > 40 and data[9] == socket.IPPROTO_TCP:
                self._take(data, ancillary[0][2])

    def _take(self, data: bytes, stamp: bytes) -> None:
        begin = (data[0] & 15) * 4
        flags = data[begin + 13]
        payload = begin + (data[begin + 12] >> 4) * 4
        found = None
        if _HEAD.match(data, payload):
            found = _ID.search(data, payload)
        if found is None and not flags & (_FIN | _RST):
            return
        source, target = struct.unpack_from("!HH", data, begin)
        seconds, nanoseconds = struct.unpack("qq", stamp)
        self.packets.append(
            Packet(
                seconds + nanoseconds / 1e9,
                f"{socket.inet_ntoa(data[12:16])}:{source}",
                f"{socket.inet_ntoa(data[16:20])}:{target}",
                bool(flags & (_FIN | _RST)),
                found[1].decode() if found else "",
            )
        )
