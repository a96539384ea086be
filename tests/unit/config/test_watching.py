"""Following the file: each change once, each mistake once, the good pool kept."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app.config.errors import ConfigError
from app.config.loading import load_pool, parse_pool
from app.config.watching import PoolFile, watch_pool
from app.config.workerpool import WorkerPool


def text(cap: int) -> str:
    return f"spec: {{endpoints: [a:1], maxInFlight: {cap}}}\n"


def caps(*pools: WorkerPool | None) -> list[int | None]:
    return [pool.policy().max_in_flight if pool else None for pool in pools]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "pool.yaml"
    path.write_text(text(1))
    return path


def test_the_first_check_tells_the_pool_and_the_next_nothing(path: Path) -> None:
    file = PoolFile(path)
    assert caps(file.check(), file.check()) == [1, None]
    assert caps(file.in_force) == [1]


def test_the_pool_that_is_in_force_already_is_no_change(path: Path) -> None:
    assert PoolFile(path, load_pool(path)).check() is None


def test_a_change_is_told_once(path: Path) -> None:
    file = PoolFile(path)
    file.check()
    path.write_text(text(2))
    assert caps(file.check(), file.check(), file.in_force) == [2, None, 2]


def test_a_change_is_seen_though_size_and_times_are_the_same(path: Path) -> None:
    file = PoolFile(path)
    file.check()
    times = path.stat()
    path.write_text(text(2))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert caps(file.check()) == [2]


def test_a_new_notation_of_the_same_pool_is_no_change(path: Path) -> None:
    file = PoolFile(path)
    file.check()
    path.write_text("# The same.\n" + text(1))
    assert file.check() is None


def test_a_file_put_in_its_place_is_seen(path: Path, tmp_path: Path) -> None:
    file = PoolFile(path)
    file.check()
    (tmp_path / "new").write_text(text(2))
    (tmp_path / "new").replace(path)
    assert caps(file.check()) == [2]


def test_a_config_map_s_swap_of_symlinks_is_seen(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"..version{number}").mkdir()
        (tmp_path / f"..version{number}" / "pool.yaml").write_text(text(number))
    (tmp_path / "..data").symlink_to("..version1")
    (tmp_path / "pool.yaml").symlink_to("..data/pool.yaml")
    file = PoolFile(tmp_path / "pool.yaml")
    assert caps(file.check()) == [1]
    (tmp_path / "..data_tmp").symlink_to("..version2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert caps(file.check()) == [2]


def test_a_bad_file_is_told_once_and_changes_nothing(path: Path) -> None:
    file = PoolFile(path)
    file.check()
    path.write_text("spec: {}")
    with pytest.raises(ConfigError, match="either endpoints or service") as caught:
        file.check()
    assert file.check() is None
    assert file.complaint is caught.value
    assert caps(file.in_force) == [1]
    path.write_text("spec: {endpoints: []}")
    with pytest.raises(ConfigError, match="a list of 1 to 1000"):
        file.check()


def test_a_bad_file_that_is_mended(path: Path) -> None:
    file = PoolFile(path)
    file.check()
    for cap, told in ((1, None), (2, 2)):
        path.write_text("spec: {}")
        with pytest.raises(ConfigError):
            file.check()
        path.write_text(text(cap))
        assert caps(file.check()) == [told]
        assert file.complaint is None


def test_a_file_that_vanishes_is_told_once_and_found_again(path: Path) -> None:
    file = PoolFile(path)
    file.check()
    path.unlink()
    with pytest.raises(ConfigError, match="no such file"):
        file.check()
    assert file.check() is None
    assert caps(file.in_force) == [1]
    path.write_text(text(1))
    assert file.check() is None
    assert file.complaint is None
    path.unlink()
    with pytest.raises(ConfigError, match="no such file"):
        file.check()
    path.write_text(text(2))
    assert caps(file.check()) == [2]


class Steps:
    """Stands for sleep: runs the next step instead of waiting, and ends the watch after all."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self._steps = list(steps)
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        if not self._steps:
            raise asyncio.CancelledError
        self._steps.pop(0)()


async def watch(path: Path, steps: Steps, in_force: WorkerPool | None = None) -> list[object]:
    """Watch through all steps and return what was told."""
    told: list[object] = []
    with pytest.raises(asyncio.CancelledError):
        await watch_pool(
            path,
            on_change=lambda pool: told.append(pool.policy().max_in_flight),
            on_error=lambda error: told.append(error.problems[0].found),
            interval=0.25,
            in_force=in_force,
            sleep=steps,
        )
    return told


async def test_the_watch_tells_changes_and_mistakes(path: Path) -> None:
    steps = Steps(
        lambda: None,
        lambda: path.write_text(text(2)),
        lambda: path.write_text("["),
        lambda: None,
        path.unlink,
        lambda: path.write_text(text(2)),
        lambda: path.write_text(text(3)),
    )
    told = await watch(path, steps)
    assert [what for what in told if isinstance(what, int)] == [1, 2, 3]
    assert [str(what).partition(" in line")[0] for what in told if isinstance(what, str)] == [
        "invalid YAML",
        "no such file",
    ]
    assert steps.slept == [0.25] * 8


@pytest.mark.parametrize(("cap", "told"), [(1, []), (2, [2])])
async def test_the_watch_begins_with_what_changed_since_the_start(
    path: Path, cap: int, told: list[int]
) -> None:
    in_force = parse_pool(text(cap=1).encode(), "pool.yaml")
    write = Steps(lambda: path.write_text(text(cap)))
    await write(0)
    assert await watch(path, Steps(), in_force) == told


async def test_the_watch_can_be_cancelled(path: Path) -> None:
    changed = asyncio.Event()
    task = asyncio.create_task(
        watch_pool(path, on_change=lambda _: changed.set(), on_error=lambda _: None)
    )
    await changed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
