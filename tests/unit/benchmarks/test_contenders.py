"""The servers that are measured are configured alike, and start what they say."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from app.config.workerpool import WorkerPool
from benchmarks import plain
from benchmarks.contenders import ENDPOINTS, NAMES, backend, contender, pool_spec
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


def test_sources_are_found_where_extension_modules_stand_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain, "APP", tmp_path)
    (tmp_path / "thing.py").write_text("")
    (tmp_path / "thing.cpython-311-x86_64-linux-gnu.so").write_text("no library")
    found = plain.find_sources_only(str(tmp_path)).find_spec("thing")
    assert found is not None
    assert found.origin == str(tmp_path / "thing.py")
    assert plain.compiled()
    with pytest.raises(ImportError):
        plain.find_sources_only("/elsewhere")
