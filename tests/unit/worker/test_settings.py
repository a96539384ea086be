import math
import socket
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from app.worker.settings import WorkerSettings


def test_the_defaults_are_those_of_the_scenario() -> None:
    settings = WorkerSettings()
    assert settings.task_seconds == 15
    assert settings.max_in_flight is None
    assert settings.name == socket.gethostname()
    assert settings.keep_alive_seconds == 5


def test_settings_do_not_change() -> None:
    settings = WorkerSettings()
    with pytest.raises(FrozenInstanceError):
        settings.port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"host": ""}, "host is empty: give an address"),
        ({"port": -1}, "port is -1: give 1 to 65535, or 0"),
        ({"port": 65536}, "port is 65536"),
        ({"task_seconds": -1.0}, "task_seconds is -1.0: give a finite number of seconds, 0 or"),
        ({"task_seconds": math.nan}, "task_seconds is nan"),
        ({"task_seconds": math.inf}, "task_seconds is inf"),
        ({"max_in_flight": 0}, "max_in_flight is 0: give 1 or more, or none for no limit"),
        ({"history": -1}, "history is -1: give the number"),
        ({"name": ""}, "name is empty: give the worker a name"),
        ({"drain_seconds": -0.1}, "drain_seconds is -0.1"),
        ({"keep_alive_seconds": 0}, "keep_alive_seconds is 0: give 1 or more"),
    ],
)
def test_a_bad_value_says_what_is_wrong_and_what_to_do(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        WorkerSettings(**bad)


@pytest.mark.parametrize(
    "good",
    [{"port": 0}, {"port": 65535}, {"task_seconds": 0}, {"max_in_flight": 1}, {"history": 0}],
)
def test_the_limits_themselves_are_good(good: dict[str, Any]) -> None:
    WorkerSettings(**good)
