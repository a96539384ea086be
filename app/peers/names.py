"""The numbers by which the two sides of a link call pools and endpoints."""

from typing import Protocol

from app.balancing.endpoint import Endpoint, EndpointSpec
from app.peers.messages import (
    MAX_NAMED,
    ForgetNames,
    Message,
    NameEndpoint,
    NamePool,
    ProtocolError,
)


class Link(Protocol):
    """One connection to another replica, after its handshake."""

    heard_at: float
    """When anything last came from there."""

    def send(self, message: Message) -> None:
        """Say something; what is said in one turn of the loop goes out together."""

    def close(self) -> None:
        """End the connection; nothing comes from it any more."""


class Names:
    """The numbers that this side gives."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._pools: dict[str, int] = {}
        self._endpoints: dict[Endpoint, tuple[int, EndpointSpec]] = {}
        self._count = 0

    def pool(self, name: str) -> int:
        """Return the pool's number; the other side is told of a new one."""
        number = self._pools.get(name)
        if number is None:
            number = self._pools[name] = self._next()
            self._link.send(NamePool(number, name))
        return number

    def endpoint(self, pool: str, endpoint: Endpoint) -> int:
        """Return the endpoint's number; the other side is told of a new one, or a new address."""
        known = self._endpoints.get(endpoint)
        spec = endpoint.spec
        if known is not None and known[1] is spec:
            return known[0]
        number, pool_number = self._next(), self.pool(pool)
        self._endpoints[endpoint] = number, spec
        named = NameEndpoint(
            number, pool_number, spec.identity, spec.host, spec.port, spec.name
        )  # fmt: skip
        self._link.send(named)
        return number

    def refresh(self) -> None:
        """Begin anew if the numbers run out: to be called between two messages."""
        if self._count > MAX_NAMED:
            self._pools.clear()
            self._endpoints.clear()
            self._count = 0
            self._link.send(ForgetNames())

    def _next(self) -> int:
        self._count += 1
        return self._count


class Named:
    """The numbers that the other side gave."""

    def __init__(self) -> None:
        self._pools: dict[int, str] = {}
        self._endpoints: dict[int, tuple[str, EndpointSpec]] = {}

    def take(self, message: NamePool | NameEndpoint | ForgetNames) -> None:
        """Take in what the other side says of its numbers. Raises `ProtocolError`."""
        if isinstance(message, ForgetNames):
            self._pools.clear()
            self._endpoints.clear()
        elif isinstance(message, NamePool):
            self._pools[message.number] = message.name
        else:
            spec = EndpointSpec(message.identity, message.host, message.port, message.name)
            self._endpoints[message.number] = self.pool(message.pool), spec

    def pool(self, number: int) -> str:
        """Return the pool's name. Raises `ProtocolError`."""
        try:
            return self._pools[number]
        except KeyError:
            raise ProtocolError(f"pool {number} has no name") from None

    def endpoint(self, number: int) -> tuple[str, EndpointSpec]:
        """Return the pool's name and the endpoint. Raises `ProtocolError`."""
        try:
            return self._endpoints[number]
        except KeyError:
            raise ProtocolError(f"endpoint {number} has no name") from None
