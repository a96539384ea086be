"""Whole messages, read by ours, by h11 and by httptools: as they should be, and damaged.

All three must read a well-formed message alike. A damaged one may be refused; but what ours
accepts, h11 must read as the same message, and it must be that message still when it is sent on:
requests are smuggled where two parties read one message differently.

What ours accepts and h11 refuses, on purpose (`may_be_refused` knows it):

1. a target with bytes beyond ASCII: clients send unescaped UTF-8, and workers take it;
2. blanks between a chunk's size and its extension: RFC 9112, section 7.1.1, has them read;
3. framing fields in trailers: ours drops them unread, h11 checks their values;
4. status 101: h11 wants to have seen the request that asked for it.
"""

import re
from collections.abc import Callable

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from app.http1.bodies import chunk, last_chunk
from app.http1.errors import ProtocolError
from app.http1.fields import Head
from app.http1.requests import RequestHead, parse_request, read_request
from app.http1.responses import ResponseHead, parse_response, read_response
from tests.unit.http1.messages import BAD_LINES, HARMS, REQUESTS, RESPONSES, damaged
from tests.unit.http1.readers import (
    BODYLESS,
    ByHttptools,
    Fields,
    Message,
    by_h11,
    by_us,
    target_of,
)

unhurried = settings(deadline=None, derandomize=True)
NEXT = b"GET /next HTTP/1.1\r\nHost: next\r\n\r\n"

