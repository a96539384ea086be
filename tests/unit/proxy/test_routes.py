"""The route table: host first, then the longest prefix of whole segments."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.proxy.routes import RouteTable

ROUTES = {
    ("", "/"): "rest",
    ("", "/api"): "api",
    ("", "/api/v2"): "api-v2",
    ("a.example", "/"): "a",
    ("a.example", "/api"): "a-api",
    ("b.example", "/only"): "b-only",
}


@pytest.mark.parametrize(
    ("host", "target", "expected"),
    [
        (b"x", b"/", "rest"),
        (b"x", b"/apis", "rest"),
        (b"x", b"/api", "api"),
        (b"x", b"/api?x=/api/v2", "api"),
        (b"x", b"/api/", "api"),
        (b"x", b"/api//v2", "api"),
        (b"x", b"/api/v2/y?z", "api-v2"),
        (b"x", b"/api/v22", "api"),
        (b"x", b"/API", "rest"),
        (b"x", b"/%61pi", "rest"),
        (b"x", b"*", "rest"),
        (b"x", b"//api", "rest"),
        (None, b"/api", "api"),
        (b"", b"/api", "api"),
        (b"a.example", b"/", "a"),
        (b"A.Example:8080", b"/api/x", "a-api"),
        (b"a.example.", b"/api/v2", "a-api"),
        (b"a.example:", b"/x", "a"),
        (b"b.example", b"/only", "b-only"),
        (b"b.example", b"/api", "api"),
        (b"[::1]:80", b"/api", "api"),
        (b"xa.example", b"/", "rest"),
    ],
)
def test_where_a_request_goes(host: bytes | None, target: bytes, expected: str) -> None:
    assert RouteTable(ROUTES).match(host, target) == expected


def test_no_route_no_backend() -> None:
    table = RouteTable({("a", "/"): "a", ("", "/api"): "api"})
    assert table.match(b"b", b"/") is None
    assert RouteTable({}).match(b"b", b"/") is None


def test_one_route_for_everything_needs_no_decision() -> None:
    assert RouteTable({("", "/"): "all"}).sole == "all"
    assert RouteTable({("", "/api"): "api"}).sole is None
    assert RouteTable({("a", "/"): "a"}).sole is None
    assert RouteTable({("", "/"): "all", ("", "/api"): "api"}).sole is None
    assert RouteTable({}).sole is None


SEGMENTS = st.lists(st.sampled_from(["a", "b", "aa", ""]), max_size=4)
PATHS = SEGMENTS.map(lambda segments: "/" + "/".join(segments))
PREFIXES = PATHS.map(lambda path: path.rstrip("/") or "/")
HOSTS = st.sampled_from(["", "x", "y"])


@given(st.lists(st.tuples(HOSTS, PREFIXES), unique=True), st.sampled_from(["x", "y", "z"]), PATHS)
def test_as_the_rule_is_read(routes: list[tuple[str, str]], host: str, path: str) -> None:
    table = RouteTable({route: route for route in routes})
    fits = [
        (known, prefix)
        for known, prefix in routes
        if known in {"", host} and (path + "/").startswith(prefix.rstrip("/") + "/")
    ]
    best = max(fits, key=lambda route: (route[0] != "", len(route[1])), default=None)
    assert table.match(host.encode(), path.encode()) == best
