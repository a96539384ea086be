"""What a spec is refused for: in each case the place, what was found and what is allowed."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.config.explain import findings
from app.config.workerpool import WorkerPool
from app.config.yamltext import read_document

ENDPOINTS: dict[str, Any] = {"endpoints": ["127.0.0.1:8081"]}

WAIT = "a duration from 1ms to 24h, in seconds or such as 500ms, 15s or 1m30s"
HOST_PORT = "host:port, with a port from 1 to 65535 and an IPv6 address in brackets"
PORT = "a port from 1 to 65535, or a port's name (up to 15 of a-z 0-9 -)"
STATUS = "a whole number from 400 to 599"
QUEUE_KEYS = "size, timeout"
TIMEOUT_KEYS = "connect, firstByte, betweenBytes, request, idle"
PROBE_KEYS = "path, interval, timeout, failures"
POOL_KEYS = (
    "balancer, endpoints, service, routes, maxInFlight, queue, timeouts, retry, health, "
    "onClientGone"
)
ROUTE_PREFIX = (
    "a path that begins with / and does not end with one, of up to 1024 ASCII characters without "
    "? and #; / for all paths"
)


def complaints(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Path, found and allowed of each problem."""
    with pytest.raises(ValidationError) as caught:
        WorkerPool.model_validate(document)
    return [(f.path, f.found, f.allowed) for f in findings(caught.value, WorkerPool)]


