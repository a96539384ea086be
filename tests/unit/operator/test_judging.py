"""The status that follows from what is known."""

from typing import Any

import pytest

from app.config.poolstatus import PoolStatus
from app.discovery.source import Object
from app.operator.judging import Judge, World
from app.operator.replicas import Replica
from tests.unit.operator.world import LATER, NOW, admin, pool, replica, service, slice_of, told

SLICE = slice_of("w", "w-0", "w-1")
WELL = replica(told(w_0="ready", w_1="ready"))


def world(
    *pools: Object, services: list[Object] | None = None, slices: list[Object] | None = None,
    replicas: list[Replica] | None = None,
) -> World:  # fmt: skip
    return World(
        pools or (pool(),),
        [admin(), service()] if services is None else services,
        [SLICE] if slices is None else slices,
        [WELL] if replicas is None else replicas,
    )


def status(seen: World, name: str = "p", judge: Judge | None = None) -> dict[str, Any]:
    judged = (judge or Judge("lb")).judge(seen, NOW)
    found = next(each.status for each in judged if each.identity.name == name)
    PoolStatus.model_validate(found)
    return found


def condition(found: dict[str, Any], kind: str) -> tuple[str, str, str]:
    each = next(each for each in found["conditions"] if each["type"] == kind)
    return each["status"], each["reason"], each["message"]


def test_all_is_well() -> None:
    found = status(world())
    assert {c["type"]: (c["status"], c["reason"]) for c in found["conditions"]} == {
        "Accepted": ("True", "Accepted"),
        "ResolvedRefs": ("True", "Resolved"),
        "Ready": ("True", "InForce"),
        "Available": ("True", "EndpointsInRotation"),
        "Observed": ("True", "OperatorRunning"),
    }
    assert found["endpoints"]["summary"] == "2/2"
    assert found["observedGeneration"] == 1


def test_a_spec_that_cannot_be_accepted() -> None:
    found = status(world(pool(generation=2, maxInFlight=0)))
    said = condition(found, "Accepted")
    assert said[:2] == ("False", "Invalid")
    assert "spec.maxInFlight: found 0, allowed: a whole number from 1" in said[2]
    assert said[2].endswith("Until then the balancers obey generation 1.")
    assert condition(found, "ResolvedRefs")[:2] == ("Unknown", "Invalid")
    assert condition(found, "Ready")[:2] == ("False", "NotAccepted")
    assert condition(found, "Available")[0] == "True"  # the last good one still serves


@pytest.mark.parametrize(
    ("seen", "reason", "says"),
    [
        (world(services=[admin()]), "ServiceNotFound", "There is no Service w in namespace n."),
        (world(services=[admin(), service(headless=False)]), "ServiceNotHeadless",
         "make one with clusterIP: None"),
        (world(services=[admin(), service(port="web")], slices=[]), "PortNotFound",
         "Service w has no port http; its ports are: web (80)."),
        (world(slices=[]), "NoEndpointSlices", "does it have a selector?"),
        (world(pool(balancer="lbb")), "BalancerNotFound",
         "There is no balancer lbb here; spec.balancer may be: lb."),
    ],
)  # fmt: skip
def test_what_is_referred_to_is_not_there(seen: World, reason: str, says: str) -> None:
    found = status(seen)
    said = condition(found, "ResolvedRefs")
    assert said[:2] == ("False", reason)
    assert says in said[2]
    assert condition(found, "Ready") == ("False", "UnresolvedRefs", said[2])


@pytest.mark.parametrize("port", [80, 8080, "http"])
def test_a_port_by_any_of_its_names(port: int | str) -> None:
    found = status(world(pool(service={"name": "w", "port": port})))
    assert condition(found, "ResolvedRefs")[0] == "True"


def test_an_empty_pool_is_ready_and_not_available() -> None:
    found = status(world(slices=[slice_of("w")], replicas=[replica(told())]))
    assert condition(found, "Ready")[0] == "True"
    assert condition(found, "Available")[:2] == ("False", "NoEndpoints")
    assert found["endpoints"]["summary"] == "0/0"


