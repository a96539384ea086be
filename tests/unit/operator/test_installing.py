"""`leastwise crd`: what is printed, and what is sent to the API server."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml
from aiohttp import web
from click.testing import CliRunner

from app.cli import cli
from app.config.crd import custom_resource_definition
from app.operator.installing import PATH, apply_crd
from tests.unit.discovery.api import kubeconfig


def test_it_is_printed() -> None:
    done = CliRunner().invoke(cli, ["crd"])
    assert done.exit_code == 0
    assert yaml.safe_load(done.stdout) == custom_resource_definition()


class Server:
    """Takes patches of the CRD."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.asked: list[tuple[str, dict[str, str], str, Any]] = []

    async def take(self, request: web.Request) -> web.Response:
        kind = request.headers["Content-Type"]
        query = dict(request.query)
        self.asked.append((request.method, query, kind, json.loads(await request.text())))
        return web.json_response({"message": "as told"}, status=self.status)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", PATH, server.take)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


async def applied(server: Server, folder: Path) -> int:
    """Apply in a thread, as the process does in its own loop."""
    config = kubeconfig(folder / "config", server.url)
    return await anyio.to_thread.run_sync(apply_crd, config)


async def test_it_is_applied_on_the_servers_side_with_force(server: Server, tmp_path: Path) -> None:
    assert await applied(server, tmp_path) == 0
    [(method, query, kind, body)] = server.asked
    assert (method, kind) == ("PATCH", "application/apply-patch+yaml")
    assert query == {"fieldManager": "leastwise", "force": "true"}
    assert body == custom_resource_definition()


async def test_a_refusal_is_told(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.status = 403
    assert await applied(server, tmp_path) == 1
    said = capsys.readouterr().err
    assert said.startswith("leastwise: cannot apply workerpools.leastwise.io: PATCH /apis/")
    assert "403" in said


def test_without_a_way_to_the_api_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert apply_crd(tmp_path / "none") == 1
    assert "no such kubeconfig" in capsys.readouterr().err
