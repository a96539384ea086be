"""EndpointSlices into endpoints: each rule of the module, one by one."""

from typing import Any

import pytest

from app.balancing.endpoint import EndpointSpec
from app.discovery.slices import Family, SliceSet
from tests.unit.discovery.wire import entry, port, slice_of


def endpoints(
    *slices: dict[str, Any], port: int | str = "http", prefer: Family = "IPv4"
) -> list[EndpointSpec]:
    known = SliceSet(port, prefer)
    known.replace(slices)
    found = known.endpoints()
    assert [spec.identity for spec in found.values()] == list(found)
    return sorted(found.values(), key=lambda spec: spec.identity)


def places(*slices: dict[str, Any], port: int | str = "http", prefer: Family = "IPv4") -> list[str]:
    return [f"{s.host} {s.port}" for s in endpoints(*slices, port=port, prefer=prefer)]


def test_a_pod() -> None:
    [spec] = endpoints(slice_of("worker-1", entry("worker-0", "10.0.0.7")))
    assert spec == EndpointSpec(
        identity="uid-worker-0:8080",
        host="10.0.0.7",
        port=8080,
        name="worker-0",
        serving=True,
        terminating=False,
        node="node-1",
        zone="zone-a",
    )


@pytest.mark.parametrize(
    ("address", "family", "identity"),
    [("10.0.0.7", "IPv4", "10.0.0.7:8080"), ("fd00::7", "IPv6", "[fd00::7]:8080")],
)
def test_an_address_without_a_pod(address: str, family: str, identity: str) -> None:
    bare = {"addresses": [address]}
    [spec] = endpoints(slice_of("worker-1", bare, family=family))
    assert spec == EndpointSpec(identity=identity, host=address, port=8080)


def test_a_pod_without_a_uid_is_its_address() -> None:
    [spec] = endpoints(slice_of("worker-1", entry("worker-0", "10.0.0.7", uid="")))
    assert (spec.identity, spec.name) == ("10.0.0.7:8080", "worker-0")


def test_what_kubernetes_leaves_out_or_says_null() -> None:
    empty = slice_of("worker-1")
    empty["endpoints"] = empty["ports"] = None
    nulls = entry("worker-0") | {"conditions": None, "nodeName": None, "zone": None}
    bare = slice_of("worker-2", nulls)
    del bare["metadata"]["resourceVersion"]
    [spec] = endpoints(empty, bare, slice_of("worker-3", {"addresses": []}))
    assert (spec.serving, spec.terminating, spec.node, spec.zone) == (True, False, "", "")


@pytest.mark.parametrize(
    ("ready", "serving", "terminating", "serves", "terminates"),
    [
        (True, True, False, True, False),
        (False, False, False, False, False),
        (False, True, True, True, True),
        (False, False, True, False, True),
        (True, False, False, False, False),  # publishNotReadyAddresses: an unready pod
        (True, True, True, True, True),  # the same: a terminating one
        (True, None, None, True, False),
        (False, None, None, False, False),
        (None, None, None, True, False),
        (None, False, None, False, False),
        (None, None, True, True, True),
    ],
)
def test_conditions(
    ready: bool | None,
    serving: bool | None,
    terminating: bool | None,
    serves: bool,
    terminates: bool,
) -> None:
    one = entry("worker-0", ready=ready, serving=serving, terminating=terminating)
    [spec] = endpoints(slice_of("worker-1", one))
    assert (spec.serving, spec.terminating) == (serves, terminates)


ONE, TWO = entry("worker-0", "10.0.0.1"), entry("worker-1", "10.0.0.2")
METRICS = ("metrics", 9100)


@pytest.mark.parametrize(
    ("wanted", "ports", "found"),
    [
        ("http", [("http", 8080), METRICS], [8080]),
        ("metrics", [("http", 8080), METRICS], [9100]),
        (9100, [("http", 8080), METRICS], [9100]),
        (80, [("http", 8080), METRICS], []),
        ("grpc", [("http", 8080), METRICS], []),
        (80, [("http", 8080)], [8080]),  # the only one
        ("grpc", [("http", 8080)], []),  # a name is meant as it is
        (8080, [(None, 8080)], [8080]),
        (80, [("", 8080)], [8080]),
        ("http", [(None, 8080)], []),
        ("http", [port("http", 8080, None)], [8080]),
        ("http", [port("http", 8080, "UDP")], []),
        (53, [port("dns", 53, "UDP"), ("dns-tcp", 5353)], [5353]),
        ("http", [port("http", None)], []),
        (8080, [port("all", None), ("http", 8081)], [8081]),
        (8080, None, []),
        ("http", [{"port": 8080}], []),
        (8080, [{"port": 8080}], [8080]),
        (8080, [("http", 8080), ("web", 8080)], [8080]),  # two names for one place
    ],
)
def test_the_port(wanted: int | str, ports: Any, found: list[int]) -> None:
    specs = endpoints(slice_of("worker-1", ONE, ports=ports), port=wanted)
    assert [spec.port for spec in specs] == found


