"""Static endpoints: addresses as they are, names resolved again and again.

Called by `app.runtime`: `run` in a task of its own, `replace` when the pool's file has changed.
What always holds: each snapshot is the whole set, in the configured order; one that equals the
last is not told; an address that was known stays until a lookup *succeeds* without it, so that a
DNS server that is away takes no worker with it. Each name is followed on its own: a bad one holds
up no other.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, ip_address

from app.balancing.endpoint import EndpointSpec
from app.config.addresses import AddressPort

logger = logging.getLogger(__name__)

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""A DNS name into its IP addresses. Raises OSError; no address at all is a failure too."""

Apply = Callable[[Sequence[EndpointSpec]], None]


async def resolve_name(host: str) -> list[str]:
    """Look `host` up as the system does, in a thread of the loop's.

    Of a dual-stack name only the IPv4 addresses are returned: the two families are the same
    workers, which would otherwise get their cap twice. Raises OSError.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # what IDNA makes of an odd name
        raise OSError(str(error)) from error
    addresses = {str(address[0]) for *_, address in found}
    ipv4 = [text for text in addresses if isinstance(ip_address(text), IPv4Address)]
    return ipv4 or list(addresses)


class StaticDiscovery:
    """Follows the endpoints of one pool.

    `apply` is called in the event loop's thread. `interval` is the pause between two lookups of a
    name and `timeout` the longest wait for one, both in seconds. `leaving` are the endpoints of
    another source that are in force: they go as those of `replace` do, but not for nothing.
    """

    def __init__(
        self,
        endpoints: Sequence[AddressPort],
        apply: Apply,
        *,
        resolve: Resolve = resolve_name,
        interval: float = 5.0,
        timeout: float = 5.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        leaving: Sequence[EndpointSpec] = (),
    ) -> None:
        self._endpoints = tuple(endpoints)
        self._apply = apply
        self._resolve = resolve
        self._interval = interval
        self._timeout = timeout
        self._sleep = sleep
        self._known: dict[str, tuple[str, ...]] = {}
        """The last addresses of each name that was resolved."""

        self._complaints: dict[str, str] = {}
        """What was logged last of each name that cannot be resolved."""

        self._untried: set[str] = set()
        """Names whose first lookup has not ended."""

        self._followers: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._applied = tuple(leaving)
        self._leaving = self._applied
        """What was there before `replace`."""

        self._told = False

    async def run(self) -> None:
        """Follow the endpoints until cancelled. What is known without a lookup is told at once."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                self._follow_names(group)
                self._tell()
                await asyncio.get_running_loop().create_future()  # until cancelled
            finally:
                self._group = None
                self._followers.clear()
                self._leaving = ()

    def replace(self, endpoints: Sequence[AddressPort]) -> None:
        """Follow other endpoints from now on; what is known of the names that stay is kept.

        If there are new names, the old endpoints stay until these have been looked up once: the
        old workers do not go before the new ones are there.
        """
        self._endpoints = tuple(endpoints)
        self._leaving = self._applied
        names = self._names()
        for host in self._followers.keys() - names:
            self._followers.pop(host).cancel()
        for host in self._known.keys() - names:
            del self._known[host]
        for host in self._complaints.keys() - names:
            del self._complaints[host]
        self._untried &= names
        if self._group is not None:
            self._follow_names(self._group)
            self._tell()

    def _names(self) -> set[str]:
        return {endpoint.host for endpoint in self._endpoints if not endpoint.is_ip}

    def _follow_names(self, group: asyncio.TaskGroup) -> None:
        for host in sorted(self._names() - self._followers.keys()):
            self._untried.add(host)
            self._followers[host] = group.create_task(self._follow(host, group))

    async def _follow(self, host: str, group: asyncio.TaskGroup) -> None:
        lookup: asyncio.Task[Sequence[str] | OSError] | None = None
        try:
            while True:
                # A lookup that takes too long is waited for again, and not started twice: its
                # thread cannot be stopped, and the loop has few of them.
                lookup = lookup or group.create_task(self._look_up(host))
                await asyncio.wait({lookup}, timeout=self._timeout)
                if lookup.done():
                    self._note(host, lookup.result())
                    lookup = None
                else:
                    self._complain(host, f"no answer within {self._timeout:g} s")
                self._untried.discard(host)
                self._tell()
                await self._sleep(self._interval)
        finally:
            if lookup is not None:
                lookup.cancel()

    async def _look_up(self, host: str) -> Sequence[str] | OSError:
        try:
            # Sorted, since name servers rotate their answers.
            return sorted(set(await self._resolve(host))) or OSError("no address")
        except OSError as error:
            return error

    def _note(self, host: str, answer: Sequence[str] | OSError) -> None:
        if isinstance(answer, OSError):
            self._complain(host, answer.strerror or str(answer))
            return
        if self._complaints.pop(host, None) is not None:
            logger.info("the name %s is resolved again", host)
        self._known[host] = tuple(answer)

    def _complain(self, host: str, reason: str) -> None:
        if self._complaints.get(host) != reason:
            self._complaints[host] = reason
            kept = ", ".join(self._known.get(host, ())) or "none"
            logger.warning("cannot resolve the name %s: %s; addresses kept: %s", host, reason, kept)

    def _tell(self) -> None:
        snapshot = self._snapshot()
        if snapshot != self._applied and (snapshot or self._told):
            self._applied, self._told = snapshot, True
            self._apply(snapshot)

    def _snapshot(self) -> tuple[EndpointSpec, ...]:
        """Make the whole set; two entries that lead to one place are one endpoint."""
        specs: dict[str, EndpointSpec] = {}
        for endpoint in self._endpoints:
            hosts = (endpoint.host,) if endpoint.is_ip else self._known.get(endpoint.host, ())
            for host in hosts:
                identity = str(AddressPort(host, endpoint.port))
                spec = EndpointSpec(identity, host, endpoint.port, name=str(endpoint))
                specs.setdefault(identity, spec)
        for spec in self._leaving if self._untried else ():
            specs.setdefault(spec.identity, spec)
        return tuple(specs.values())
