"""What is known, and what a list takes away from it."""

from app.operator.cache import POOLS, SERVICES, Cache
from tests.unit.operator.world import pool, service


def test_objects_come_change_and_go() -> None:
    cache = Cache()
    cache.put(POOLS, pool("b"))
    cache.put(POOLS, pool("a"))
    cache.put(SERVICES, service())
    assert [obj["metadata"]["name"] for obj in cache.of(POOLS)] == ["a", "b"]
    cache.put(POOLS, pool("a", generation=2))
    assert [obj["metadata"]["generation"] for obj in cache.of(POOLS)] == [2, 1]
    cache.remove(POOLS, "uid-a")
    assert [obj["metadata"]["name"] for obj in cache.of(POOLS)] == ["b"]
    assert len(cache.of(SERVICES)) == 1


def test_a_list_takes_away_what_vanished_and_not_what_came_since() -> None:
    cache = Cache()
    cache.put(POOLS, pool("gone"))
    cache.put(POOLS, pool("there"))
    before = cache.heard
    cache.put(POOLS, pool("new"))
    cache.keep_only(POOLS, ["uid-there"], before)
    assert [obj["metadata"]["name"] for obj in cache.of(POOLS)] == ["new", "there"]
