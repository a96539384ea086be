"""What the replicas say, on the wire: it comes as it was said, in any pieces, or is an error."""

from math import inf, isnan, nan
from struct import pack
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.balancing.errors import NoEndpoint, QueueFull, QueueTimeout
from app.balancing.health import Sign
from app.balancing.lease import Outcome
from app.peers import messages, wire
from app.peers.messages import Message, ProtocolError
from app.peers.record import MOST_TERM
from app.peers.wire import Decoder, encode
from tests.unit.peers.said import Said

ASKS = st.integers(0, 2**64 - 1)
NUMBERS = st.integers(0, 2**16 - 1)
TERMS = st.integers(0, MOST_TERM)
TIMES = st.floats(width=32, allow_nan=False)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False, max_value=1e9, min_value=-1e9)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(messages.NamePool, NUMBERS, TEXTS),
    st.builds(messages.NameEndpoint, NUMBERS, NUMBERS, TEXTS, TEXTS, NUMBERS, TEXTS),
    st.builds(messages.ForgetNames),
    st.builds(messages.Term, TERMS),
    st.builds(messages.Higher, TERMS),
    st.builds(messages.Promise, TERMS, st.booleans()),
    st.builds(messages.Held, ASKS, NUMBERS, TIMES),
    st.builds(messages.Reported),
    st.builds(
        messages.Acquire, ASKS, NUMBERS, st.booleans(), FINITE, FINITE, st.just(inf) | FINITE,
        st.lists(NUMBERS, max_size=3).map(tuple),
    ),
    st.builds(messages.Cancel, ASKS),
    st.builds(messages.Release, ASKS, st.sampled_from(Outcome), st.none() | TIMES, TEXTS),
    st.builds(messages.Unbound, ASKS),
    st.builds(messages.Observed, NUMBERS, st.sampled_from(Sign), TEXTS),
    st.builds(messages.Grant, ASKS, NUMBERS),
    st.builds(messages.Refuse, ASKS, st.sampled_from([QueueFull, QueueTimeout, NoEndpoint])),
    st.builds(messages.Alive, TEXTS),
    st.just(messages.Handover()),
    st.builds(messages.Leaving),
    st.builds(messages.Goodbye),
    st.builds(messages.View, TEXTS),
)  # fmt: skip
VERSIONS = st.integers(*wire.VERSIONS)


def as_spoken(message: Message, version: int) -> Message:
    """What arrives of a message in that version."""
    if version < wire.DETAILS_SINCE and isinstance(message, messages.Release):
        return message._replace(detail="")
    return message


def test_every_kind_of_message_is_played_with() -> None:
    seen: set[type[Any]] = set()

    @given(st.lists(MESSAGES, min_size=9))
    @settings(max_examples=60, derandomize=True, database=None)
    def play(said: list[Message]) -> None:
        seen.update(map(type, said))

    play()
    assert seen == set(messages.Message.__args__)


@given(said=st.lists(MESSAGES, max_size=8), version=VERSIONS, cuts=st.sets(st.integers(0, 400)))
@settings(max_examples=150, derandomize=True, deadline=None)
def test_messages_arrive_as_they_were_said_however_they_are_cut(
    said: list[Message], version: int, cuts: set[int]
) -> None:
    data = b"".join(encode(message, version) for message in said)
    decoder, at = Decoder(version), 0
    came: list[Message] = []
    for cut in [*sorted(cut for cut in cuts if cut < len(data)), len(data)]:
        came += decoder.feed(data[at:cut])
        at = cut
    assert came == [as_spoken(message, version) for message in said]


@given(said=st.lists(MESSAGES, min_size=1, max_size=3), version=VERSIONS)
@settings(max_examples=30, derandomize=True, deadline=None)
def test_every_prefix_is_the_messages_that_are_whole(said: list[Message], version: int) -> None:
    encoded = [encode(message, version) for message in said]
    data = b"".join(encoded)
    for length in range(len(data) + 1):
        whole = sum(len(b"".join(encoded[: n + 1])) <= length for n in range(len(said)))
        decoder = Decoder(version)
        came = list(decoder.feed(data[:length]))
        assert came == [as_spoken(message, version) for message in said[:whole]]
        came += decoder.feed(data[length:])
        assert len(came) == len(said)


@given(
    message=MESSAGES,
    version=VERSIONS,
    damage=st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=4),
    grown=st.binary(max_size=6),
    shrunk=st.integers(0, 6),
)
@settings(max_examples=500, derandomize=True, deadline=None)
def test_damage_makes_an_error_or_other_messages_and_nothing_else(
    message: Message,
    version: int,
    damage: list[tuple[int, int]],
    grown: bytes,
    shrunk: int,
) -> None:
    payload = bytearray(encode(message, version)[5:])
    payload = payload[: max(0, len(payload) - shrunk)] + grown
    code = encode(message, version)[4]
    data = bytearray(pack("<IB", len(payload), code) + payload)
    for at, value in damage:
        if 4 <= at < len(data):
            data[at] = value
    try:
        came = list(Decoder(version).feed(bytes(data)))
    except ProtocolError:
        return
    assert len(came) == 1
    again = encode(came[0], version)
    assert list(Decoder(version).feed(again)) == came