@pytest.mark.parametrize("wanted", ["http", 80, 8080, 9090])
def test_a_named_target_port_with_two_numbers(wanted: int | str) -> None:
    old = slice_of("worker-1", ONE, ports=[("http", 8080)])
    new = slice_of("worker-2", TWO, ports=[("http", 9090)])
    assert places(old, new, port=wanted) == ["10.0.0.1 8080", "10.0.0.2 9090"]


def test_a_number_stands_for_its_name_in_every_slice() -> None:
    old = slice_of("worker-1", ONE, ports=[("http", 8080), METRICS])
    new = slice_of("worker-2", TWO, ports=[("http", 9090), METRICS])
    assert places(old, new, port=8080) == ["10.0.0.1 8080", "10.0.0.2 9090"]


def test_the_only_port_of_one_slice_is_not_the_only_one_of_the_service() -> None:
    both = slice_of("worker-1", ONE, ports=[("http", 8080), METRICS])
    other = slice_of("worker-2", TWO, ports=[METRICS])
    assert places(both, other, port=8080) == ["10.0.0.1 8080"]
    assert places(both, other, port=80) == []


def test_names_are_no_addresses() -> None:
    known = SliceSet("http")
    known.put(slice_of("worker-1", ONE))
    known.put(slice_of("worker-1", {"addresses": ["worker.example.org"]}, family="FQDN"))
    assert known.endpoints() == {}


def test_the_first_of_several_addresses() -> None:
    assert places(slice_of("worker-1", entry("worker-0", "10.0.0.1", "10.0.0.2"))) == [
        "10.0.0.1 8080"
    ]


# --- one endpoint, several entries


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(("prefer", "host"), [("IPv4", "10.0.0.1"), ("IPv6", "fd00::1")])
def test_a_dual_stack_pod_is_one_endpoint(prefer: Family, host: str, order: int) -> None:
    both = [
        slice_of("worker-4", entry("worker-0", "10.0.0.1"), version=5),
        slice_of("worker-6", entry("worker-0", "fd00::1"), version=6, family="IPv6"),
    ]
    [spec] = endpoints(*both[::order], prefer=prefer)
    assert (spec.identity, spec.host) == ("uid-worker-0:8080", host)


@pytest.mark.parametrize("prefer", ["IPv4", "IPv6"])
@pytest.mark.parametrize("newer", ["IPv4", "IPv6"])
@pytest.mark.parametrize("order", [1, -1])
def test_the_newest_slice_says_the_conditions_whichever_address_is_taken(
    prefer: Family, newer: str, order: int
) -> None:
    old = entry("worker-0", "10.0.0.1" if newer == "IPv6" else "fd00::1")
    new = entry(
        "worker-0", "fd00::1" if newer == "IPv6" else "10.0.0.1", serving=False, terminating=True
    )
    both = [
        slice_of("worker-a", old, version=9, family="IPv4" if newer == "IPv6" else "IPv6"),
        slice_of("worker-b", new, version=10, family=newer),
    ]
    [spec] = endpoints(*both[::order], prefer=prefer)
    assert (spec.serving, spec.terminating) == (False, True)
    assert (":" in spec.host) == (prefer == "IPv6")


def test_the_other_family_is_better_than_none() -> None:
    six = slice_of("worker-6", entry("worker-0", "fd00::1"), family="IPv6")
    assert places(six, prefer="IPv4") == ["fd00::1 8080"]


@pytest.mark.parametrize("order", [1, -1])
def test_a_pod_that_moves_between_slices_counts_once(order: int) -> None:
    left = slice_of("worker-1", entry("worker-0", "10.0.0.1", serving=True), version=99)
    came = slice_of("worker-2", entry("worker-0", "10.0.0.1", serving=False), version=100)
    [spec] = endpoints(*[left, came][::order])
    assert not spec.serving


