"""Which backend a request goes to: by its host and the longest path prefix.

Made anew by `Proxy.route_by` when a pool or its routes change, and never changed, so that a request
sees one table or the other. Asked only if there are routes at all: a proxy with one pool for all
requests knows its backend without. What always holds:

- a route with the request's host goes before all routes for any host;
- among those, the longest prefix of whole segments wins: `/api` is a prefix of `/api`, `/api/x` and
  `/api?x`, and not of `/apis`;
- paths are compared as the bytes that came: nothing is decoded, and `..` is a name like others;
- `*` (of OPTIONS) is the path `/`.
"""

from collections.abc import Mapping
from typing import Generic, TypeVar

T = TypeVar("T")

_ANY_HOST = b""


class _Prefixes(Generic[T]):
    """The routes of one host."""

    def __init__(self) -> None:
        self._values: dict[bytes, T] = {}
        self._lengths: tuple[int, ...] = ()
        """Of the prefixes, each once, the longest first."""

    def add(self, prefix: bytes, value: T) -> None:
        # "/" is kept as nothing, so that in every path a segment ends behind a prefix that fits.
        self._values[prefix.removesuffix(b"/")] = value
        self._lengths = tuple(sorted({len(known) for known in self._values}, reverse=True))

    def match(self, path: bytes) -> T | None:
        for length in self._lengths:
            if path[length : length + 1] in {b"", b"/"}:
                value = self._values.get(path[:length])
                if value is not None:
                    return value
        return None


class RouteTable(Generic[T]):
    """Routes as (host, path prefix), each with what it leads to; the host is empty for any."""

    def __init__(self, routes: Mapping[tuple[str, str], T]) -> None:
        self._hosts: dict[bytes, _Prefixes[T]] = {}
        for (host, prefix), value in routes.items():
            prefixes = self._hosts.setdefault(host.lower().encode("ascii"), _Prefixes())
            prefixes.add(prefix.encode("ascii"), value)
        everything = routes.get(("", "/"))
        self.sole: T | None = everything if len(routes) == 1 else None
        """What every request leads to, if there is nothing to decide."""

    def match(self, host: bytes | None, target: bytes) -> T | None:
        """Return what the request leads to; None if no route fits.

        `host`: as the request names it, with or without a port. `target`: in origin form, or `*`.
        """
        path = b"/" if target == b"*" else target.partition(b"?")[0]
        if host and len(self._hosts) > (_ANY_HOST in self._hosts):
            prefixes = self._hosts.get(_name(host))
            if prefixes is not None:
                value = prefixes.match(path)
                if value is not None:
                    return value
        prefixes = self._hosts.get(_ANY_HOST)
        return None if prefixes is None else prefixes.match(path)


def _name(host: bytes) -> bytes:
    """Return the host without its port, and without the dot that ends a full name."""
    name, colon, port = host.rpartition(b":")
    if not colon or not (port.isdigit() or not port):
        name = host
    return name.lower().removesuffix(b".")
