"""The servers that are measured are configured alike, and start what they say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from app.config.workerpool import WorkerPool
from benchmarks import builds
from benchmarks.contenders import ENDPOINTS, NAMES, PLAIN, available, backend, contender, pool_spec
from benchmarks.machine import ALL_CORES, find
from benchmarks.processes import Server, free_port, running
from benchmarks.proxy import rotated


def test_all_have_the_same_endpoints(tmp_path: Path) -> None:
    workers = backend(tmp_path)
    addresses = [f"{host}:{workers.port}" for host in ENDPOINTS]
    for name in NAMES:
        server = contender(name, tmp_path, workers)
        told = " ".join([*server.command, *(server.environ or {}).values()])
        told += "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
        assert all(address in told for address in addresses), name


def test_the_pool_is_one_that_leastwise_takes() -> None:
    pool = WorkerPool.model_validate(pool_spec(["127.0.0.1:1"]))
    policy = pool.policy()
    assert policy.max_in_flight is not None
    assert policy.health.probe is not None
    assert policy.retry.non_idempotent


def test_the_pools_file_is_what_was_asked_for(tmp_path: Path) -> None:
    workers = backend(tmp_path)
    contender("leastwise", tmp_path, workers)
    spec = yaml.safe_load((tmp_path / "leastwise.yaml").read_text())["spec"]
    assert spec["endpoints"] == [f"{host}:{workers.port}" for host in ENDPOINTS]


def test_an_unknown_contender_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="envoy"):
        contender("envoy", tmp_path, backend(tmp_path))


@pytest.mark.skipif(find("nginx") is None or find("haproxy") is None, reason="not installed")
@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_the_configuration_is_one_that_the_program_takes(tmp_path: Path, name: str) -> None:
    command = contender(name, tmp_path, backend(tmp_path)).command
    check = [*command, "-t"] if name == "nginx" else [*command, "-c"]
    done = subprocess.run(check, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_server_that_ends_at_once_is_an_error_with_its_words() -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such luck')"]
    with (
        pytest.raises(RuntimeError, match="code 1") as caught,
        running(Server("unlucky", command, free_port()), ALL_CORES),
    ):
        raise AssertionError
    assert caught.value.__notes__ == ["unlucky said: no such luck\n"]


def test_each_round_begins_with_another() -> None:
    assert ["".join(rotated("abc", by)) for by in range(4)] == ["abc", "bca", "cab", "abc"]


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiled build that is newer than the one source."""
    monkeypatch.setattr(builds, "SOURCES", tmp_path / "app")
    monkeypatch.setattr(builds, "COMPILED", tmp_path / "compiled")
    source, made = tmp_path / "app" / "thing.py", tmp_path / "compiled" / ".built"
    for number, path in enumerate((source, made)):
        path.parent.mkdir()
        path.touch()
        os.utime(path, (number, number))
    return made


def test_a_compiled_build_is_measured_beside_the_plain_one(build: Path, tmp_path: Path) -> None:
    assert available(["leastwise", PLAIN]) == ["leastwise", PLAIN]
    environ = contender("leastwise", tmp_path, backend(tmp_path)).environ or {}
    assert environ["PYTHONPATH"] == str(build.parent)
    assert not contender(PLAIN, tmp_path, backend(tmp_path)).environ
    assert builds.told() == "leastwise compiled"


def test_a_compiled_build_from_before_a_change_is_not_measured(build: Path, tmp_path: Path) -> None:
    os.utime(tmp_path / "app" / "thing.py", (2, 2))
    assert available(["leastwise", PLAIN]) == ["leastwise"]
    assert not contender("leastwise", tmp_path, backend(tmp_path)).environ
    assert "older than the sources" in builds.told()


def test_without_a_compiled_build_the_plain_one_is_measured(build: Path, tmp_path: Path) -> None:
    build.unlink()
    build.parent.rmdir()
    assert available(["leastwise", PLAIN]) == ["leastwise"]
    assert not contender("leastwise", tmp_path, backend(tmp_path)).environ
    assert "was not run" in builds.told()