CASES: dict[str, list[tuple[str, str, str]]] = {
    # Unknown keys, with the nearest.
    QUEUE_KEYS: [
        ("queue: {timout: 5}", "queue.timout", 'an unknown key (did you mean "timeout"?)'),
    ],
    POOL_KEYS: [
        ("max_in_flight: 5", "max_in_flight", 'an unknown key (did you mean "maxInFlight"?)'),
        ("MaxInFlight: 5", "MaxInFlight", 'an unknown key (did you mean "maxInFlight"?)'),
        ("zzz: 5", "zzz", "an unknown key"),
        ("a.b: 5", '"a.b"', "an unknown key"),
        ('"a\\nb": 5', '"a\\nb"', "an unknown key"),
    ],
    TIMEOUT_KEYS: [
        ("timeouts: {first-byte: 5}", "timeouts.first-byte",
         'an unknown key (did you mean "firstByte"?)'),
    ],
    PROBE_KEYS: [
        ("health: {probe: {path: /, port: 5}}", "health.probe.port", "an unknown key"),
    ],
    "name, port": [("service: {name: w, port: 1, zone: a}", "service.zone", "an unknown key")],
    # Nothing is coerced.
    "a whole number from 1 to 1000000, or null": [
        ('maxInFlight: "5"', "maxInFlight", '"5"'),
        ("maxInFlight: true", "maxInFlight", "true"),
        ("maxInFlight: 5.0", "maxInFlight", "5.0"),
        ("maxInFlight: 0", "maxInFlight", "0"),
    ],
    "a whole number from 0 to 1000000": [
        ("queue: {size: null}", "queue.size", "null"),
        ("queue: {size: -1}", "queue.size", "-1"),
        ("queue: {size: 0x10}", "queue.size", '"0x10"'),
    ],
    "a whole number from 0 to 16777216": [
        ("retry: {replayBytes: 16777217}", "retry.replayBytes", "16777217"),
    ],
    "true or false": [
        ("retry: {nonIdempotent: yes}", "retry.nonIdempotent", '"yes"'),
        ("retry: {onTimeout: 1}", "retry.onTimeout", "1"),
    ],
    # Durations.
    WAIT: [
        ("queue: {timeout: soon}", "queue.timeout", '"soon"'),
        ('queue: {timeout: "5"}', "queue.timeout", '"5"'),
        ("queue: {timeout: true}", "queue.timeout", "true"),
        ("queue: {timeout: 25h}", "queue.timeout", '"25h"'),
        ("queue: {timeout: 1e999}", "queue.timeout", "Infinity"),
        (f"queue: {{timeout: 1{'0' * 400}}}", "queue.timeout", f"1{'0' * 79}..."),
        ("queue: {timeout: [5]}", "queue.timeout", "a list"),
        ("timeouts: {connect: null}", "timeouts.connect", "null"),
        ("timeouts: {idle: 0}", "timeouts.idle", "0"),
    ],
    f"{WAIT}, or none, or null": [
        ("timeouts: {firstByte: -1}", "timeouts.firstByte", "-1"),
        ("timeouts: {betweenBytes: {}}", "timeouts.betweenBytes", "a mapping"),
        ("timeouts: {request: 1:30}", "timeouts.request", '"1:30"'),
    ],
    "a duration from 10ms to 1h, in seconds or such as 500ms, 15s or 1m30s": [
        ("health: {recheck: 5ms}", "health.recheck", '"5ms"'),
        ("health: {probe: {path: /, interval: 2h}}", "health.probe.interval", '"2h"'),
    ],
    # Containers.
    f"a mapping with the keys {QUEUE_KEYS}": [
        ("queue: null", "queue", "null"),
        ("queue: [1]", "queue", "a list"),
    ],
    f"a mapping with the keys {PROBE_KEYS}, or null": [
        ("health: {probe: /readyz}", "health.probe", '"/readyz"'),
    ],
    f"a list of 1 to 1000, each {HOST_PORT}, or null": [
        ('endpoints: "a:1"', "endpoints", '"a:1"'),
        ("endpoints: []", "endpoints", "a list"),
    ],
    HOST_PORT: [
        ("endpoints: [a:1, b]", "endpoints[1]", '"b"'),
        ('endpoints: ["::1:80"]', "endpoints[0]", '"::1:80"'),
        ("endpoints: [null]", "endpoints[0]", "null"),
    ],
    f"a list of 0 to 20, each {STATUS}": [
        ("retry: {refusedStatuses: 503}", "retry.refusedStatuses", "503"),
        (f"retry: {{refusedStatuses: {[*range(400, 421)]}}}", "retry.refusedStatuses", "a list"),
    ],
    STATUS: [
        ("retry: {refusedStatuses: [503, 200]}", "retry.refusedStatuses[1]", "200"),
        ('retry: {refusedStatuses: ["503"]}', "retry.refusedStatuses[0]", '"503"'),
    ],
    "each once": [
        ('endpoints: [a:1, b:1, A:1, "[::1]:1", "[0::1]:1"]', "endpoints",
         "a:1, [::1]:1 more than once"),
        ("retry: {refusedStatuses: [503, 503]}", "retry.refusedStatuses", "503 more than once"),
        ("routes: [{host: a}, {}, {host: a, pathPrefix: /}]", "routes", "a/ more than once"),
    ],
    "a list of 0 to 32, each a mapping with the keys host, pathPrefix": [
        ("routes: /api", "routes", '"/api"'),
    ],
    # Choices and patterns.
    ROUTE_PREFIX: [
        ("routes: [{pathPrefix: api}]", "routes[0].pathPrefix", '"api"'),
        ("routes: [{pathPrefix: /api/}]", "routes[0].pathPrefix", '"/api/"'),
        ("routes: [{pathPrefix: '/a?b'}]", "routes[0].pathPrefix", '"/a?b"'),
    ],
    "a host's name in lower case, without a port; empty for any host": [
        ("routes: [{host: A.example}]", "routes[0].host", '"A.example"'),
        ("routes: [{host: 'a:80'}]", "routes[0].host", '"a:80"'),
    ],
    "a balancer's name: up to 63 of a-z 0-9 -, beginning and ending with a-z 0-9, or null": [
        ("balancer: ''", "balancer", '""'),
    ],
    "cancel or finish": [
        ("onClientGone: stop", "onClientGone", '"stop"'),
        ("onClientGone: []", "onClientGone", "a list"),
    ],
    "a path that begins with /, of up to 1024 ASCII characters": [
        ("health: {probe: {}}", "health.probe.path", "nothing"),
        ("health: {probe: {path: readyz}}", "health.probe.path", '"readyz"'),
        ("health: {probe: {path: /a b}}", "health.probe.path", '"/a b"'),
        ("health: {probe: {path: /ü}}", "health.probe.path", '"/ü"'),
        ('health: {probe: {path: "/\\r\\nX: y"}}', "health.probe.path", '"/\\r\\nX: y"'),
    ],
    PORT: [
        ("service: {name: w}", "service.port", "nothing"),
        ("service: {name: w, port: 0}", "service.port", "0"),
        ("service: {name: w, port: 65536}", "service.port", "65536"),
        ("service: {name: w, port: true}", "service.port", "true"),
        ("service: {name: w, port: 80.0}", "service.port", "80.0"),
        ('service: {name: w, port: "8080"}', "service.port", '"8080"'),
        ("service: {name: w, port: Http}", "service.port", '"Http"'),
        ("service: {name: w, port: a--b}", "service.port", '"a--b"'),
        ("service: {name: w, port: sixteen-letters-}", "service.port", '"sixteen-letters-"'),
    ],
    "a Service's name: up to 63 of a-z 0-9 -, the first one a letter": [
        ("service: {port: 80}", "service.name", "nothing"),
        ("service: {name: 1w, port: 80}", "service.name", '"1w"'),
        ('service: {name: "w\\n", port: 80}', "service.name", '"w\\n"'),
        (f"service: {{name: {'w' * 64}, port: 80}}", "service.name", f'"{"w" * 64}"'),
    ],
    # One field against another.
    "at least recheck, 2s": [
        ("health: {recheck: 2s, recheckMax: 1500ms}", "health.recheckMax", "1s500ms"),
        ("health: {recheck: 2s}", "health.recheckMax", "1s (the default)"),
    ],
    "at least recheck, 100ms (the default)": [
        ("health: {recheckMax: 50ms}", "health.recheckMax", "50ms"),
    ],
    "at most interval, 500ms": [
        ("health: {probe: {path: /, interval: 0.5, timeout: 0.6}}", "health.probe.timeout",
         "600ms"),
        ("health: {probe: {path: /, interval: 0.5}}", "health.probe.timeout", "1s (the default)"),
    ],
    "either endpoints or service": [
        ("{endpoints: [a:1], service: {name: w, port: 80}}", "", "both of them"),
        ("maxInFlight: 4", "", "neither endpoints nor service"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "path", "found", "allowed"),
    [(*case, allowed) for allowed, cases in CASES.items() for case in cases],
)
def test_says_where_what_was_found_and_what_is_allowed(
    text: str, path: str, found: str, allowed: str
) -> None:
    spec = read_document(text, "f.yaml").value
    assert isinstance(spec, dict)
    if "endpoints" not in spec and "service" not in spec and path:
        spec = ENDPOINTS | spec
    assert complaints({"spec": spec}) == [(f"spec.{path}".removesuffix("."), found, allowed)]


@pytest.mark.parametrize(
    ("document", "path", "found", "allowed"),
    [
        ({"apiVersion": "v1"}, "apiVersion", '"v1"', "leastwise.io/v1alpha1"),
        ({"kind": "Pool"}, "kind", '"Pool"', "WorkerPool"),
        (
            {"metadata": {"name": "-"}},
            "metadata.name",
            '"-"',
            "a resource's name: up to 253 of a-z 0-9 - ., beginning and ending with a-z 0-9",
        ),
        ({"spec": None}, "spec", "null", f"a mapping with the keys {POOL_KEYS}"),
        (
            {"speck": {}},
            "speck",
            'an unknown key (did you mean "spec"?)',
            "apiVersion, kind, metadata, spec",
        ),
    ],
)
def test_says_what_is_wrong_around_the_spec(
    document: dict[str, Any], path: str, found: str, allowed: str
) -> None:
    assert complaints({"spec": ENDPOINTS} | document) == [(path, found, allowed)]


def test_nan_is_no_duration() -> None:
    spec = ENDPOINTS | {"queue": {"timeout": float("nan")}}
    assert complaints({"spec": spec}) == [("spec.queue.timeout", "NaN", WAIT)]


def test_a_missing_spec() -> None:
    assert complaints({}) == [("spec", "nothing", f"a mapping with the keys {POOL_KEYS}")]


def test_a_rule_between_fields_is_checked_while_others_are_wrong() -> None:
    spec = ENDPOINTS | {"health": {"failures": 0, "recheck": 2}, "queue": {"size": "x"}}
    assert [path for path, _, _ in complaints({"spec": spec})] == [
        "spec.queue.size",
        "spec.health.failures",
        "spec.health.recheckMax",
    ]


def test_a_wrong_list_of_endpoints_is_not_told_to_be_missing() -> None:
    assert [path for path, _, _ in complaints({"spec": {"endpoints": ["x"]}})] == [
        "spec.endpoints[0]"
    ]
