"""The processes of a test, ended with it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.process.harness import Programs


@pytest.fixture
async def programs(tmp_path: Path) -> AsyncIterator[Programs]:
    async with Programs(tmp_path) as programs:
        yield programs
