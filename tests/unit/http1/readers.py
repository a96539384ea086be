"""One message, read by ours as the proxy does, by h11, and by httptools."""

from dataclasses import dataclass, field

import h11
import httptools

from app.http1.bodies import ChunkedDecoder, CloseDecoder, Decoder, LengthDecoder
from app.http1.fields import head_end, without
from app.http1.requests import RequestHead, parse_request
from app.http1.responses import ResponseHead, parse_response

LIMIT = 1 << 16
BODYLESS = {*range(100, 200), 204, 304}
Fields = list[tuple[bytes, bytes]]


@dataclass
class Message:
    """What a reader saw. Names of fields are in lower case."""

    start: tuple[bytes | int, ...]
    """Method and target, or status and reason; and the version's last digit."""

    fields: Fields
    length: int | None = None
    chunked: bool = False
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    complete: bool = False
    rest: bytes = b""
    keep_alive: bool | None = None
    """None if the reader cannot be asked."""

    refused: bool = False
    """Whether its body was refused, or cut off."""

    def frame(self) -> None:
        """Find out the framing by its fields."""
        lengths = [int(value) for name, value in self.fields if name == b"content-length"]
        self.length = lengths[0] if lengths else None
        self.chunked = any(name == b"transfer-encoding" for name, _ in self.fields)


def pairs(lines: bytes) -> Fields:
    """Take field lines apart: a second, plainer reading than ours."""
    split = (line.partition(b":") for line in lines.split(b"\r\n")[:-1])
    return [(name.lower(), value.strip(b"\t ")) for name, _, value in split]


def by_us(
    stream: bytes, *, response: bool = False
) -> tuple[RequestHead | ResponseHead, Message] | None:
    """Read the stream's first message; None if its head is not complete.

    A response's stream ends with the connection. Raises `ProtocolError`.
    """
    end = head_end(stream, LIMIT)
    if end < 0:
        return None
    head: RequestHead | ResponseHead
    if response:
        head = parse_response(stream[:end])
        start: tuple[bytes | int, ...] = (head.status, head.line[13:-2], head.minor)
    else:
        head = parse_request(stream[:end])
        start = (head.method, target_of(stream), head.minor)
    message = Message(start, pairs(head.fields), head.content_length, head.chunked)
    message.keep_alive = head.keep_alive
    decoder: Decoder
    if start[0] in BODYLESS:
        decoder = LengthDecoder(0)
    elif head.chunked:
        decoder = ChunkedDecoder()
    elif head.content_length is not None or not response:
        decoder = LengthDecoder(head.content_length or 0)
    else:
        decoder = CloseDecoder()
        message.keep_alive = False
    message.body, message.rest = decoder.feed(stream[end:])
    message.complete = decoder.eof() if response else decoder.done
    if isinstance(decoder, ChunkedDecoder):
        message.trailers = pairs(without(decoder.trailers, head.named))
    return head, message


def target_of(stream: bytes) -> bytes:
    """Return a request's target as it came: ours has turned the absolute form into a path."""
    return stream.split(b" ", 2)[1]


def by_h11(stream: bytes, *, response: bool = False) -> Message | None:
    """Read the stream's first message; None if its head is not complete.

    Raises `h11.RemoteProtocolError` for a head that is refused.
    """
    connection = h11.Connection(h11.CLIENT if response else h11.SERVER, LIMIT)
    if response:
        connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
        connection.send(h11.EndOfMessage())
    connection.receive_data(stream)
    if response and stream:
        connection.receive_data(b"")
    head = connection.next_event()
    if not isinstance(head, h11.Request | h11.InformationalResponse | h11.Response):
        return None
    version = int(head.http_version[2:])
    if isinstance(head, h11.Request):
        message = Message((head.method, head.target, version), list(head.headers))
    else:
        message = Message((head.status_code, head.reason, version), list(head.headers))
    message.frame()
    if isinstance(head, h11.InformationalResponse):
        message.complete = True
    else:
        _read_body(connection, message)
    message.rest = connection.trailing_data[0]
    framed = message.length is not None or message.chunked or not response
    if framed and version == 1 and connection.their_state in {h11.DONE, h11.MUST_CLOSE}:
        message.keep_alive = connection.their_state is h11.DONE
    return message


def _read_body(connection: h11.Connection, message: Message) -> None:
    """Read a body with h11."""
    while not message.complete:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            message.refused = True
            return
        if isinstance(event, h11.Data):
            message.body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            message.trailers = list(event.headers)
            message.complete = True
        else:
            return


class ByHttptools:
    """All messages of the stream. Raises what httptools does."""

    def __init__(self, stream: bytes, *, response: bool = False) -> None:
        self.messages: list[Message] = []
        self._in_body = False
        self._parser: httptools.HttpRequestParser | httptools.HttpResponseParser
        kind = httptools.HttpResponseParser if response else httptools.HttpRequestParser
        self._parser = kind(self)
        self.error: Exception | None = None
        try:
            self._parser.feed_data(stream)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.error = error

    def on_message_begin(self) -> None:
        self.messages.append(Message((), []))
        self._in_body = False

    def on_url(self, url: bytes) -> None:
        self.messages[-1].start += (url,)

    def on_status(self, status: bytes) -> None:
        self.messages[-1].start += (status,)

    def on_header(self, name: bytes, value: bytes) -> None:
        last = self.messages[-1]
        (last.trailers if self._in_body else last.fields).append((name.lower(), value.strip()))

    def on_headers_complete(self) -> None:
        last, parser = self.messages[-1], self._parser
        if isinstance(parser, httptools.HttpRequestParser):
            last.start = (parser.get_method(), *last.start)
        else:
            last.start = (parser.get_status_code(), *last.start)
        last.start += (int(parser.get_http_version()[-1]),)
        last.keep_alive = parser.should_keep_alive()
        last.frame()
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        self.messages[-1].body += body

    def on_message_complete(self) -> None:
        self.messages[-1].complete = True
