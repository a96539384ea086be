"""What stands in the Lease: it is read as it was written, and what nobody wrote is an error."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.peers.record import LEFT, MEMBERS, Member, Record, RecordError, read, write

NOW = datetime(2026, 11, 26, 12, 0, 0, 123456, tzinfo=UTC)
LATER = datetime(2026, 11, 26, 12, 0, 1, tzinfo=UTC)
TEXTS = st.text(max_size=12)
SLOTS = st.dictionaries(TEXTS, st.dictionaries(TEXTS, st.integers(0, 99), max_size=2), max_size=2)
MEMBERS_OF = st.lists(st.builds(Member, TEXTS, TEXTS, TEXTS, TEXTS), max_size=4).map(tuple)
A, B, C = (Member(f"{u}.{n}", f"pod-{u}", u, f"{u}:1") for u, n in (("a", 1), ("b", 2), ("a", 3)))


def stored(lease: dict[str, Any], version: str = "7") -> dict[str, Any]:
    """Return it as the API gives it back."""
    return lease | {"metadata": lease["metadata"] | {"resourceVersion": version, "uid": "u"}}


@given(
    term=st.integers(0, 2**31 - 1),
    holder=TEXTS,
    members=MEMBERS_OF,
    left=st.none() | st.tuples(TEXTS.filter(bool), SLOTS),
)
@settings(max_examples=200, derandomize=True, deadline=None)
def test_it_is_read_as_it_was_written(
    term: int, holder: str, members: tuple[Member, ...], left: tuple[str, Any] | None
) -> None:
    by, held = ("", None) if left is None else left
    record = Record(term, holder, members, held, by)
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


def test_word_that_was_left_goes_with_the_next_holder() -> None:
    left = Record(1, A.id, (A, B)).left({"pool": {"x": 2}})
    assert (left.holder, left.left_by, left.left_with) == ("", A.id, {"pool": {"x": 2}})
    lease = stored(write(left, "lw", NOW, None))
    assert LEFT in lease["metadata"]["annotations"]
    assert read(lease)[0].joined_by(C).left_by == A.id  # who joins changes nothing of it
    taken = write(left.held_by(B.id, 2), "lw", LATER, lease)
    assert LEFT not in taken["metadata"]["annotations"]


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
        (GOOD, {}, '{"by": "a.1"}'),
        (GOOD, {}, '{"by": "a.1", "held": 7}'),
        (GOOD, {}, '{"by": "a.1", "held": {"p": 7}}'),
        (GOOD, {}, '{"by": "a.1", "held": {"p": {"x": "2"}}}'),
        (GOOD, {}, '{"by": "a.1", "held": {"p": {"x": -1}}}'),
        (GOOD, {}, '{"by": "a.1", "held": {"p": {"x": 99999999999}}}'),
        (GOOD, {}, '{"by": "a.1", "held": {"p": {"x": true}}}'),
    ],
)
def test_what_no_replica_wrote_is_an_error_that_says_what_helps(
    members: str, spec: Any, left: str | None
) -> None:
    annotations = {MEMBERS: members} | ({} if left is None else {LEFT: left})
    lease = {"metadata": {"resourceVersion": "1", "annotations": annotations}, "spec": spec}
    if spec == []:
        lease["spec"] = ["no mapping"]
    with pytest.raises(RecordError, match="delete it"):
        read(lease)


@pytest.mark.parametrize("lease", [{}, {"metadata": None}, {"metadata": {}}, {"metadata": []}])
def test_no_lease_at_all_is_an_error(lease: dict[str, Any]) -> None:
    with pytest.raises(RecordError):
        read(lease)
