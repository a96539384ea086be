"""What the docs tell of the simulation is what the simulation finds."""

import pytest

from benchmarks.run import load
from benchmarks.simulation import experiments, report
from benchmarks.simulation.workloads import WORKLOADS
from benchmarks.stats import tidied

RESULTS = load("balance") or {}


def test_the_results_are_those_of_the_pool_as_it_is_now() -> None:
    workload = next(each for each in WORKLOADS if each.name == "exponential")
    make = experiments.POLICIES["capped"]
    found = tidied(experiments.rounds(workload, make, RESULTS["seeds"]))
    kept = RESULTS["policies"]["exponential"]["capped"]
    assert found == kept, "run: python -m benchmarks balance"


def test_every_workload_and_policy_has_its_place_in_the_tables() -> None:
    assert set(RESULTS["policies"]) == {workload.name for workload in WORKLOADS}
    for by_policy in RESULTS["policies"].values():
        assert set(by_policy) == set(report.POLICY_NAMES) == set(experiments.POLICIES)
    for by_rule in RESULTS["ties"].values():
        assert set(by_rule) == set(report.TIE_NAMES) == set(experiments.TIES)
    assert set(RESULTS["trap"]) | set(report.POLICY_NAMES) == set(report.TRAP_NAMES)


@pytest.mark.parametrize("section", report.SECTIONS)
def test_tables_are_whole(section: str) -> None:
    for table in report.SECTIONS[section](RESULTS):
        assert table.rows
        assert all(len(row) == len(table.header) for row in table.rows)
