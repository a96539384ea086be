"""Who gets which route: the older pool, then by name, in whatever order the pools are heard of."""

import random

from hypothesis import given
from hypothesis import strategies as st

from app.config.routing import EVERYTHING, Claim, resolve
from app.config.workerpool import RouteSpec

A, B = RouteSpec(host="a"), RouteSpec(pathPrefix="/b")


def claim(name: str, created: str, *routes: RouteSpec) -> Claim:
    return Claim(name, (created, name), routes)


def test_a_pool_without_routes_claims_everything() -> None:
    routing = resolve([claim("one", "1")])
    assert routing.owners == {EVERYTHING: "one"}
    assert routing.conflicts == {}


def test_the_older_pool_has_the_route_and_both_hear_of_it() -> None:
    routing = resolve([claim("young", "2", A, B), claim("old", "1", A)])
    assert routing.owners == {A: "old", B: "young"}
    assert routing.conflicts == {"old": [(A, "young")], "young": [(A, "old")]}
    assert routing.lost("young") == [A]
    assert routing.lost("old") == []


def test_of_the_same_age_the_name_decides() -> None:
    assert resolve([claim("z", "1"), claim("a", "1")]).owners == {EVERYTHING: "a"}


CLAIMS = st.lists(
    st.tuples(
        st.sampled_from("abcdef"),
        st.sampled_from(["1", "2", "3"]),
        st.lists(st.sampled_from([EVERYTHING, A, B]), unique=True),
    ),
    unique_by=lambda each: each[0],
)


@given(CLAIMS, st.randoms())
def test_the_order_of_hearing_changes_nothing(
    drawn: list[tuple[str, str, list[RouteSpec]]], chance: random.Random
) -> None:
    claims = [claim(name, created, *routes) for name, created, routes in drawn]
    routing = resolve(claims)
    shuffled = list(claims)
    chance.shuffle(shuffled)
    assert resolve(shuffled).owners == routing.owners
    claimed = {route for each in claims for route in each.routes or (EVERYTHING,)}
    assert routing.owners.keys() == claimed
    for each in claims:
        for route in each.routes or (EVERYTHING,):
            owner = next(other for other in claims if other.name == routing.owners[route])
            assert owner.seniority <= each.seniority
            assert (route in routing.lost(each.name)) == (owner is not each)
