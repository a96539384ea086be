"""The admin port's token: who is let through, what others are told, and that it never shows."""

import hmac
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message

from app.admin.auth import RequireToken
from app.config.errors import ConfigError
from app.config.settings import Settings
from app.config.tokens import TokenFile, token_of

TOKEN = "s3cret-0123456789"
OTHER = "other-0123456789x"

ALLOWED = "a token of 16 to 4096 of a-z A-Z 0-9 - . _ ~ + /, with = at the end only"


def protected(token: str = TOKEN) -> httpx.AsyncClient:
    """A client of an application that answers every path, behind the token."""
    app = FastAPI(openapi_url=None)

    @app.get("/{path:path}")
    async def any_path(path: str) -> str:
        return path

    transport = httpx.ASGITransport(app=RequireToken(app, lambda: token))
    return httpx.AsyncClient(transport=transport, base_url="http://admin")


async def status(path: str, *authorization: str) -> int:
    headers = [("Authorization", value) for value in authorization]
    async with protected() as client:
        return (await client.get(path, headers=headers)).status_code


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/readyz?verbose", "/", "/static/main.js"])
async def test_probes_and_the_dashboards_files_need_no_token(path: str) -> None:
    assert await status(path) == 200
    assert await status(path, "Bearer wrong") == 200


@pytest.mark.parametrize(
    "path",
    ["/workers", "/docs", "/openapi.json", "/ping", "/metrics", "/stream", "/static", "/healthz/"],
)
async def test_all_else_does(path: str) -> None:
    assert await status(path) == 401
    assert await status(path, f"Bearer {TOKEN}") == 200


@pytest.mark.parametrize("value", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER  {TOKEN} "])
async def test_the_scheme_is_read_in_any_case(value: str) -> None:
    assert await status("/workers", value) == 200


@pytest.mark.parametrize(
    "values",
    [
        [f"Bearer {TOKEN}x"],
        [f"Bearer {TOKEN[:-1]}"],
        [f"Bearer {TOKEN.upper()}"],
        ["Bearer "],
        ["Bearer"],
        [TOKEN],
        [f"Basic {TOKEN}"],
        [f"Token Bearer {TOKEN}"],
        [f"Bearer {TOKEN}", f"Bearer {TOKEN}"],
        ["Bearer é"],
    ],
)
async def test_what_is_not_the_token(values: list[str]) -> None:
    async with protected() as client:
        headers = [(b"Authorization", value.encode("latin-1")) for value in values]
        answer = await client.get("/workers", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="leastwise", error="invalid_token"'


async def test_who_brings_none_is_told_what_to_bring() -> None:
    async with protected() as client:
        answer = await client.get("/workers")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="leastwise"'
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json()["status"] == 401
    assert answer.json()["detail"] == (
        "The admin token is missing. Send it as Authorization: Bearer TOKEN."
    )


async def test_a_websocket_needs_it_too() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def app(*args: Any) -> None:
        raise AssertionError("let through")

    scope = {"type": "websocket", "path": "/healthz", "headers": []}
    await RequireToken(app, lambda: TOKEN)(scope, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_tokens_are_compared_by_their_hashes_in_constant_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert await status("/workers", "Bearer x") == 401
    assert await status("/workers", f"Basic {TOKEN}") == 401
    assert await status("/workers", f"Bearer {TOKEN}") == 200
    assert [len(side) for pair in compared for side in pair] == [32] * 6


# --- where it comes from


def settings(**given: object) -> Settings:
    return Settings(config=Path("pool.yaml"), **given)  # type: ignore[arg-type]


def test_from_a_setting() -> None:
    token = token_of(settings(admin_token=TOKEN))
    assert token is not None
    assert token() == TOKEN


def test_from_nowhere() -> None:
    assert token_of(settings()) is None


def test_from_a_file_that_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    token = token_of(settings(admin_token_file=path))
    assert token is not None
    assert token() == TOKEN
    path.write_text(OTHER)
    assert token() == OTHER
    path.unlink()
    assert (token(), token()) == (OTHER, OTHER)
    said = f"{path}: LEASTWISE_ADMIN_TOKEN_FILE: found No such file or directory, allowed:"
    assert [said in message for message in caplog.messages] == [True]
    path.write_text("short")
    assert token() == OTHER
    path.write_text(TOKEN)
    assert token() == TOKEN
    path.write_text("")
    assert token() == TOKEN
    assert len(caplog.messages) == 2  # once each time that it has gone bad
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"short-secret", "a token of 12 characters"),
        (b"", "a token of 0 characters"),
        (b"with a space in the middle", "a token with other characters"),
        (b"=0123456789abcdefg", "a token with other characters"),
        ("geheimnis-äöü-0123".encode(), "bytes that are not ASCII"),
    ],
)
def test_a_file_that_holds_none(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        TokenFile(path)
    told = f"{path}: LEASTWISE_ADMIN_TOKEN_FILE: found {found}, allowed: {ALLOWED}"
    assert str(caught.value) == told


def test_a_file_that_is_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found Is a directory"):
        TokenFile(tmp_path)