def test_without_numbers_what_came_last_is_newest() -> None:
    known = SliceSet("http")
    known.put(slice_of("worker-1", entry("worker-0", serving=True), version="a1"))
    known.put(slice_of("worker-2", entry("worker-0", serving=False), version="a0"))
    assert [spec.serving for spec in known.endpoints().values()] == [False]
    known.put(slice_of("worker-1", entry("worker-0", serving=True), version="a2"))
    assert [spec.serving for spec in known.endpoints().values()] == [True]


def test_three_entries_of_one_pod() -> None:
    found = endpoints(
        slice_of("worker-1", entry("worker-0", "10.0.0.1"), version=7),
        slice_of("worker-2", entry("worker-0", "10.0.0.9"), version=6),
        slice_of("worker-3", entry("worker-0", "fd00::1", terminating=True), version=8),
    )
    assert [(spec.host, spec.terminating) for spec in found] == [("10.0.0.1", True)]


# --- one slice after the other


def test_slices_come_change_and_go() -> None:
    known = SliceSet("http")
    known.put(slice_of("worker-1", ONE))
    known.put(slice_of("worker-2", TWO))
    assert {spec.name for spec in known.endpoints().values()} == {"worker-0", "worker-1"}
    known.put(slice_of("worker-1", ONE | {"conditions": {"serving": False}}, version=2))
    assert {spec.serving for spec in known.endpoints().values()} == {True, False}
    known.remove(slice_of("worker-2"))
    known.remove(slice_of("worker-9"))
    assert [spec.name for spec in known.endpoints().values()] == ["worker-0"]
    known.replace([])
    assert known.endpoints() == {}


def test_what_was_read_once_is_not_read_again() -> None:
    known = SliceSet("http")
    known.put(slice_of("worker-1", ONE))
    before = known.endpoints()["uid-worker-0:8080"]
    known.put(slice_of("worker-2", TWO))
    assert known.endpoints()["uid-worker-0:8080"] is before


def test_a_dual_stack_pod_costs_no_new_object() -> None:
    known = SliceSet("http")
    known.put(slice_of("worker-4", entry("worker-0", "10.0.0.1"), version=1))
    known.put(slice_of("worker-6", entry("worker-0", "fd00::1"), version=2, family="IPv6"))
    assert known.endpoints()["uid-worker-0:8080"] is known.endpoints()["uid-worker-0:8080"]


@pytest.mark.parametrize(
    ("wanted", "slices", "complaint"),
    [
        ("http", [], "it has no EndpointSlices: is there such a Service, with a selector?"),
        ("http", [slice_of("worker-1", ports=None)], ""),
        ("http", [slice_of("worker-1", ONE)], ""),
        (8080, [slice_of("worker-1", ONE)], ""),
        (
            "web",
            [slice_of("worker-1", ONE, ports=[("http", 8080), METRICS])],
            "it has no port web: its pods' ports are http (8080), metrics (9100)",
        ),
        (
            80,
            [slice_of("worker-1", ONE, ports=[("http", 8080), METRICS])],
            "it has no port 80: its pods' ports are http (8080), metrics (9100)",
        ),
        (
            80,
            [slice_of("worker-1", ONE, ports=[(None, 8080)])],
            "no pod listens on 80; its only port is taken, unnamed (8080)",
        ),
    ],
)
def test_what_is_most_likely_wrong_is_said(
    wanted: int | str, slices: list[dict[str, Any]], complaint: str
) -> None:
    known = SliceSet(wanted)
    known.replace(slices)
    assert known.complaint() == complaint


def test_a_list_reads_only_what_has_changed() -> None:
    """So that a list of 1,000 endpoints of which none has changed holds up nobody."""
    known = SliceSet("http")

    def read(*hosts: str) -> dict[str, EndpointSpec]:
        slices = [
            slice_of(f"s-{n}", entry(f"worker-{n}", host), version=len(hosts) * 10 + n)
            for n, host in enumerate(hosts)
        ]
        known.replace(slices)
        return {spec.name: spec for spec in known.endpoints().values()}

    before = read("10.0.0.1", "10.0.0.2")
    after = read("10.0.0.1", "10.0.0.9", "10.0.0.3")
    assert after["worker-0"] is before["worker-0"]
    assert after["worker-1"].host == "10.0.0.9"
    assert after.keys() == {"worker-0", "worker-1", "worker-2"}
