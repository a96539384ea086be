"""What stands in the Lease: it is read as it was written, and what nobody wrote is an error."""

import json
from datetime import UTC, datetime
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.peers.record import (
    MEMBERS,
    MOST_BOOKS,
    MOST_TERM,
    YIELDED_WITH,
    Held,
    Member,
    Record,
    RecordError,
    read,
    sum_up,
    write,
)

NOW = datetime(2026, 11, 26, 12, 0, 0, 123456, tzinfo=UTC)
LATER = datetime(2026, 11, 26, 12, 0, 1, tzinfo=UTC)
TEXTS = st.text(max_size=12)
TIMES = st.lists(st.none() | st.integers(0, 99), max_size=3).map(tuple)
HELD = st.dictionaries(TEXTS, st.dictionaries(TEXTS, TIMES, max_size=2), max_size=2)
BOOKS = st.dictionaries(TEXTS, HELD, max_size=3)
MEMBERS_OF = st.lists(st.builds(Member, TEXTS, TEXTS, TEXTS, TEXTS), max_size=4).map(tuple)
A, B, C = (Member(f"{u}.{n}", f"pod-{u}", u, f"{u}:1") for u, n in (("a", 1), ("b", 2), ("a", 3)))


def stored(lease: dict[str, Any], version: str = "7") -> dict[str, Any]:
    """Return it as the API gives it back."""
    return lease | {"metadata": lease["metadata"] | {"resourceVersion": version, "uid": "u"}}


@given(term=st.integers(0, MOST_TERM), holder=TEXTS, members=MEMBERS_OF, books=st.none() | BOOKS)
@settings(max_examples=200, derandomize=True, deadline=None)
def test_it_is_read_as_it_was_written(
    term: int, holder: str, members: tuple[Member, ...], books: dict[str, Held] | None
) -> None:
    record = Record(term, holder, members, None if holder else books)
    assert read(stored(write(record, "lw", NOW, None))) == (record, "7")


def test_what_others_put_into_the_lease_stays() -> None:
    first = stored(write(Record(1, A.id, (A,)), "lw", NOW, None))
    first["metadata"] |= {"labels": {"of": "somebody"}, "managedFields": [{"manager": "x"}]}
    first["metadata"]["annotations"]["note"] = "mine"
    first["spec"]["strategy"] = "kept"
    again = write(Record(1, A.id, (A, B)), "other", LATER, first)
    assert again["metadata"]["name"] == "lw"
    assert again["metadata"]["labels"] == {"of": "somebody"}
    assert "managedFields" not in again["metadata"]
    assert (again["metadata"]["annotations"]["note"], again["spec"]["strategy"]) == ("mine", "kept")
    assert again["metadata"]["resourceVersion"] == "7"


def test_times_are_those_of_its_terms() -> None:
    first = write(Record(3, A.id, (A,)), "lw", NOW, None)
    assert first["spec"] == {
        "acquireTime": "2026-11-26T12:00:00.123456Z",
        "holderIdentity": A.id,
        "leaseDurationSeconds": 3,
        "leaseTransitions": 3,
        "renewTime": "2026-11-26T12:00:00.123456Z",
    }
    renewed = write(Record(3, A.id, (A,)), "lw", LATER, stored(first))
    assert renewed["spec"]["acquireTime"] == first["spec"]["acquireTime"]
    assert renewed["spec"]["renewTime"] == "2026-11-26T12:00:01.000000Z"
    taken = write(Record(4, B.id, (A, B)), "lw", LATER, stored(renewed))
    assert taken["spec"]["acquireTime"] == "2026-11-26T12:00:01.000000Z"


def test_the_arbiters_time_is_its_own() -> None:
    """Who joins is no sign of the arbiter's life."""
    first = stored(write(Record(1, A.id, (A,)), "lw", NOW, None))
    found = read(first)[0]
    joined = write(found.joined_by(B), "lw", LATER, first)
    assert joined["spec"]["renewTime"] == found.renewed == "2026-11-26T12:00:00.123456Z"
    for own in (found.held_by(A.id, 1), found.held_by(B.id, 2), found.yielded({})):
        again = write(own, "lw", LATER, first)
        assert again["spec"]["renewTime"] == "2026-11-26T12:00:01.000000Z"


def test_books_go_with_the_next_holder() -> None:
    books = {A.id: {"pool": {"x": (2, None)}}, B.id: {}}
    left = Record(1, A.id, (A, B)).yielded(books)
    assert (left.holder, left.yielded_with) == ("", books)
    lease = stored(write(left, "lw", NOW, None))
    assert YIELDED_WITH in lease["metadata"]["annotations"]
    assert read(lease)[0].joined_by(C).yielded_with == books  # who joins changes nothing of it
    taken = write(left.held_by(B.id, 2), "lw", LATER, lease)
    assert YIELDED_WITH not in taken["metadata"]["annotations"]


