"""An API server, and the kubeconfig that leads to it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.discovery.api import Api, kubeconfig, serving


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving() as api:
        kubeconfig(tmp_path / "config", api.url)
        yield api


@pytest.fixture
def file(api: Api, tmp_path: Path) -> Path:
    return tmp_path / "config"
