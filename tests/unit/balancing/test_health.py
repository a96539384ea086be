"""The transition table of `app.balancing.health`, row by row."""

import pytest

from app.balancing.health import Health, HealthRecord, Sign
from app.balancing.policy import HealthPolicy, ProbePolicy

POLICY = HealthPolicy(failures=3, probe=ProbePolicy("/readyz", failures=3))

State = tuple[Health, bool]
"""With whether it is withheld."""

HEALTHY: State = (Health.HEALTHY, False)
SUSPECT: State = (Health.SUSPECT, False)
WITHHELD: State = (Health.SUSPECT, True)
EJECTED: State = (Health.EJECTED, False)


def record(state: State, failures: int = 1, probe_failures: int = 1) -> HealthRecord:
    return HealthRecord(*state, failures, probe_failures, reason="before", since=1.0)


def state_of(made: HealthRecord) -> State:
    return made.state, made.withheld


@pytest.mark.parametrize(
    ("sign", "healthy", "suspect", "withheld", "failures", "probe_failures"),
    [
        # sign               from healthy  suspect   withheld  failures and probe failures from 1
        (Sign.ANSWERED, HEALTHY, SUSPECT, WITHHELD, 0, 1),
        (Sign.CONNECT_REFUSED, EJECTED, EJECTED, EJECTED, 1, 1),
        (Sign.CONNECT_SILENT, WITHHELD, WITHHELD, WITHHELD, 2, 1),
        (Sign.DIED, WITHHELD, WITHHELD, WITHHELD, 2, 1),
        (Sign.TIMED_OUT, HEALTHY, SUSPECT, WITHHELD, 2, 1),
        (Sign.IDLE_CLOSED, SUSPECT, SUSPECT, WITHHELD, 1, 1),
        (Sign.CHECK_PASSED, HEALTHY, HEALTHY, HEALTHY, 1, 1),
        (Sign.CHECK_FAILED, EJECTED, EJECTED, EJECTED, 1, 1),
        (Sign.PROBE_PASSED, HEALTHY, SUSPECT, WITHHELD, 1, 0),
        (Sign.PROBE_FAILED, HEALTHY, SUSPECT, WITHHELD, 1, 2),
    ],
    ids=lambda value: value.value if isinstance(value, Sign) else "",
)
def test_a_sign_below_the_limits(
    sign: Sign,
    healthy: State,
    suspect: State,
    withheld: State,
    failures: int,
    probe_failures: int,
) -> None:
    for before, after in [(HEALTHY, healthy), (SUSPECT, suspect), (WITHHELD, withheld)]:
        made = record(before)
        changed = made.observe(sign, POLICY, 2.0)
        assert state_of(made) == after
        assert (made.failures, made.probe_failures) == (failures, probe_failures)
        assert changed == (before != after)
        assert made.since == (2.0 if changed else 1.0)
        assert made.reason == (sign.value if changed else "before")


@pytest.mark.parametrize("before", [HEALTHY, SUSPECT, WITHHELD], ids=str)
@pytest.mark.parametrize(
    "sign", [Sign.CONNECT_SILENT, Sign.DIED, Sign.TIMED_OUT, Sign.PROBE_FAILED]
)
def test_a_counted_sign_ejects_at_its_limit(sign: Sign, before: State) -> None:
    made = record(before, failures=2, probe_failures=2)
    assert made.observe(sign, POLICY, 2.0)
    assert (state_of(made), made.sign, made.since) == (EJECTED, sign, 2.0)


@pytest.mark.parametrize("sign", set(Sign) - {Sign.CHECK_PASSED}, ids=lambda sign: sign.value)
def test_an_ejected_endpoint_stays_so_whatever_is_seen_of_it_but_a_passed_check(sign: Sign) -> None:
    made = record(EJECTED)
    assert not made.observe(sign, POLICY, 2.0)
    assert (state_of(made), made.reason, made.since) == (EJECTED, "before", 1.0)


def test_a_passed_check_brings_an_ejected_endpoint_back_with_all_counts_at_0() -> None:
    made = record(EJECTED, failures=3, probe_failures=2)
    assert made.observe(Sign.CHECK_PASSED, POLICY, 2.0)
    assert (state_of(made), made.failures, made.probe_failures) == (HEALTHY, 0, 0)


def test_failures_have_to_be_in_a_row() -> None:
    made = HealthRecord()
    for sign in [Sign.TIMED_OUT, Sign.TIMED_OUT, Sign.ANSWERED, Sign.TIMED_OUT, Sign.TIMED_OUT]:
        assert not made.observe(sign, POLICY, 1.0)
    assert made.observe(Sign.TIMED_OUT, POLICY, 1.0)
    assert state_of(made) == EJECTED


def test_checks_that_pass_between_failures_do_not_hide_that_each_request_dies() -> None:
    made = HealthRecord()
    for sign in [Sign.DIED, Sign.CHECK_PASSED, Sign.DIED, Sign.CHECK_PASSED, Sign.DIED]:
        made.observe(sign, POLICY, 1.0)
    assert state_of(made) == EJECTED


def test_without_a_probe_in_the_policy_failed_probes_eject_nobody() -> None:
    made = HealthRecord()
    for _ in range(10):
        assert not made.observe(Sign.PROBE_FAILED, HealthPolicy(), 1.0)
    assert state_of(made) == HEALTHY


def test_the_reason_is_that_of_the_strongest_sign_and_holds_the_detail() -> None:
    made = HealthRecord()
    made.observe(Sign.IDLE_CLOSED, POLICY, 1.0)
    assert (made.reason, made.sign, made.since) == ("idle connection closed", Sign.IDLE_CLOSED, 1.0)
    made.observe(Sign.DIED, POLICY, 2.0, "reset by peer")
    assert made.reason == "connection died during a request: reset by peer"
    made.observe(Sign.IDLE_CLOSED, POLICY, 3.0)
    assert (made.sign, made.since) == (Sign.DIED, 2.0)
    made.observe(Sign.CHECK_FAILED, POLICY, 4.0, "refused")
    assert (made.reason, made.since) == ("check failed: refused", 4.0)