def test_books_count_only_while_nobody_has_decided_since() -> None:
    """Who does not know the annotation leaves it there."""
    left = stored(write(Record(1, A.id, (A, B)).yielded({A.id: {}}), "lw", NOW, None))
    assert read(left)[0].yielded_with == {A.id: {}}
    for holder, term in ((B.id, 2), ("", 2), (A.id, 1)):
        spec = left["spec"] | {"holderIdentity": holder, "leaseTransitions": term}
        assert read(left | {"spec": spec})[0] == Record(term, holder, (A, B))


def test_books_that_have_no_place_are_left_out() -> None:
    """Of a replica that does not stand in them nothing is known: that is safe."""
    much: Held = {"pool": {f"endpoint-{number}": (1,) for number in range(4000)}}
    assert 2 * len(json.dumps(much)) > MOST_BOOKS > len(json.dumps(much))
    books = {A.id: much, B.id: much, C.id: {"pool": {"x": (1,)}}}
    lease = stored(write(Record(1, A.id, (A, B, C)).yielded(books), "lw", NOW, None))
    assert len(lease["metadata"]["annotations"][YIELDED_WITH]) <= MOST_BOOKS
    assert read(lease)[0].yielded_with == {A.id: much}


def test_slots_are_summed_up_with_what_is_left_of_their_time() -> None:
    slots = [("p", "x", 12.5), ("p", "x", inf), ("p", "y", 11.0), ("q", "x", 10.0), ("q", "z", 9.0)]
    assert sum_up(slots, 10.0) == {"p": {"x": (3, None), "y": (1,)}}


def test_the_newer_process_of_a_pod_outlives_the_older() -> None:
    record = Record(1, A.id, ()).joined_by(A).joined_by(B).joined_by(C)
    assert record.outlived == {A.id}
    assert record.without(record.outlived).members == (B, C)
    assert (record.member(B.id), record.member("nobody")) == (B, None)


def test_a_lease_that_nobody_has_written_yet_is_empty() -> None:
    assert read({"metadata": {"resourceVersion": "1"}}) == (Record(0, "", ()), "1")
    assert read({"metadata": {"resourceVersion": "1"}, "spec": None})[0].members == ()


GOOD = '[{"id":"a.1","pod":"p","uid":"a","address":"a:1"}]'


@pytest.mark.parametrize(
    ("members", "spec", "left"),
    [
        ("{", {}, None),
        ("7", {}, None),
        ("null", {}, None),
        ('"abc"', {}, None),
        ('[{"id": "a"}]', {}, None),
        ("[[]]", {}, None),
        ("[" * 100_000, {}, None),
        (GOOD, {"leaseTransitions": "x"}, None),
        (GOOD, {"leaseTransitions": [1]}, None),
        (GOOD, [], None),
        (GOOD, {}, "{"),
        (GOOD, {}, "[]"),
        (GOOD, {}, '{"term": 0}'),
        (GOOD, {}, '{"term": 0, "books": 7}'),
        (GOOD, {}, '{"term": 0, "books": {"a.1": 7}}'),
        (GOOD, {}, '{"term": 0, "books": {"a.1": {"p": 7}}}'),
        (GOOD, {}, '{"term": 0, "books": {"a.1": {"p": {"x": 2}}}}'),
        (GOOD, {}, '{"term": 0, "books": {"a.1": {"p": {"x": ["2"]}}}}'),
        (GOOD, {}, '{"term": 0, "books": {"a.1": {"p": {"x": [-1]}}}}'),
        (GOOD, {}, '{"term": 0, "books": {"a.1": {"p": {"x": [1000000001]}}}}'),
        (GOOD, {}, '{"term": 0, "books": {"a.1": {"p": {"x": [true]}}}}'),
        (GOOD, {"leaseTransitions": -1}, None),
        (GOOD, {"leaseTransitions": MOST_TERM + 1}, None),
    ],
)
def test_what_no_replica_wrote_is_an_error_that_says_what_helps(
    members: str, spec: Any, left: str | None
) -> None:
    annotations = {MEMBERS: members} | ({} if left is None else {YIELDED_WITH: left})
    lease = {"metadata": {"resourceVersion": "1", "annotations": annotations}, "spec": spec}
    if spec == []:
        lease["spec"] = ["no mapping"]
    with pytest.raises(RecordError, match="delete it"):
        read(lease)


@pytest.mark.parametrize("lease", [{}, {"metadata": None}, {"metadata": {}}, {"metadata": []}])
def test_no_lease_at_all_is_an_error(lease: dict[str, Any]) -> None:
    with pytest.raises(RecordError):
        read(lease)
