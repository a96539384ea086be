"""How the replicas' messages stand on the wire.

A message is a length (4 bytes), a code (1) and its fields, little-endian; texts are UTF-8, with
their length before them where something follows.

Two versions are spoken, so that a release can change the protocol while old and new replicas run
beside each other:

| version | |
|---|---|
| 1 | all of `messages`, a release without its detail |
| 2 | a release says what was seen, for people |

Before 0.1.0 the format may change without a new number.

The handshake that chooses the version is in `handshake`. Whatever cannot be read is a
`ProtocolError`, which ends the connection that it came on.
"""

from collections.abc import Callable, Iterator
from math import isnan, nan
from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception
from typing import Any, Final

from app.balancing.errors import NoEndpoint, QueueFull, QueueTimeout, Refusal
from app.balancing.health import Sign
from app.balancing.lease import Outcome
from app.peers.messages import (
    Acquire,
    Alive,
    Cancel,
    ForgetNames,
    Goodbye,
    Grant,
    Handover,
    Held,
    Higher,
    Leaving,
    Message,
    NameEndpoint,
    NamePool,
    Observed,
    Promise,
    ProtocolError,
    Refuse,
    Release,
    Reported,
    Term,
    Unbound,
    View,
)
from app.peers.record import MOST_TERM

VERSIONS: Final = (1, 2)
"""The oldest and the newest that are spoken."""

DETAILS_SINCE: Final = 2
MAX_LENGTH: Final = 4 * 1024 * 1024
"""Longest message, in bytes."""

_HEADER: Final = Struct("<IB")
_OUTCOMES: Final = tuple(Outcome)
_OUTCOME_NUMBERS: Final = {outcome: number for number, outcome in enumerate(_OUTCOMES)}
_SIGNS: Final = tuple(Sign)
_SIGN_NUMBERS: Final = {sign: number for number, sign in enumerate(_SIGNS)}
_REFUSALS: Final[tuple[type[Refusal], ...]] = (QueueFull, QueueTimeout, NoEndpoint)
_REFUSAL_NUMBERS: Final = {refusal: number for number, refusal in enumerate(_REFUSALS)}

_ASK: Final = Struct("<Q")
_HELD: Final = Struct("<QHf")
_ACQUIRE: Final = Struct("<QHBfffH")
_RELEASE: Final = Struct("<QBf")
_GRANT: Final = Struct("<QH")
_NUMBER: Final = Struct("<I")
_PROMISE: Final = Struct("<IB")
_ENDPOINT: Final = Struct("<HHH")
_OBSERVED: Final = Struct("<HB")
_REFUSE: Final = Struct("<QB")
_SHORT: Final = Struct("<H")
_GRANT_WHOLE: Final = Struct("<IBQH")
_GRANT_CODE: Final = 14


def encode(message: Message, version: int) -> bytes:
    """Put a message on the wire."""
    if type(message) is Grant:  # most of what is said, and short
        return _GRANT_WHOLE.pack(_GRANT.size, _GRANT_CODE, message.ask, message.endpoint)
    code, write = _WRITERS[type(message)]
    payload = write(message, version)
    return _HEADER.pack(len(payload), code) + payload


class Decoder:
    """Reads what one peer sends."""

    def __init__(self, version: int) -> None:
        self._version = version
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Message]:
        """Take in some bytes; yield the messages that are whole. Raises `ProtocolError`."""
        data = self._rest + data if self._rest else data
        at, end = 0, len(data)
        while end - at >= _HEADER.size:
            length, code = _HEADER.unpack_from(data, at)
            if length > MAX_LENGTH:
                raise ProtocolError(f"a message of {length} bytes")
            begin = at + _HEADER.size
            if end - begin < length:
                break
            at = begin + length
            read = _READERS.get(code)
            if read is None:
                raise ProtocolError(f"a message of unknown kind, {code}")
            try:
                message = read(data[begin:at], self._version)
            except (StructError, IndexError, ValueError) as error:
                raise ProtocolError(f"a message of kind {code} that is none: {error}") from error
            yield message
        self._rest = data[at:]


# --- each message's fields


def _text(text: str) -> bytes:
    data = text.encode()
    return _NUMBER.pack(len(data)) + data


def _texts(data: bytes, at: int, count: int) -> list[str]:
    """Read so many texts, the last of which ends the message."""
    texts = []
    for _ in range(count):
        (length,) = _NUMBER.unpack_from(data, at)
        at += _NUMBER.size + length
        if at > len(data):
            raise ValueError("a text that is cut off")
        texts.append(data[at - length : at].decode())
    if at != len(data):
        raise ValueError("more than it should be")
    return texts


def _write_acquire(m: Acquire, _version: int) -> bytes:
    head = _ACQUIRE.pack(
        m.ask, m.pool, m.retried, m.age, m.patience, m.expires, len(m.tried)
    )  # fmt: skip
    return head + Struct(f"<{len(m.tried)}H").pack(*m.tried) if m.tried else head


