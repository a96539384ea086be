"""The retry table of `app.balancing.retry`, row by row, and the budget beside it."""

import pytest

from app.balancing.lease import Outcome
from app.balancing.policy import RetryPolicy
from app.balancing.retry import Failure, RetryBudget, may_repeat, may_retry, send_again

IDEMPOTENT = [b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"]
OTHERS = [b"POST", b"PATCH", b"CONNECT", b"get", b"PROPFIND"]

DEFAULT = RetryPolicy()
ANY_METHOD = RetryPolicy(non_idempotent=True)
ON_TIMEOUT = RetryPolicy(on_timeout=True)
ALL = RetryPolicy(non_idempotent=True, on_timeout=True)


def again(
    policy: RetryPolicy,
    failure: Failure,
    method: bytes,
    *,
    keyed: bool = False,
    replayable: bool = True,
) -> bool:
    return may_retry(policy, failure, method, keyed=keyed, replayable=replayable)


@pytest.mark.parametrize("method", IDEMPOTENT + OTHERS)
@pytest.mark.parametrize("policy", [DEFAULT, ALL])
@pytest.mark.parametrize("replayable", [True, False])
def test_nothing_written_always(policy: RetryPolicy, method: bytes, replayable: bool) -> None:
    assert again(policy, Failure.NOT_SENT, method, replayable=replayable)


@pytest.mark.parametrize("method", IDEMPOTENT + OTHERS)
@pytest.mark.parametrize("policy", [DEFAULT, ALL])
def test_refused_always(policy: RetryPolicy, method: bytes) -> None:
    assert again(policy, Failure.REFUSED, method)


@pytest.mark.parametrize("method", IDEMPOTENT)
def test_died_idempotent_methods(method: bytes) -> None:
    assert again(DEFAULT, Failure.DIED, method)


@pytest.mark.parametrize("method", OTHERS)
def test_died_other_methods_with_a_key_or_a_policy_that_says_so(method: bytes) -> None:
    assert not again(DEFAULT, Failure.DIED, method)
    assert again(DEFAULT, Failure.DIED, method, keyed=True)
    assert again(ANY_METHOD, Failure.DIED, method)


@pytest.mark.parametrize("method", IDEMPOTENT + OTHERS)
def test_timed_out_never_by_default(method: bytes) -> None:
    assert not again(DEFAULT, Failure.TIMED_OUT, method)
    assert not again(DEFAULT, Failure.TIMED_OUT, method, keyed=True)
    assert not again(ANY_METHOD, Failure.TIMED_OUT, method)


@pytest.mark.parametrize("method", IDEMPOTENT)
def test_timed_out_idempotent_methods_if_the_policy_says_so(method: bytes) -> None:
    assert again(ON_TIMEOUT, Failure.TIMED_OUT, method)


@pytest.mark.parametrize("method", OTHERS)
def test_timed_out_other_methods_if_the_policy_says_both(method: bytes) -> None:
    assert not again(ON_TIMEOUT, Failure.TIMED_OUT, method)
    assert again(ON_TIMEOUT, Failure.TIMED_OUT, method, keyed=True)
    assert again(ALL, Failure.TIMED_OUT, method)


@pytest.mark.parametrize("failure", [Failure.DIED, Failure.TIMED_OUT, Failure.REFUSED])
def test_what_is_no_longer_held_in_full_is_not_sent_again(failure: Failure) -> None:
    assert not again(ALL, failure, b"GET", keyed=True, replayable=False)


@pytest.mark.parametrize("method", IDEMPOTENT + OTHERS)
def test_who_may_be_done_twice(method: bytes) -> None:
    assert may_repeat(DEFAULT, method, keyed=False) is (method in IDEMPOTENT)
    assert may_repeat(DEFAULT, method, keyed=True)
    assert may_repeat(ANY_METHOD, method, keyed=False)


def withdrawals(budget: RetryBudget, now: float) -> int:
    """Take out all that the budget gives."""
    taken = 0
    while budget.withdraw(now):
        taken += 1
    return taken


def test_a_pool_with_little_traffic_has_ten_retries_a_second_over_ten_seconds() -> None:
    assert withdrawals(RetryBudget(), 1000.0) == 100


def test_every_fifth_request_may_be_retried_on_top() -> None:
    budget = RetryBudget(per_second=0.0)
    for _ in range(50):
        budget.deposit(1000.0)
    assert withdrawals(budget, 1000.9) == 10
    budget.deposit(1001.0)
    assert withdrawals(budget, 1001.0) == 1  # 51 requests give 10.2: begun is had
    for _ in range(4):
        budget.deposit(1001.0)
    assert withdrawals(budget, 1001.0) == 0


def test_what_is_older_than_the_window_no_longer_counts() -> None:
    budget = RetryBudget(per_second=0.0, window=10)
    for _ in range(50):
        budget.deposit(1000.0)
    budget.withdraw(1000.0)
    for _ in range(25):
        budget.deposit(1005.0)
    assert withdrawals(budget, 1009.9) == 14  # 75 requests give 15, one is spent
    assert withdrawals(budget, 1010.0) == 0  # 25 requests give 5, but 14 were taken a moment ago
    assert withdrawals(budget, 1014.9) == 0
    assert withdrawals(budget, 1100.0) == 0
    budget.deposit(1100.0)
    assert withdrawals(budget, 1100.0) == 1


def test_a_spent_reserve_fills_again_as_the_window_moves() -> None:
    budget = RetryBudget(ratio=0.0, per_second=2.0, window=10)
    assert withdrawals(budget, 1000.0) == 20
    assert withdrawals(budget, 1009.9) == 0
    assert withdrawals(budget, 1010.0) == 20


# --- table and budget together


def decide(outcome: Outcome, budget: RetryBudget, method: bytes = b"GET") -> bool:
    return send_again(ON_TIMEOUT, budget, outcome, 0.0, method, keyed=False, replayable=True)


AGAIN = {
    *(Outcome.CONNECT_REFUSED, Outcome.CONNECT_SILENT, Outcome.REFUSED),
    *(Outcome.DIED, Outcome.TIMED_OUT, Outcome.STALLED),
}


@pytest.mark.parametrize("outcome", Outcome)
def test_which_ends_of_an_attempt_lead_to_another(outcome: Outcome) -> None:
    assert decide(outcome, RetryBudget()) is (outcome in AGAIN)


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome in AGAIN])
def test_what_no_worker_began_costs_the_budget_nothing(outcome: Outcome) -> None:
    budget = RetryBudget(ratio=0.0, per_second=1.0, window=1)
    free = outcome in {Outcome.CONNECT_REFUSED, Outcome.CONNECT_SILENT, Outcome.REFUSED}
    assert [decide(outcome, budget) for _ in range(3)] == [True, free, free]


def test_what_may_not_be_sent_again_costs_the_budget_nothing() -> None:
    budget = RetryBudget(ratio=0.0, per_second=1.0, window=1)
    assert not decide(Outcome.DIED, budget, b"POST")
    assert decide(Outcome.DIED, budget, b"GET")
