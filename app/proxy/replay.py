"""A request's body as far as it is held: for the first sending, and for sending it again."""

from app.http1.bodies import chunk, last_chunk


class ReplayMemory:
    """What all requests of the process hold of their bodies together."""

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        """Start with nothing; `limit` is in bytes."""
        self.held = 0
        self.limit = limit


class Replay:
    """Holds the body of one request, framed for the worker on demand.

    Until the request is sent, everything that comes is held (the client is paused beyond the
    limit). From then on only a body that stays within the limit is, and only while all of them
    together stay within the process's; else it is let go, and cannot be sent again. Whatever is
    held is given back by `let_go`, at the end of the request at the latest.
    """

    __slots__ = ("_chunked", "_memory", "_parts", "_trailers", "complete", "held", "size", "whole")

    def __init__(self, memory: ReplayMemory, *, chunked: bool, whole: bytes | None = None) -> None:
        """Begin with nothing, or with a whole body that came at once."""
        self._memory = memory
        self.size = len(whole) if whole else 0
        """Bytes that have come, held or not."""

        self._chunked = chunked
        self._parts: list[bytes] = [whole] if whole else []
        self._trailers = b""
        self.held = self.size
        memory.held += self.size
        """Bytes held."""

        self.whole = True
        """Whether all that has come is held: whether the request can be sent (again)."""

        self.complete = whole is not None
        """Whether the request has been read to its end."""

    def add(self, payload: bytes, limit: int, *, sending: bool) -> None:
        """Take a part of the body; `sending` says that it also goes to a worker right now."""
        size = len(payload)
        self.size += size
        if not sending or (self.whole and self.held + size <= limit and not self.crowded):
            self._parts.append(payload)
            self.held += size
            self._memory.held += size
        else:
            self.whole = False
            self.let_go()

    @property
    def crowded(self) -> bool:
        """Whether all requests together hold more than they may."""
        return self._memory.held > self._memory.limit

    def sent(self) -> None:
        """Take it that a worker has all that is held: beyond the process's limit it is let go."""
        if self._memory.held > self._memory.limit and self.held:
            self.whole = False
            self.let_go()

    def answered(self) -> None:
        """Take it that the answer has begun: nothing will be sent again."""
        self.whole = False
        self.let_go()

    def let_go(self) -> None:
        """Hold nothing more."""
        self._memory.held -= self.held
        self.held = 0
        self._parts = []

    def end(self, trailers: bytes) -> None:
        """Take the end of the body."""
        self.complete = True
        self._trailers = trailers

    def frame(self, payload: bytes) -> bytes:
        """Frame a part of the body for the worker."""
        return chunk(payload) if self._chunked else payload

    def closing(self) -> bytes:
        """Return what ends the body on the wire."""
        return last_chunk(self._trailers) if self._chunked else b""

    def wire(self) -> bytes:
        """Return all that is held, framed, with the body's end if that has come."""
        parts = self._parts
        if not parts:
            return self.closing() if self.complete else b""
        body = self.frame(parts[0] if len(parts) == 1 else b"".join(parts))
        return body + self.closing() if self.complete and self._chunked else body