HOP_BY_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade"}
FRAMING = {b"transfer-encoding"}
TRAIL = {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-request-id"}
NOT_PASSED_ON = {
    True: HOP_BY_HOP | FRAMING,
    False: HOP_BY_HOP | FRAMING | TRAIL | {b"forwarded", b"http2-settings", b"expect"},
}
"""By whether it is a response. Worked out here once more, not taken from what is tested."""

NEVER_TRAILERS = {
    *(FRAMING | HOP_BY_HOP | TRAIL | {b"content-length"}),
    *(b"host", b"cookie", b"forwarded", b"expect", b"idempotency-key"),
}


def named_by(fields: Fields) -> set[bytes]:
    """Return the fields that Connection tells to remove."""
    options = b",".join(value.lower() for name, value in fields if name == b"connection")
    named = {option.strip(b"\t ") for option in options.split(b",")}
    return named - {b"host", b"content-length"}


def has_no_length(response: Message) -> bool:
    """Return whether a response's status forbids to state a length: RFC 9110, section 8.6."""
    status = response.start[0]
    assert isinstance(status, int)
    return status < 200 or status == 204


def respelled(fields: Fields) -> Fields:
    """Return the fields with a length that begins with zeros spelled plainly, as the last."""
    odd = [pair for pair in fields if pair[0] == b"content-length" and pair[1][:1] == b"0"]
    odd = [(name, value) for name, value in odd if len(value) > 1]
    plain = [(name, value.lstrip(b"0") or b"0") for name, value in odd]
    return [pair for pair in fields if pair not in odd] + plain


def compare(message: Message, theirs: Message, *, response: bool) -> None:
    """Check that another reader saw what ours saw."""
    assert message.start == theirs.start
    assert (message.length, message.chunked) == (theirs.length, theirs.chunked)
    target = theirs.start[1]
    assert isinstance(target, bytes)
    absolute = not response and not target.startswith((b"/", b"*"))
    outranked = {b"host"} if absolute else set()  # by the target's authority
    removed = NOT_PASSED_ON[response] | named_by(theirs.fields) | outranked
    if response and has_no_length(theirs):
        removed.add(b"content-length")
    fields = [pair for pair in message.fields if pair[0] not in outranked]
    assert fields == respelled([pair for pair in theirs.fields if pair[0] not in removed])
    assert message.body == theirs.body
    if message.complete:
        assert theirs.complete
        assert theirs.keep_alive in {None, message.keep_alive}
        removed = NEVER_TRAILERS | named_by(theirs.fields)
        assert message.trailers == [pair for pair in theirs.trailers if pair[0] not in removed]


# --- well formed


@settings(unhurried, max_examples=250)
@given(REQUESTS)
def test_requests_are_read_alike_by_all_three(stream: bytes) -> None:
    read = by_us(stream + NEXT)
    theirs = by_h11(stream + NEXT)
    assert read is not None
    assert theirs is not None
    message = read[1]
    compare(message, theirs, response=False)
    assert message.complete
    assert message.rest == theirs.rest == NEXT

    # Of what follows `Connection: close`, httptools makes an error.
    more = [b"/next"] if message.keep_alive else []
    parser = ByHttptools(stream + NEXT if more else stream)
    assert parser.error is None
    compare(message, parser.messages[0], response=False)
    assert [other.start[1] for other in parser.messages[1:]] == more


@settings(unhurried, max_examples=200)
@given(RESPONSES)
def test_responses_are_read_alike_by_all_three(stream: bytes) -> None:
    read = by_us(stream, response=True)
    theirs = by_h11(stream, response=True)
    assert read is not None
    assert theirs is not None
    message = read[1]
    compare(message, theirs, response=True)
    assert message.complete
    assert message.rest == theirs.rest == b""

    parser = ByHttptools(stream, response=True)
    assert parser.error is None
    parser.messages[0].complete = True  # it is not told of the connection's end
    compare(message, parser.messages[0], response=True)


# --- damaged


def may_be_refused(stream: bytes, message: Message) -> bool:
    """Return whether h11 may refuse what ours took; see the module's docstring."""
    behind = stream.partition(b"\r\n\r\n")[2]
    return (
        message.start[0] == 101
        or re.search(rb"[\x80-\xff]", target_of(stream)) is not None
        or re.search(rb"(?:^|\n)[0-9A-Fa-f]+[\t ]+;", behind) is not None
        or re.search(rb"(?i)\n(?:content-length|transfer-encoding):", behind) is not None
    )


def check(stream: bytes, *, response: bool) -> None:
    """Check that what ours accepts is the same to h11, as it came and as it is sent on."""
    try:
        read = by_us(stream, response=response)
    except ProtocolError:
        return
    if read is None:
        return
    head, message = read
    try:
        theirs = by_h11(stream, response=response)
    except h11.RemoteProtocolError:
        theirs = None
    if theirs is None or (theirs.refused and message.complete):
        assert may_be_refused(stream, message)
    else:
        if theirs.refused:  # ours waits for more, and will refuse it then
            theirs.body = message.body
        compare(message, theirs, response=response)
        assert message.rest == theirs.rest or not message.complete
    check_sent_on(head, message)


def check_sent_on(head: RequestHead | ResponseHead, message: Message) -> None:
    """Check that what ours accepted is one message, and the same one, to the next in the chain."""
    response = isinstance(head, ResponseHead)
    bodyless = without_length = False
    if isinstance(head, ResponseHead):
        sent = head.line
        bodyless, without_length = head.status in BODYLESS, has_no_length(message)
    else:
        sent = b"%b %b HTTP/1.1\r\n" % (head.method, head.target)
        sent += b"Host:\r\n" if head.host is None else b""
    sent += head.fields
    body = message.body
    if head.chunked:
        sent += b"Transfer-Encoding: chunked\r\n"
        lines = b"".join(b"%b: %b\r\n" % pair for pair in message.trailers)
        body = chunk(message.body) + last_chunk(lines)
    elif head.content_length is not None and not bodyless:
        body = body.ljust(head.content_length) if head.content_length < 1000 else body
    follows = message.complete and not response
    stream = sent + b"\r\n" + body + (NEXT if follows else b"")

    read = by_us(stream, response=response)
    assert read is not None
    again = read[1]
    assert [name for name, _ in again.fields if name in NOT_PASSED_ON[response]] == []
    length = None if without_length else head.content_length
    assert (again.length, again.chunked) == (length, head.chunked)
    stated = [value for name, value in again.fields if name == b"content-length"]
    assert stated == ([] if length is None else [b"%d" % length])
    if isinstance(head, ResponseHead):
        assert isinstance(read[0], ResponseHead)
        assert read[0].line == head.line
    assert read[0].fields.removeprefix(b"Host:\r\n") == head.fields.removeprefix(b"Host:\r\n")
    assert (again.body, again.trailers) == (message.body, message.trailers) or not message.complete
    assert again.rest == (NEXT if follows else again.rest)
    if not may_be_refused(stream, again):
        theirs = by_h11(stream, response=response)
        assert theirs is not None
        compare(again, theirs, response=response)
        assert theirs.rest == again.rest


@settings(unhurried, max_examples=1000)
@given(REQUESTS, HARMS)
def test_a_damaged_request_is_refused_or_read_as_h11_does(
    stream: bytes, harms: list[tuple[str, int, bytes, bytes]]
) -> None:
    check(damaged(stream, harms) + NEXT, response=False)


@settings(unhurried, max_examples=500)
@given(RESPONSES, HARMS)
def test_a_damaged_response_is_refused_or_read_as_h11_does(
    stream: bytes, harms: list[tuple[str, int, bytes, bytes]]
) -> None:
    check(damaged(stream, harms), response=True)


# --- from the front of what came


Reading = dict[str, object] | tuple[int, str]


def reading(read: Callable[[bytes], RequestHead | ResponseHead | None], raw: bytes) -> Reading:
    """Return all that a head says, nothing if there is none, or with which words it is refused."""
    try:
        head = read(raw)
    except ProtocolError as error:
        return error.status, error.detail
    slots = (*Head.__slots__, *type(head).__slots__) if head is not None else ()
    return {name: getattr(head, name) for name in slots}


def check_read(stream: bytes, *, response: bool) -> None:
    """Check that a head is the same, whether or not its end was looked for before."""
    parse = parse_response if response else parse_request
    read = reading(read_response if response else read_request, stream)
    whole, empty_line, _ = stream.partition(b"\r\n\r\n")
    parsed = reading(parse, whole + empty_line) if empty_line else {}
    if isinstance(parsed, tuple) and (parsed[0] == 505 or "malformed" in parsed[1]):
        assert read == {}  # only `parse_*` looks for the words
    else:
        assert read == parsed
        assert not read or isinstance(read, tuple) or read["size"] == len(whole + empty_line)


@settings(unhurried, max_examples=400)
@given(REQUESTS, st.just([]) | HARMS)
def test_a_request_is_read_from_the_front_as_it_is_alone(
    stream: bytes, harms: list[tuple[str, int, bytes, bytes]]
) -> None:
    check_read(damaged(stream, harms) + NEXT, response=False)


@settings(unhurried, max_examples=400)
@given(RESPONSES, st.just([]) | HARMS)
def test_a_response_is_read_from_the_front_as_it_is_alone(
    stream: bytes, harms: list[tuple[str, int, bytes, bytes]]
) -> None:
    check_read(damaged(stream, harms) + b"HTTP/1.1 200 OK\r\n\r\n", response=True)


# --- garbage

SCRAPS = st.sampled_from(
    [*(line + b"\r\n" for line in BAD_LINES), b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n"]
)
GARBAGE = st.lists(SCRAPS | st.binary(max_size=6), max_size=12).map(b"".join)


def complaint(raw: bytes, *, response: bool) -> ProtocolError | None:
    """Return what the parser has against these bytes."""
    try:
        parse_response(raw) if response else parse_request(raw)
    except ProtocolError as error:
        return error
    return None


@settings(unhurried, max_examples=500)
@given(GARBAGE, st.booleans())
def test_garbage_raises_nothing_but_protocol_errors(raw: bytes, response: bool) -> None:
    for ending in (b"", b"\r\n", b"\r\n\r\n"):
        error = complaint(raw + ending, response=response)
        if error is not None:
            assert error.status in {400, 417, 501, 505}
            assert error.detail.isascii()
            assert error.detail.isprintable()
