"""Two short runs of the chaos test; `make chaos SEEDS=20` has the long ones."""

from pathlib import Path

import pytest

from tests.chaos.run import chaos

SECONDS = 3.0
WARM_UP = 1.0
PACE = 0.3


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_lost_while_workers_die_hang_and_come_back(
    tmp_path: Path, seed: int
) -> None:
    result = await chaos(seed, SECONDS, tmp_path, warm_up=WARM_UP, pace=PACE)
    print(result)
    assert result["wrong"] == []
    assert result["faults"]
    assert result["retries"]
