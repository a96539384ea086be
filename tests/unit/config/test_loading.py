"""A file into a pool, and each way in which a file can fail to be one."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.errors import ConfigError, Problem
from app.config.loading import MAX_BYTES, load_pool, parse_pool
from app.config.workerpool import (
    HealthSpec,
    PoolSpec,
    ProbeSpec,
    QueueSpec,
    RetrySpec,
    TimeoutsSpec,
    WorkerPool,
)

READABLE = "allowed: a readable YAML file with one WorkerPool"

EXAMPLE = """\
apiVersion: leastwise.io/v1alpha1
kind: WorkerPool
metadata: {name: demo}
spec:
  endpoints: ["127.0.0.1:8081", "worker.local:8080"]
  maxInFlight: 4
  queue: {size: 1000, timeout: 60s}
  timeouts: {connect: 1s, firstByte: 120s, betweenBytes: 60s, request: 600s, idle: 4s}
  retry: {nonIdempotent: false, onTimeout: false, refusedStatuses: [], replayBytes: 65536}
  health:
    failures: 3
    recheck: 100ms
    recheckMax: 1s
    probe: {path: /readyz, interval: 500ms, timeout: 200ms, failures: 3}
  onClientGone: cancel
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pool.yaml"


def complaint(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_pool(path)
    return str(caught.value)


def test_loads_the_example(path: Path) -> None:
    path.write_text(EXAMPLE)
    pool = load_pool(path)
    assert pool.name == "demo"
    assert pool.policy().max_in_flight == 4


def test_lists_every_problem_by_line(path: Path) -> None:
    path.write_text(
        "spec:\n"
        "  queue:\n"
        "    timeout: soon\n"
        "    size: 5\n"
        "    size: 6\n"
        "  endpoints:\n"
        "    - a:1\n"
        "    - b\n"
        "  onClientGone: stop\n"
        "  unheard: of\n"
        "  service: {name: w}\n"
    )
    assert complaint(path) == (
        f'{path}:3: spec.queue.timeout: found "soon", allowed: a duration from 1ms to 24h,'
        " in seconds or such as 500ms, 15s or 1m30s\n"
        f"{path}:5: spec.queue.size: found the key a second time,"
        " allowed: each key once (first in line 4)\n"
        f'{path}:8: spec.endpoints[1]: found "b",'
        " allowed: host:port, with a port from 1 to 65535 and an IPv6 address in brackets\n"
        f'{path}:9: spec.onClientGone: found "stop", allowed: cancel or finish\n'
        f"{path}:10: spec.unheard: found an unknown key, allowed: balancer, endpoints, service,"
        " routes, maxInFlight, queue, timeouts, retry, health, onClientGone\n"
        f"{path}:11: spec.service.port: found nothing,"
        " allowed: a port from 1 to 65535, or a port's name (up to 15 of a-z 0-9 -)"
    )


def test_a_key_that_stands_twice_is_an_error_of_its_own(path: Path) -> None:
    path.write_text('spec:\n  endpoints: ["a:1"]\n  endpoints: ["b:1"]\n')
    assert complaint(path) == (
        f"{path}:3: spec.endpoints: found the key a second time,"
        " allowed: each key once (first in line 2)"
    )


def test_each_problem_can_be_had_on_its_own(path: Path) -> None:
    path.write_text("spec:\n  endpoints: [a]\n")
    with pytest.raises(ConfigError) as caught:
        load_pool(path)
    allowed = "host:port, with a port from 1 to 65535 and an IPv6 address in brackets"
    problem = Problem(str(path), "spec.endpoints[0]", '"a"', allowed, line=2, column=15)
    assert caught.value.problems == (problem,)


@pytest.mark.parametrize(
    ("text", "found"),
    [("[a]", "a list"), ("5", "5"), ("text", '"text"'), ("true", "true")],
)
def test_no_mapping(path: Path, text: str, found: str) -> None:
    path.write_text(text)
    assert complaint(path) == (
        f"{path}:1: found {found}, allowed: a mapping with the keys"
        " apiVersion, kind, metadata, spec"
    )


def test_an_empty_file(path: Path) -> None:
    path.write_text("")
    assert complaint(path) == f"{path}: found an empty file, allowed: a YAML document"


def test_no_file(path: Path) -> None:
    assert complaint(path) == f"{path}: found no such file, {READABLE}"


def test_a_dangling_symlink(path: Path) -> None:
    path.symlink_to("nowhere")
    assert complaint(path) == f"{path}: found no such file, {READABLE}"


def test_a_directory(path: Path) -> None:
    path.mkdir()
    assert complaint(path) == f"{path}: found no regular file, {READABLE}"


def test_a_pipe_does_not_block(path: Path) -> None:
    os.mkfifo(path)
    assert complaint(path) == f"{path}: found no regular file, {READABLE}"


def test_a_loop_of_symlinks(path: Path) -> None:
    path.symlink_to(path)
    assert complaint(path).startswith(f"{path}: found a file that cannot be read (")


def test_a_file_that_may_not_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(EXAMPLE)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert complaint(path) == (
        f"{path}: found a file that cannot be read (Permission denied), {READABLE}"
    )


def test_a_path_that_is_none() -> None:
    assert "found a file that cannot be read (embedded null byte)" in complaint(Path("a\0b"))


def test_a_file_of_unlikely_size(path: Path) -> None:
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    assert complaint(path) == f"{path}: found more than 256 KiB, {READABLE}"
    path.write_bytes(b"#" * MAX_BYTES)
    assert "an empty file" in complaint(path)


def test_bytes_that_are_no_utf8(path: Path) -> None:
    path.write_bytes("spec:\n  # Bücher\n".encode("latin-1"))
    assert complaint(path) == (
        f"{path}:2: found bytes that are not UTF-8, the first at byte 11, allowed: text in UTF-8"
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4)
    ),
)
KEYS = st.sampled_from(["spec", "metadata", "name", "unheard"]) | st.sampled_from(
    [
        str(field.alias)
        for model in (
            WorkerPool,
            PoolSpec,
            QueueSpec,
            TimeoutsSpec,
            RetrySpec,
            HealthSpec,
            ProbeSpec,
        )
        for field in model.model_fields.values()
    ]
)
NEAR = st.recursive(
    JSON | st.sampled_from(["a:1", "5s", "/", "cancel", 1, 503, 0.5]),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(KEYS, children, max_size=6),
)


@given(JSON | NEAR | st.fixed_dictionaries({"spec": NEAR}))
def test_any_document_is_a_pool_or_a_list_of_problems(document: Any) -> None:
    try:
        parse_pool(json.dumps(document).encode(), "f.yaml")
    except ConfigError as error:
        problems = error.problems
    else:
        return
    told = "\n".join(map(str, problems))
    assert problems
    assert len(told.splitlines()) == len(problems)
    assert "pydantic" not in told


@given(st.binary(max_size=200))
def test_any_bytes_are_a_pool_or_a_list_of_problems(content: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_pool(content, "f.yaml")
