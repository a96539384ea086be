"""The stage on which the proxy's tests play."""

from pathlib import Path

import pytest

from tests.integration.proxy.harness import Stage


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)
