"""A connection's bytes, good or damaged, mean the same however they are cut: the proxy's way.

The loop here is that of `app.proxy.downstream`: heads are searched from where the search before
ended, bodies are fed piece by piece, and what lies behind a body begins the next request.
"""

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from app.http1.bodies import ChunkedDecoder, Decoder, LengthDecoder
from app.http1.errors import ProtocolError
from app.http1.fields import head_end
from app.http1.requests import parse_request
from tests.unit.http1.messages import HARMS, REQUESTS, damaged

LIMIT = 1 << 16
SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=8)
Seen = tuple[bytes, bytes, bytes, bytes]

unhurried = settings(deadline=None, derandomize=True)


class Reader:
    """Reads request after request, up to the first that is refused."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        """Of each request: method, target, body, trailers."""

        self.refused: int | None = None
        self._held = b""
        self._decoder: Decoder | None = None
        self._body = b""
        self._start = (b"", b"")

    def feed(self, data: bytes) -> None:
        try:
            while data and self.refused is None:
                data = self._feed(data)
        except ProtocolError as error:
            self.refused = error.status  # its words may tell of what came first

    def _feed(self, data: bytes) -> bytes:
        if self._decoder is None:
            searched, data, self._held = len(self._held), self._held + data, b""
            end = head_end(data, LIMIT, searched)
            if end < 0:
                self._held = data
                return b""
            head = parse_request(data[:end])
            self._start = head.method, head.target
            length = head.content_length or 0
            self._decoder = ChunkedDecoder() if head.chunked else LengthDecoder(length)
            data = data[end:]
        payload, rest = self._decoder.feed(data)
        self._body += payload
        if self._decoder.done:
            trailers = getattr(self._decoder, "trailers", b"")
            self.seen.append((*self._start, self._body, trailers))
            self._decoder, self._body = None, b""
        return rest


def read(parts: Iterable[bytes]) -> tuple[list[Seen], int | None, bytes]:
    """Return the requests, how the next was refused, and what there is of the body under way."""
    reader = Reader()
    for part in parts:
        reader.feed(part)
    return reader.seen, reader.refused, b"" if reader.refused else reader._body


def cut(stream: bytes, sizes: list[int]) -> Iterable[bytes]:
    """Cut into pieces of these sizes, again and again."""
    number = 0
    while stream:
        size = sizes[number % len(sizes)]
        yield stream[:size]
        stream, number = stream[size:], number + 1


@settings(unhurried, max_examples=600)
@given(st.lists(REQUESTS, min_size=1, max_size=3), HARMS, SIZES)
def test_damaged_requests_in_a_row_are_read_alike_in_any_split(
    requests: list[bytes], harms: list[tuple[str, int, bytes, bytes]], sizes: list[int]
) -> None:
    stream = damaged(b"".join(requests), harms)
    whole = read([stream])
    assert read(cut(stream, sizes)) == whole
    assert read(cut(stream, [1])) == whole


@settings(unhurried, max_examples=200)
@given(st.lists(REQUESTS, min_size=1, max_size=4), SIZES)
def test_requests_in_a_row_are_all_read_to_their_end(
    requests: list[bytes], sizes: list[int]
) -> None:
    seen, refused, unfinished = read(cut(b"".join(requests), sizes))
    assert (len(seen), refused, unfinished) == (len(requests), None, b"")