@pytest.mark.parametrize(
    ("replicas", "reason", "says"),
    [
        ([], "NoBalancer", "No balancer pod is running."),
        ([replica(terminating=True)], "NoBalancer", "No balancer pod is running."),
        ([WELL, Replica("lb", "10.1.0.2:9000", False, None, "refused")], "BalancerNotAnswering",
         "1 of 2 balancer pods do not answer on their admin port; 10.1.0.2:9000: refused."),
        ([WELL, replica(told(generation=0), address="b")], "Progressing",
         "1 of 2 balancer pods obey generation 1."),
        ([replica(told(complaint="no"))], "Progressing", "0 of 1 balancer pods obey"),
        ([replica()], "Progressing", "0 of 1 balancer pods obey"),
    ],
)  # fmt: skip
def test_the_balancers_do_not_run_it_yet(replicas: list[Replica], reason: str, says: str) -> None:
    said = condition(status(world(replicas=replicas)), "Ready")
    assert said[:2] == ("False", reason)
    assert says in said[2]


def test_replicas_are_summed_up_and_the_worst_of_them_counts() -> None:
    one = replica(told(in_flight=2, queued=1, w_0="ready", w_1="ejected"))
    two = replica(told(in_flight=3, w_0="ready", w_1="ejected"), address="b")
    three = replica(told(in_flight=1, w_0="suspect", w_1="ready"), address="c", terminating=True)
    found = status(world(replicas=[one, two, three]))
    assert (found["inFlight"], found["queued"], found["ejected"]) == (6, 1, 2)
    endpoints = found["endpoints"]
    assert (endpoints["suspect"], endpoints["ejected"], endpoints["ready"]) == (1, 1, 0)
    assert endpoints["summary"] == "0/2"
    assert found["balancers"] == {"total": 2, "answering": 2, "current": 2}
    said = condition(found, "Available")
    assert said == ("False", "NoneInRotation", "No worker is in rotation; of 2, 1 are ejected.")


def test_a_conflict_is_told_to_both_and_the_older_one_wins() -> None:
    old, young = pool("old", "1"), pool("young", "2")
    both = replica(told("old"), told("young"))
    seen = world(young, old, replicas=[both])
    assert condition(status(seen, "old"), "Accepted") == (
        "True", "RouteConflict",
        "*/ is claimed by young, too, and old has it: the older pool has a route, then by name.",
    )  # fmt: skip
    said = condition(status(seen, "young"), "Accepted")
    assert said[:2] == ("False", "RouteConflict")
    assert "*/ is claimed by old, too, and old has it" in said[2]


def test_a_pool_that_loses_one_of_its_routes_is_accepted() -> None:
    routes = [{"pathPrefix": "/a"}, {"pathPrefix": "/b"}]
    seen = world(pool("old", "1", routes=routes[:1]), pool("young", "2", routes=routes))
    assert condition(status(seen, "young"), "Accepted")[:2] == ("True", "RouteConflict")


def test_a_bad_spec_keeps_its_routes_while_the_last_good_one_is_in_force() -> None:
    judge = Judge("lb")
    old, young = pool("old", "1"), pool("young", "2")
    judge.judge(world(old, young), NOW)
    seen = world(pool("old", "1", generation=2, maxInFlight=0), young)
    said = condition(status(seen, "young", judge), "Accepted")
    assert said[:2] == ("False", "RouteConflict")


def names(judge: Judge, seen: World) -> set[str]:
    return {each.identity.name for each in judge.judge(seen, NOW)}


def test_each_status_is_written_by_one_operator() -> None:
    seen = world(
        pool("a", balancer="a"), pool("b", balancer="b"), pool("any"), pool("none", balancer="x"),
        services=[admin("a"), admin("b")],
    )  # fmt: skip
    assert names(Judge("a"), seen) == {"a", "any", "none"}
    assert names(Judge("b"), seen) == {"b"}
    assert names(Judge(None), seen) == {"a", "b", "any", "none"}


def test_a_pool_of_several_balancers_says_so() -> None:
    seen = world(
        services=[admin("a"), admin("b"), service()],
        replicas=[replica(told(), balancer="a"), replica(told(), balancer="b", address="b")],
    )
    said = condition(status(seen, judge=Judge("a")), "Ready")
    assert said[:2] == ("True", "SeveralBalancers")
    assert "a, b each serve it" in said[2]


def test_nothing_new_makes_the_same_status_and_times_stay() -> None:
    judge = Judge("lb")
    first = status(world(), judge=judge)
    before = pool() | {"status": first}
    again = judge.judge(world(before), LATER)[0].status
    assert again.pop("observedAt") == LATER
    assert again == {key: value for key, value in first.items() if key != "observedAt"}
    worse = judge.judge(world(before, slices=[]), LATER)[0].status
    since = {each["type"]: each["lastTransitionTime"] for each in worse["conditions"]}
    assert since == {"Accepted": NOW, "ResolvedRefs": LATER, "Ready": LATER,
                     "Available": NOW, "Observed": NOW}  # fmt: skip
