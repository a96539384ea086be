"""The transition table of `app.balancing.health`, row by row."""

import errno

import pytest

from app.balancing.health import OURS, Health, HealthRecord, Sign
from app.balancing.policy import HealthPolicy, ProbePolicy

POLICY = HealthPolicy(failures=3, probe=ProbePolicy("/readyz", failures=3))

State = tuple[Health, bool]
"""With whether it is withheld."""

HEALTHY: State = (Health.HEALTHY, False)
SUSPECT: State = (Health.SUSPECT, False)
WITHHELD: State = (Health.SUSPECT, True)
EJECTED: State = (Health.EJECTED, False)


def record(state: State, failures: int = 1, sign: Sign | None = None) -> HealthRecord:
    return HealthRecord(*state, failures, reason="before", sign=sign, since=1.0)


def state_of(made: HealthRecord) -> State:
    return made.state, made.withheld


@pytest.mark.parametrize(
    ("sign", "healthy", "suspect", "withheld", "failures"),
    [
        # sign               from healthy  suspect   withheld  failures from 1
        (Sign.CONNECT_REFUSED, EJECTED, EJECTED, EJECTED, 1),
        (Sign.CONNECT_SILENT, WITHHELD, WITHHELD, WITHHELD, 2),
        (Sign.DIED, WITHHELD, WITHHELD, WITHHELD, 2),
        (Sign.TIMED_OUT, HEALTHY, SUSPECT, WITHHELD, 2),
        (Sign.IDLE_CLOSED, SUSPECT, SUSPECT, WITHHELD, 1),
        (Sign.CHECK_PASSED, HEALTHY, HEALTHY, HEALTHY, 1),
        (Sign.CHECK_FAILED, EJECTED, EJECTED, EJECTED, 1),
        (Sign.PROBE_FAILED, EJECTED, EJECTED, EJECTED, 1),
        (Sign.PROBE_IGNORED, HEALTHY, SUSPECT, WITHHELD, 1),
    ],
    ids=lambda value: value.value if isinstance(value, Sign) else "",
)
def test_a_sign_below_the_limits(
    sign: Sign, healthy: State, suspect: State, withheld: State, failures: int
) -> None:
    for before, after in [(HEALTHY, healthy), (SUSPECT, suspect), (WITHHELD, withheld)]:
        made = record(before)
        changed = made.observe(sign, POLICY, 2.0)
        assert state_of(made) == after
        assert made.failures == failures
        assert changed == (before != after)
        assert made.since == (2.0 if changed else 1.0)
        assert made.reason == (sign.value if changed else "before")


def test_every_sign_has_its_row() -> None:
    marks = test_a_sign_below_the_limits.pytestmark  # type: ignore[attr-defined]
    rows = [row[0] for mark in marks for row in mark.args[1]]
    assert sorted(row.value for row in rows) == sorted(sign.value for sign in Sign)


@pytest.mark.parametrize("before", [HEALTHY, SUSPECT, WITHHELD], ids=str)
@pytest.mark.parametrize("sign", [Sign.CONNECT_SILENT, Sign.DIED, Sign.TIMED_OUT])
def test_a_counted_sign_ejects_at_its_limit(sign: Sign, before: State) -> None:
    made = record(before, failures=2)
    assert made.observe(sign, POLICY, 2.0)
    assert (state_of(made), made.sign, made.since) == (EJECTED, sign, 2.0)
    assert not made.ejected_by_probe


@pytest.mark.parametrize("sign", set(Sign) - {Sign.CHECK_PASSED}, ids=lambda sign: sign.value)
def test_what_traffic_ejected_stays_out_whatever_is_seen_of_it_but_a_passed_check(
    sign: Sign,
) -> None:
    made = record(EJECTED, failures=2, sign=Sign.CONNECT_REFUSED)
    assert not made.observe(sign, POLICY, 2.0)
    assert (state_of(made), made.sign) == (EJECTED, Sign.CONNECT_REFUSED)
    assert (made.reason, made.since) == ("before", 1.0)


@pytest.mark.parametrize("sign", [Sign.CHECK_PASSED, Sign.PROBE_IGNORED])
def test_what_brings_one_back_that_the_probe_ejected(sign: Sign) -> None:
    made = record(EJECTED, failures=2, sign=Sign.PROBE_FAILED)
    assert made.ejected_by_probe
    assert made.observe(sign, POLICY, 2.0)
    assert (state_of(made), made.failures, made.recovered_at) == (HEALTHY, 0, 2.0)


@pytest.mark.parametrize(
    ("sign", "failures", "still_by_probe", "then"),
    [
        (Sign.CONNECT_REFUSED, 0, False, 0),
        (Sign.CHECK_FAILED, 0, False, 0),
        (Sign.DIED, 1, True, 2),
        (Sign.DIED, 2, False, 3),
        (Sign.TIMED_OUT, 2, False, 3),
        (Sign.CONNECT_SILENT, 2, False, 3),
        (Sign.IDLE_CLOSED, 2, True, 2),
        (Sign.PROBE_FAILED, 2, True, 2),
    ],
)
def test_what_keeps_one_out_beside_the_probe(
    sign: Sign, failures: int, still_by_probe: bool, then: int
) -> None:
    made = record(EJECTED, failures, Sign.PROBE_FAILED)
    assert not made.observe(sign, POLICY, 2.0)
    assert (state_of(made), made.failures) == (EJECTED, then)
    assert made.ejected_by_probe is still_by_probe
    assert made.observe(Sign.PROBE_IGNORED, POLICY, 3.0) is still_by_probe


def test_a_passed_check_brings_an_ejected_endpoint_back_with_its_count_at_0() -> None:
    made = record(EJECTED, failures=3, sign=Sign.TIMED_OUT)
    assert made.observe(Sign.CHECK_PASSED, POLICY, 2.0)
    assert (state_of(made), made.failures) == (HEALTHY, 0)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_a_want_of_this_machine_is_ours(number: int) -> None:
    assert number in OURS


@pytest.mark.parametrize(
    "number",
    [errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT],
)
def test_what_the_network_says_is_not_ours(number: int) -> None:
    assert number not in OURS


def test_failures_have_to_be_in_a_row() -> None:
    made = HealthRecord()
    for _ in range(2):
        made.failures = 0  # an answer
        for _ in range(2):
            assert not made.observe(Sign.TIMED_OUT, POLICY, 1.0)
    assert made.observe(Sign.TIMED_OUT, POLICY, 1.0)
    assert state_of(made) == EJECTED


def test_checks_that_pass_between_failures_do_not_hide_that_each_request_dies() -> None:
    made = HealthRecord()
    for sign in [Sign.DIED, Sign.CHECK_PASSED, Sign.DIED, Sign.CHECK_PASSED, Sign.DIED]:
        made.observe(sign, POLICY, 1.0)
    assert state_of(made) == EJECTED


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
