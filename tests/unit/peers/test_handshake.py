"""Two replicas meet, or one that is none tries to."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.peers import handshake, wire
from app.peers.handshake import MAGIC, NONCE, Caller, Handshake, Reached
from app.peers.messages import ProtocolError
from app.peers.record import Member

SECRET = b"a secret of this release"
ME = Member("uid-a.1", "pod-a", "uid-a", "10.0.0.1:9")
YOU = Member("uid-b.2", "pod-b", "uid-b", "[fd00::2]:9")
NONCES = (number.to_bytes(NONCE, "big") for number in count(1))


@contextmanager
def speaking(oldest: int, newest: int) -> Iterator[None]:
    """Let all that is read and said meanwhile be of a replica that speaks those versions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "VERSIONS", (oldest, newest))
        yield


def caller(secret: bytes = SECRET) -> Caller:
    return Caller(secret, ME, next(NONCES))


def reached(secret: bytes = SECRET) -> Reached:
    return Reached(secret, YOU, next(NONCES))


def meet(
    one: Caller, other: Reached, ones: tuple[int, int] = (1, 2), others: tuple[int, int] = (1, 2)
) -> list[bytes]:
    """Let both speak until both are done; return what was said."""
    with speaking(*others):
        said = [other.begin()]
    with speaking(*ones):
        assert one.begin() == b""
        said.append(one.feed(said[0]))
    with speaking(*others):
        said.append(other.feed(said[1]))
    with speaking(*ones):
        assert one.feed(said[2]) == b""
    assert one.done
    assert other.done
    return said


def test_both_know_each_other_afterwards_and_speak_the_newest_version() -> None:
    one, other = caller(), reached()
    said = meet(one, other)
    assert (one.version, other.version) == (2, 2)
    assert (one.member_id, other.member_id, other.member) == (YOU.id, ME.id, ME)
    assert not any(SECRET in part for part in said)
    assert said[0].startswith(MAGIC)


@pytest.mark.parametrize(
    ("ones", "others", "version"),
    [((1, 2), (1, 1), 1), ((1, 1), (1, 2), 1), ((1, 2), (2, 3), 2), ((2, 3), (1, 2), 2)],
)
def test_an_upgrade_goes_by_the_version_that_both_speak(
    ones: tuple[int, int], others: tuple[int, int], version: int
) -> None:
    one, other = caller(), reached()
    meet(one, other, ones, others)
    assert (one.version, other.version) == (version, version)


@pytest.mark.parametrize(("ones", "others"), [((1, 1), (2, 3)), ((3, 4), (1, 2))])
def test_two_that_have_no_version_in_common_part(
    ones: tuple[int, int], others: tuple[int, int]
) -> None:
    with pytest.raises(ProtocolError, match="it speaks versions"):
        meet(caller(), reached(), ones, others)


def test_the_one_that_was_reached_refuses_a_version_that_it_does_not_speak_by_itself() -> None:
    one, other = caller(), reached()
    first = other.begin()
    with speaking(1, 2):
        second = one.feed(first)
    with speaking(3, 4), pytest.raises(ProtocolError, match="this replica 3 to 4"):
        other.feed(second)


@pytest.mark.parametrize(("ones", "others"), [(b"another", SECRET), (SECRET, b"another")])
def test_who_does_not_know_the_secret_is_refused(ones: bytes, others: bytes) -> None:
    other = reached(others)
    with pytest.raises(ProtocolError, match="does not know the secret"):
        meet(caller(ones), other)
    assert not other.done


def test_a_false_replica_that_is_reached_is_refused_too() -> None:
    one, false = caller(), reached(b"another")
    second = one.feed(false.begin())
    false._secret, honest = SECRET, second
    third = bytearray(false.feed(honest))
    third[1] ^= 1  # one bit of the proof
    with pytest.raises(ProtocolError, match="does not know the secret"):
        one.feed(bytes(third))
    assert not one.done


