import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.processes import Cpu
from benchmarks.stats import percentile, percentiles, spread, tidied


@pytest.mark.parametrize(
    ("share", "value"), [(0.5, 50), (0.99, 99), (0.999, 100), (1.0, 100), (0.0, 1)]
)
def test_a_percentile_is_the_nearest_rank(share: float, value: int) -> None:
    assert percentile(range(1, 101), share) == value


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_the_least_value_that_covers_its_share(
    values: list[float], share: float
) -> None:
    ordered = sorted(values)
    found = percentile(ordered, share)
    covered = sum(value <= found for value in ordered)
    below = sum(value < found for value in ordered)
    assert covered >= share * len(ordered) - 1e-6
    assert below < share * len(ordered) + 1e-6


def test_percentiles_take_values_in_any_order() -> None:
    assert percentiles([3.0, 1.0, 2.0]) == {"p50": 2.0, "p99": 3.0, "p99_9": 3.0}


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_a_spread_names_the_middle_and_the_ends() -> None:
    assert spread([5.0, 1.0, 2.0]).as_json() == {"median": 2.0, "min": 1.0, "max": 5.0}


def test_a_spread_of_no_rounds_is_an_error() -> None:
    with pytest.raises(ValueError, match="no rounds"):
        spread([])


def test_results_are_rounded_and_nothing_else_is_changed() -> None:
    figures = {"a": 1234.5678, "b": [0.00012345, 7], "c": {"d": None, "e": True, "f": "text"}}
    assert tidied(figures) == {
        "a": 1235.0,
        "b": [0.0001234, 7],
        "c": {"d": None, "e": True, "f": "text"},
    }


def test_what_json_has_no_place_for_is_an_error() -> None:
    with pytest.raises(TypeError, match="set"):
        tidied({"a": {1, 2}})


def test_cpu_time_keeps_its_split_when_the_exact_total_is_known() -> None:
    fitted = Cpu(0.03, 0.01).fitted(0.08)
    assert (fitted.user, fitted.system) == pytest.approx((0.06, 0.02))


def test_cpu_time_below_a_tick_is_split_in_half() -> None:
    assert Cpu(0.0, 0.0).fitted(0.004) == Cpu(0.002, 0.002)


def test_cpu_time_is_a_difference() -> None:
    spent = Cpu(3.0, 2.0).since(Cpu(1.0, 0.5))
    assert (spent.user, spent.system, spent.total) == (2.0, 1.5, 3.5)
