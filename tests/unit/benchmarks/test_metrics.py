"""How the cost of the metrics is read from slices of one process."""

import random

import pytest

from benchmarks.metrics import Slice, pairs, summary


def slices(cost: float, number: int = 400) -> list[Slice]:
    """Slices of a machine that drifts and is disturbed, where counting costs that share."""
    draw = random.Random(7)
    made: list[Slice] = []
    for n in range(number):
        counted = n % 4 in {0, 3}
        drift = 30e-6 * (1 + n / number)  # twice as slow at the end
        noise = draw.gauss(1, 0.05) * (3 if draw.random() < 0.05 else 1)
        each = drift * noise * (1 + cost if counted else 1)
        made.append((counted, each * 3000, 3000))
    return made


@pytest.mark.parametrize("cost", [0.0, 0.02, 0.05])
def test_the_cost_is_found_through_drift_and_disturbance(cost: float) -> None:
    found = summary(pairs(slices(cost)))
    assert found["cost_percent_low"] <= 100 * cost <= found["cost_percent_high"]
    assert found["cost_percent_high"] - found["cost_percent_low"] < 4
    assert found["pairs"] == 200


def test_a_slice_without_load_tells_nothing() -> None:
    quiet: list[Slice] = [
        (True, 0.001, 3), (False, 0.1, 3000), (False, 0.03, 1000), (True, 0.04, 1000),
    ]  # fmt: skip
    assert pairs(quiet) == [(40.0, 30.0)]