@given(data=st.binary(max_size=60), version=VERSIONS)
@example(data=b"\xff" * 60, version=2)
@settings(max_examples=500, derandomize=True, deadline=None)
def test_noise_makes_an_error_or_other_messages(data: bytes, version: int) -> None:
    decoder = Decoder(version)
    try:
        for message in decoder.feed(data):
            assert isinstance(message, tuple)
    except ProtocolError:
        pass


@pytest.mark.parametrize("version", [1, 2])
def test_a_message_that_is_too_long_is_refused_before_it_has_come(version: int) -> None:
    with pytest.raises(ProtocolError, match="4194305 bytes"):
        list(Decoder(version).feed(pack("<IB", wire.MAX_LENGTH + 1, 20)))


@pytest.mark.parametrize("code", [0, 21, 255])
def test_a_kind_that_nobody_knows_is_refused(code: int) -> None:
    with pytest.raises(ProtocolError, match="unknown kind"):
        list(Decoder(2).feed(pack("<IB", 0, code)))


def test_the_first_version_has_no_detail() -> None:
    said = messages.Release(7, Outcome.DIED, 1.5, "reset")
    assert len(encode(said, 2)) - len(encode(said, 1)) == len("reset")
    with pytest.raises(ProtocolError, match="more than it should be"):
        list(Decoder(1).feed(encode(said, 2)))


FINE = messages.Acquire(1, 2, False, 0.0, 1.0, inf, ())


@pytest.mark.parametrize(
    "message",
    [
        FINE._replace(age=nan),
        FINE._replace(patience=nan),
        FINE._replace(expires=nan),
        messages.Held(1, 2, nan),
    ],
)
def test_a_time_that_is_none_is_refused(message: Message) -> None:
    assert list(Decoder(2).feed(encode(FINE, 2))) == [FINE]
    with pytest.raises(ProtocolError, match="a time that is none"):
        list(Decoder(2).feed(encode(message, 2)))


@pytest.mark.parametrize("kind", [messages.Term, messages.Higher])
def test_a_term_that_has_no_successor_is_refused(kind: type[messages.Term]) -> None:
    assert list(Decoder(2).feed(encode(kind(MOST_TERM), 2))) == [kind(MOST_TERM)]
    with pytest.raises(ProtocolError, match="a term of"):
        list(Decoder(2).feed(encode(kind(MOST_TERM + 1), 2)))


def test_a_release_without_an_afterwards_has_none() -> None:
    (came,) = Decoder(2).feed(encode(messages.Release(1, Outcome.REFUSED, None, ""), 2))
    assert isinstance(came, messages.Release)
    assert came.retry_after is None
    assert not isnan(came.ask)


# --- names


def test_names_are_said_once_and_again_when_they_change() -> None:
    said = Said()
    names, named = said.names(), said.named
    a = said.endpoint("a")
    first = names.endpoint("pool", a)
    assert names.endpoint("pool", a) == first
    assert [type(m) for m in said.heard()] == [messages.NamePool, messages.NameEndpoint]
    assert named.endpoint(first) == ("pool", a.spec)
    a.spec = said.endpoint("a", host="10.0.0.2").spec
    second = names.endpoint("pool", a)
    said.heard()
    assert (second != first, named.endpoint(second)[1].host) == (True, "10.0.0.2")
    assert named.pool(names.pool("pool")) == "pool"


def test_numbers_that_run_out_are_given_anew() -> None:
    said = Said()
    names = said.names()
    for number in range(messages.MAX_NAMED // 2 + 1):
        names.pool(f"{number}a")
        names.pool(f"{number}b")
        names.refresh()
    heard = said.heard()
    assert heard.count(messages.ForgetNames()) == 1
    assert names.pool("0a") < 9
    said.heard()
    assert said.named.pool(names.pool("0a")) == "0a"
    with pytest.raises(ProtocolError):
        said.named.pool(messages.MAX_NAMED)


@pytest.mark.parametrize("number", [0, 9])
def test_a_number_without_a_name_is_an_error(number: int) -> None:
    said = Said()
    with pytest.raises(ProtocolError, match=f"pool {number} has no name"):
        said.named.pool(number)
    with pytest.raises(ProtocolError, match=f"endpoint {number} has no name"):
        said.named.endpoint(number)
    with pytest.raises(ProtocolError, match="pool 3 has no name"):
        said.named.take(messages.NameEndpoint(1, 3, "a", "10.0.0.1", 80, "a"))