def test_what_was_overheard_serves_nobody_a_second_time() -> None:
    first, second, third = meet(caller(), reached())
    other = reached()
    other.begin()
    with pytest.raises(ProtocolError, match="does not know the secret"):
        other.feed(second)
    one = caller()
    one.feed(first)
    with pytest.raises(ProtocolError, match="does not know the secret"):
        one.feed(third)


def test_nobody_between_them_talks_them_down_to_an_older_version() -> None:
    one, other = caller(), reached()
    first = bytearray(other.begin())
    first[len(MAGIC) + 1] = 1  # the newest that it speaks
    with pytest.raises(ProtocolError, match="does not know the secret"):
        other.feed(one.feed(bytes(first)))


def test_a_proof_cannot_be_sent_back_to_its_maker() -> None:
    """One that calls and is called at once must not be played against itself."""
    victim, mirrored = reached(), caller()
    challenge = victim.begin()
    answer = mirrored.feed(challenge)  # by the victim itself, as a caller
    third = victim.feed(answer)
    other = reached()
    other.begin()
    with pytest.raises(ProtocolError):
        other.feed(answer)
    with pytest.raises(ProtocolError):
        caller().feed(third)


def test_who_it_says_it_is_is_part_of_the_proof() -> None:
    one, other = caller(), reached()
    second = one.feed(other.begin())
    with pytest.raises(ProtocolError, match="does not know the secret"):
        other.feed(second.replace(b"uid-a.1", b"uid-a.9"))


@pytest.mark.parametrize("said", [b"[]", b"7", b"{}", b'{"id": "x"}', b"\xff", b"{"])
def test_one_that_knows_the_secret_and_says_nonsense_is_refused(said: bytes) -> None:
    one, other = caller(), reached()
    first = other.begin()
    one.feed(first)
    proof = one._prove(b"caller", other._nonce, one._nonce, bytes([1, 2, 1, 2]), said)
    with pytest.raises(ProtocolError, match="a handshake that is none"):
        other.feed(handshake._SECOND.pack(1, 2, one._nonce, proof, len(said)) + said)


@given(cuts=st.sets(st.integers(1, 250)))
@settings(max_examples=60, derandomize=True, deadline=None)
def test_it_may_come_in_pieces_and_what_follows_is_kept(cuts: set[int]) -> None:
    def feed(to: Handshake, data: bytes) -> bytes:
        answer, at = b"", 0
        for cut in [*sorted(cut for cut in cuts if cut < len(data)), len(data)]:
            if to.done:
                return answer + to.rest * 0
            answer += to.feed(data[at:cut])
            at = cut
        return answer

    one, other = caller(), reached()
    second = feed(one, other.begin())
    third = feed(other, second)
    assert other.done
    assert one.feed(third[:7]) == b""
    one.feed(third[7:] + b"and a message")
    assert (one.done, one.rest) == (True, b"and a message")


@pytest.mark.parametrize("kind", [Caller, Reached])
@given(data=st.binary(min_size=1, max_size=300), pieces=st.integers(1, 5))
@settings(max_examples=150, derandomize=True, deadline=None)
def test_garbage_is_refused_or_waits_for_more(
    kind: type[Handshake], data: bytes, pieces: int
) -> None:
    side = kind(SECRET, ME, bytes(NONCE))
    try:
        for _ in range(pieces):
            side.feed(data)
    except ProtocolError:
        pass
    assert not side.done


def test_one_that_never_ends_is_refused() -> None:
    side = reached()
    side.begin()
    side.feed(b"\x01\x02" + bytes(NONCE + 32) + b"\xff\xff")
    for _ in range(4):
        assert side.feed(bytes(1000)) == b""
    with pytest.raises(ProtocolError, match="without an end"):
        side.feed(bytes(1000))


def test_a_stranger_on_the_port_is_told_from_a_replica() -> None:
    with pytest.raises(ProtocolError, match="no replica's peer port"):
        caller().feed(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(20))
