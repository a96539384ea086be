"""What lets this replica decide together with others, made of the settings that ask for it."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, TypeVar

from app.config.errors import ConfigError, Problem
from app.config.settings import Settings, variable
from app.discovery.credentials import connect
from app.discovery.leases import LeaseApi
from app.discovery.source import Conflict, SourceError
from app.peers.record import Member
from app.peers.runner import Runner
from app.peers.store import ConflictError, StoreError

T = TypeVar("T")

SHORTEST, LONGEST = 16, 4096
"""Bytes of the replicas' secret."""

_SECRET_ALLOWED: Final = f"{SHORTEST} to {LONGEST} bytes that all replicas have, and nobody else"


class _Store:
    """The Lease behind the API, in the words of the peers."""

    def __init__(self, api: LeaseApi) -> None:
        self._api = api

    async def read(self) -> Mapping[str, Any] | None:
        return await _told(self._api.read())

    async def create(self, lease: dict[str, Any]) -> Mapping[str, Any]:
        return await _told(self._api.create(lease))

    async def replace(self, lease: dict[str, Any]) -> Mapping[str, Any]:
        return await _told(self._api.replace(lease))

    async def pod_uid(self, name: str) -> str | None:
        return await _told(self._api.pod_uid(name))

    async def close(self) -> None:
        await self._api.close()


async def _told(call: Awaitable[T]) -> T:
    try:
        return await call
    except Conflict as error:
        raise ConflictError(str(error)) from error
    except SourceError as error:
        raise StoreError(str(error), retry_after=error.retry_after) from error


def make_runner(settings: Settings, port: int, able: Callable[[], bool]) -> Runner | None:
    """Make what runs this replica among the others, which reach it at `port`; None if it is alone.

    It joins them once it is `able`. Raises `ConfigError` if the secret cannot be read.
    """
    if settings.peers is None:
        return None
    path, host = settings.peer_secret_file, str(settings.pod_ip)
    if path is None or settings.pod_name is None or settings.pod_uid is None:
        raise AssertionError  # the settings do not allow it
    secret = partial(_secret, path)
    try:
        secret()
    except OSError as error:
        found = error.strerror or str(error)
        problem = Problem(str(path), variable("peer_secret_file"), found, _SECRET_ALLOWED)
        raise ConfigError([problem]) from error
    me = Member(
        id=f"{settings.pod_uid}.{token_hex(4)}",
        pod=settings.pod_name,
        uid=settings.pod_uid,
        address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
    )
    api = LeaseApi(
        partial(connect, settings.kubeconfig), namespace=settings.namespace, name=settings.peers
    )
    return Runner(me, _Store(api), secret, settings.peers, host, able=able)


def _secret(path: Path) -> bytes:
    """Read the replicas' secret. Raises `OSError`."""
    secret = path.read_bytes().strip()
    if not SHORTEST <= len(secret) <= LONGEST:
        raise OSError(f"{len(secret)} bytes")
    return secret