def _read_acquire(data: bytes, _version: int) -> Acquire:
    ask, pool, retried, age, patience, expires, count = _ACQUIRE.unpack_from(data)
    tried: tuple[int, ...] = ()
    if count or len(data) != _ACQUIRE.size:
        tried = Struct(f"<{count}H").unpack(data[_ACQUIRE.size :])
    if isnan(age + patience + expires):
        raise ValueError("a time that is none")
    return Acquire(ask, pool, bool(retried), age, patience, expires, tried)


def _write_release(m: Release, version: int) -> bytes:
    after = nan if m.retry_after is None else m.retry_after
    head = _RELEASE.pack(m.ask, _OUTCOME_NUMBERS[m.outcome], after)
    return head + m.detail.encode() if version >= DETAILS_SINCE else head


def _read_release(data: bytes, version: int) -> Release:
    ask, outcome, after = _RELEASE.unpack_from(data)
    detail = data[_RELEASE.size :].decode()
    if detail and version < DETAILS_SINCE:
        raise ValueError("more than it should be")
    return Release(ask, _OUTCOMES[outcome], None if isnan(after) else after, detail)


def _read_held(data: bytes, _version: int) -> Held:
    held = Held(*_HELD.unpack(data))
    if isnan(held.expires):
        raise ValueError("a time that is none")
    return held


def _read_observed(data: bytes, _version: int) -> Observed:
    endpoint, sign = _OBSERVED.unpack_from(data)
    return Observed(endpoint, _SIGNS[sign], data[_OBSERVED.size :].decode())


def _read_endpoint(data: bytes, _version: int) -> NameEndpoint:
    number, pool, port = _ENDPOINT.unpack_from(data)
    identity, host, name = _texts(data, _ENDPOINT.size, 3)
    return NameEndpoint(number, pool, identity, host, port, name)


def _read_pool(data: bytes, _version: int) -> NamePool:
    (number,) = _SHORT.unpack_from(data)
    return NamePool(number, *_texts(data, _SHORT.size, 1))


def _term(data: bytes) -> int:
    (term,) = _NUMBER.unpack(data)
    if term > MOST_TERM:
        raise ValueError(f"a term of {term}")
    return int(term)


def _read_promise(data: bytes, _version: int) -> Promise:
    term, leaving = _PROMISE.unpack(data)
    return Promise(term, bool(leaving))


def _read_refuse(data: bytes, _version: int) -> Refuse:
    ask, number = _REFUSE.unpack(data)
    return Refuse(ask, _REFUSALS[number])


def _nothing(kind: Callable[[], Message]) -> Callable[[bytes, int], Message]:
    def read(data: bytes, _version: int) -> Message:
        if data:
            raise ValueError("more than it should be")
        return kind()

    return read


_Writer = Callable[[Any, int], bytes]
_WRITERS: Final[dict[type[Message], tuple[int, _Writer]]] = {
    NamePool: (1, lambda m, _: _SHORT.pack(m.number) + _text(m.name)),
    NameEndpoint: (
        2,
        lambda m, _: _ENDPOINT.pack(m.number, m.pool, m.port)
        + b"".join(map(_text, (m.identity, m.host, m.name))),
    ),
    ForgetNames: (3, lambda _m, _: b""),
    Term: (4, lambda m, _: _NUMBER.pack(m.term)),
    Higher: (5, lambda m, _: _NUMBER.pack(m.term)),
    Promise: (6, lambda m, _: _PROMISE.pack(m.term, m.leaving)),
    Held: (7, lambda m, _: _HELD.pack(*m)),
    Reported: (8, lambda _m, _: b""),
    Acquire: (9, _write_acquire),
    Cancel: (10, lambda m, _: _ASK.pack(m.ask)),
    Release: (11, _write_release),
    Unbound: (12, lambda m, _: _ASK.pack(m.ask)),
    Observed: (
        13, lambda m, _: _OBSERVED.pack(m.endpoint, _SIGN_NUMBERS[m.sign]) + m.detail.encode()
    ),
    Refuse: (15, lambda m, _: _REFUSE.pack(m.ask, _REFUSAL_NUMBERS[m.refusal])),
    Alive: (16, lambda m, _: _text(m.renewed)),
    Handover: (17, lambda _m, _: b""),
    Leaving: (18, lambda _m, _: b""),
    Goodbye: (19, lambda _m, _: b""),
    View: (20, lambda m, _: _text(m.text)),
}  # fmt: skip

_READERS: Final[dict[int, Callable[[bytes, int], Message]]] = {
    1: _read_pool,
    2: _read_endpoint,
    3: _nothing(ForgetNames),
    4: lambda data, _: Term(_term(data)),
    5: lambda data, _: Higher(_term(data)),
    6: _read_promise,
    7: _read_held,
    8: _nothing(Reported),
    9: _read_acquire,
    10: lambda data, _: Cancel(*_ASK.unpack(data)),
    11: _read_release,
    12: lambda data, _: Unbound(*_ASK.unpack(data)),
    13: _read_observed,
    _GRANT_CODE: lambda data, _: Grant(*_GRANT.unpack(data)),
    15: _read_refuse,
    16: lambda data, _: Alive(*_texts(data, 0, 1)),
    17: _nothing(Handover),
    18: _nothing(Leaving),
    19: _nothing(Goodbye),
    20: lambda data, _: View(*_texts(data, 0, 1)),
}
