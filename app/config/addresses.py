"""The notation `host:port`, for listeners and for endpoints: the one place that reads it.

A host is an IPv4 address, an IPv6 address in brackets, or a DNS name. What an `AddressPort` holds
is normalized (names in lower case, IP addresses in their shortest form), so that two that are
equal are the same place.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Self

MAX_PORT = 65535
MAX_LENGTH = 253 + len(":65535")
"""Characters: the longest DNS name and the longest port."""

# Underscores are no host names by RFC 952, but container networks have them.
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*{_LABEL}\.?")
# A name whose last label is a number is an IPv4 address in one of its odd forms: 127.1, 10.0.0.256.
_NUMERIC_END = re.compile(r"(?:.*\.)?[0-9]+\.?")
_PARTS = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class AddressPort:
    """Where something listens: a host and a TCP port."""

    host: str
    """An IP address without brackets, or a DNS name."""

    port: int

    @classmethod
    def parse(cls, text: str, *, lowest_port: int = 1) -> Self:
        """Read `host:port`; `lowest_port=0` admits the port that means "any free one".

        Raises ValueError; what is allowed is in `describe_address`.
        """
        parts = _PARTS.fullmatch(text)
        host = _host(parts["ipv6"], parts["host"]) if parts else None
        port = int(parts["port"]) if parts else -1
        if host is None or not lowest_port <= port <= MAX_PORT:
            raise ValueError(f"no host:port: {text!r}")
        return cls(host, port)

    @property
    def is_ip(self) -> bool:
        """Whether the host is an address, which needs no lookup."""
        return is_ip(self.host)

    def __str__(self) -> str:
        """Write it as it is read, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def describe_address(lowest_port: int = 1) -> str:
    """Say what `AddressPort.parse` reads, for messages."""
    return (
        f"host:port, with a port from {lowest_port} to {MAX_PORT} and an IPv6 address in brackets"
    )


def is_ip(host: str) -> bool:
    """Tell an IP address from a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _host(ipv6: str | None, other: str) -> str | None:
    """Normalize what stood in brackets, or else the other; None if it is no host."""
    if ipv6 is not None:
        return str(IPv6Address(ipv6)) if is_ip(ipv6) and ":" in ipv6 else None
    name = other.lower()
    if is_ip(name) or (_NAME.fullmatch(name) and not _NUMERIC_END.fullmatch(name)):
        return name
    return None
