"""A name into addresses, as the system does it."""

import asyncio
import socket

import pytest

from app.discovery.static import resolve_name


class FakeLoop:
    """A loop whose lookups answer what the test says."""

    def __init__(self, answer: list[str] | Exception) -> None:
        self._answer = answer

    async def getaddrinfo(self, host: str, port: object, **_: object) -> list[object]:
        assert (host, port) == ("w.example", None)
        if isinstance(self._answer, Exception):
            raise self._answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 0)) for ip in self._answer]


@pytest.mark.parametrize(
    ("found", "addresses"),
    [
        (["10.0.0.1", "10.0.0.1", "10.0.0.2"], ["10.0.0.1", "10.0.0.2"]),
        (["fd00::1", "10.0.0.1"], ["10.0.0.1"]),
        (["fd00::1", "fd00::2"], ["fd00::1", "fd00::2"]),
        (["fe80::1%eth0"], ["fe80::1%eth0"]),
    ],
)
async def test_a_dual_stack_name_is_its_ipv4_addresses(
    monkeypatch: pytest.MonkeyPatch, found: list[str], addresses: list[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "get_running_loop", lambda: FakeLoop(found))
        assert sorted(await resolve_name("w.example")) == addresses


async def test_a_name_that_cannot_be_encoded_is_an_os_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        error = UnicodeError("label empty or too long")
        patch.setattr(asyncio, "get_running_loop", lambda: FakeLoop(error))
        with pytest.raises(OSError, match="label empty or too long"):
            await resolve_name("w.example")


async def test_localhost_is_resolved_by_the_system() -> None:
    assert await resolve_name("localhost") in (["127.0.0.1"], ["::1"])
