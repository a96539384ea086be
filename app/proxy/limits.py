"""What a client may take, in bytes and seconds, and is told: the settings that the proxy obeys."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from app.config.settings import Settings


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """The limits of each client connection. `app.config.settings` says what each is for."""

    header_bytes: int
    headers: int
    target_bytes: int
    body_bytes: int | None
    header_timeout: float
    body_timeout: float
    idle_timeout: float
    way_headers: bool
    trusted_networks: tuple[IPv4Network | IPv6Network, ...]


def client_limits(settings: Settings) -> ClientLimits:
    """Take the limits out of the settings: plain attributes are cheaper to read than a model's."""
    return ClientLimits(
        header_bytes=settings.max_header_bytes,
        headers=settings.max_headers,
        target_bytes=settings.max_target_bytes,
        body_bytes=settings.max_body_bytes,
        header_timeout=settings.client_header_timeout,
        body_timeout=settings.client_body_timeout,
        idle_timeout=settings.client_idle_timeout,
        way_headers=settings.timing_headers,
        trusted_networks=settings.trusted_networks,
    )
