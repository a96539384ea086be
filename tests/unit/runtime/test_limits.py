import resource

import pytest

from app.probing.prober import MAX_SOCKETS
from app.runtime.limits import (
    RESERVE,
    most_connections,
    most_worker_connections,
    raise_open_files,
)


def test_half_of_the_files_are_for_clients() -> None:
    assert most_connections(20_000, None) == (20_000 - RESERVE) // 2


def test_a_configured_number_is_kept_if_the_files_allow_it() -> None:
    assert most_connections(20_000, 100) == 100
    assert most_connections(1_024, 100_000) == (1_024 - RESERVE) // 2


def test_there_is_always_room_for_one() -> None:
    assert most_connections(64, None) == 1


def test_the_reserve_holds_all_checks_and_probes_and_some_more() -> None:
    assert RESERVE >= MAX_SOCKETS + 64


@pytest.mark.parametrize("open_files", [1_024, 20_000, 1 << 20])
@pytest.mark.parametrize("wanted", [None, 1, 100, 300])
def test_clients_workers_and_the_reserve_fit_into_the_files(
    open_files: int, wanted: int | None
) -> None:
    clients = most_connections(open_files, wanted)
    workers = most_worker_connections(open_files, clients)
    assert clients <= workers  # one for each, at the least
    assert clients + workers + RESERVE <= open_files


def test_with_hardly_any_files_there_is_a_worker_connection_for_each_client() -> None:
    assert most_worker_connections(64, most_connections(64, None)) == 1


@pytest.mark.parametrize(
    ("soft", "hard", "raised_to"),
    [
        (1_024, 20_000, 20_000),
        (1_024, resource.RLIM_INFINITY, 1 << 20),
        (20_000, 20_000, 20_000),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 1 << 20),
    ],
)
def test_the_soft_limit_is_raised_to_the_hard_one(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, raised_to: int
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: asked.append(pair))
    assert raise_open_files() == raised_to
    assert asked in ([], [(raised_to, hard)])
    assert bool(asked) is (soft == 1_024)
