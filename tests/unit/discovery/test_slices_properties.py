"""Slices in any order, with any moves: what holds of the merged endpoints."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.discovery.slices import SliceSet
from tests.unit.discovery.wire import entry, slice_of

PODS = st.integers(0, 5)
CONDITION = st.sampled_from([True, False, None])


@st.composite
def slices(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Slices with different versions; a pod may stand in any number of them."""
    made = []
    versions = draw(st.lists(st.integers(1, 10**9), unique=True, max_size=6))
    for number, version in enumerate(versions):
        family = draw(st.sampled_from(["IPv4", "IPv6"]))
        entries = [
            entry(
                f"worker-{pod}",
                f"10.0.0.{pod}" if family == "IPv4" else f"fd00::{pod}",
                ready=draw(CONDITION),
                serving=draw(CONDITION),
                terminating=draw(CONDITION),
            )
            for pod in draw(st.lists(PODS, unique=True, max_size=6))
        ]
        made.append(slice_of(f"worker-{number}", *entries, version=version, family=family))
    return made


@given(slices(), st.randoms(use_true_random=False), st.sampled_from(["IPv4", "IPv6"]))
def test_the_order_in_which_they_come_says_nothing(given: Any, random: Any, prefer: Any) -> None:
    one, other = SliceSet("http", prefer), SliceSet("http", prefer)
    one.replace(given)
    random.shuffle(given)
    for obj in given:
        other.put(slice_of(obj["metadata"]["name"], entry("gone")))
        other.endpoints()
    for obj in given:
        other.put(obj)
        other.endpoints()
    assert one.endpoints() == other.endpoints()


@given(slices(), st.sampled_from(["IPv4", "IPv6"]))
def test_each_pod_once_by_its_newest_entry_at_its_best_address(given: Any, prefer: Any) -> None:
    known = SliceSet("http", prefer)
    known.replace(given)
    found = known.endpoints()
    by_pod: dict[str, list[tuple[int, str, dict[str, Any]]]] = {}
    for obj in given:
        for one in obj["endpoints"]:
            version = int(obj["metadata"]["resourceVersion"])
            by_pod.setdefault(one["targetRef"]["name"], []).append(
                (version, obj["addressType"], one)
            )
    assert sorted(spec.name for spec in found.values()) == sorted(by_pod)
    for spec in found.values():
        entries = by_pod[spec.name]
        newest = max(entries, key=lambda one: one[0])[2]["conditions"]
        serving = newest.get("serving", newest.get("ready", True))
        assert (spec.serving, spec.terminating) == (serving, newest.get("terminating", False))
        fitting = [one for _, family, one in entries if family == prefer]
        assert not fitting or spec.host in {one["addresses"][0] for one in fitting}


@given(slices(), st.integers(0, 5))
def test_a_slice_that_goes_takes_only_its_own(given: Any, gone: int) -> None:
    known, fewer = SliceSet("http"), SliceSet("http")
    known.replace(given)
    known.remove(slice_of(f"worker-{gone}"))
    fewer.replace([obj for obj in given if obj["metadata"]["name"] != f"worker-{gone}"])
    assert known.endpoints() == fewer.endpoints()


@given(slices(), slices(), st.randoms(use_true_random=False))
def test_a_list_leaves_nothing_of_what_was_known(before: Any, given: Any, random: Any) -> None:
    """Also if some slices are the same as before, perhaps under another version."""
    for number, obj in enumerate(given[: len(before)]):
        if random.random() < 0.5:
            given[number] = before[number] | {"metadata": obj["metadata"]}
    one, other = SliceSet("http"), SliceSet("http")
    one.replace(before)
    one.endpoints()
    one.replace(given)
    other.replace(given)
    assert one.endpoints() == other.endpoints()
