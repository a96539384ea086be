"""A request's body as far as it is held: for the first sending, and for sending it again."""

from app.http1.bodies import chunk, last_chunk


class Replay:
    """Holds the body of one request, framed for the worker on demand.

    Until the request is sent, everything that comes is held (the client is paused beyond the
    limit). From then on only a body that stays within the limit is; a longer one is let go and
    cannot be sent again.
    """

    __slots__ = ("_chunked", "_parts", "_trailers", "complete", "held", "size", "whole")

    def __init__(self, *, chunked: bool, whole: bytes | None = None) -> None:
        """Begin with nothing, or with a whole body that came at once."""
        self.size = len(whole) if whole else 0
        """Bytes that have come, held or not."""

        self._chunked = chunked
        self._parts: list[bytes] = [whole] if whole else []
        self._trailers = b""
        self.held = self.size
        """Bytes held."""

        self.whole = True
        """Whether all that has come is held: whether the request can be sent (again)."""

        self.complete = whole is not None
        """Whether the request has been read to its end."""

    def add(self, payload: bytes, limit: int, *, sending: bool) -> None:
        """Take a part of the body; `sending` says that it also goes to a worker right now."""
        self.size += len(payload)
        if not sending or (self.whole and self.held + len(payload) <= limit):
            self._parts.append(payload)
            self.held += len(payload)
        else:
            self.whole = False
            self._parts.clear()

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
