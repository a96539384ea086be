"""Bytes as they come from a stream into JSON objects, one a line; pure.

Used by `api_source` for a watch. A chunk may begin and end anywhere, within a line or within a
character. Lines are decoded whole, and the parts of a long one are joined once, so that the cost
stays linear however many chunks it takes.
"""

import json
from typing import Any

MAX_LINE = 64 * 1024 * 1024
"""Longest line in bytes. An object in etcd has up to 1.5 MiB; this only bounds the memory."""


class JsonLines:
    """The lines of one stream."""

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self._max_line = max_line
        self._parts: list[bytes] = []
        self._length = 0

    @property
    def partial(self) -> bool:
        """Whether a line has begun that has not ended."""
        return self._length > 0

    def feed(self, chunk: bytes) -> list[dict[str, Any]]:
        """Take in what has come; return the objects that it completes.

        Raises ValueError if a line is too long, or is no JSON object.
        """
        *ends, rest = chunk.split(b"\n")
        lines = []
        for end in ends:
            lines.append(b"".join((*self._parts, end)))
            self._parts.clear()
        if ends:
            self._length = 0
        if rest:
            self._parts.append(rest)
            self._length += len(rest)
        if self._length > self._max_line:
            raise ValueError(f"a line of more than {self._max_line} bytes")
        return [_object(line) for line in lines if line.strip()]


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:  # bytes that are not UTF-8, too
        raise ValueError(f"a line that is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError("a line that is no JSON object")  # noqa: TRY004 - it came from outside
    return value
