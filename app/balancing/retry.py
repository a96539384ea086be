"""May this request be sent again, to another worker? One table, and the budget beside it.

| what happened                                       | sent again                               |
|-----------------------------------------------------|------------------------------------------|
| nothing of the request was written                  | always, any method, outside the budget   |
| written, died before anything was passed on         | idempotent methods; `Idempotency-Key`;   |
|                                                     | any method if `retry.non_idempotent`     |
| no answer in time, or the worker stopped reading    | the same, if `retry.on_timeout`          |
| the worker answered a status that means "full"      | always, any method, outside the budget   |
| a byte of the final response went to the client     | never (the exchange does not even ask)   |

1xx is not a final response. Beyond the first row, a request whose body did not fit the replay
buffer is not sent again. The budget keeps retries from feeding an overload: a fixed share of the
requests, and a few a second on top for pools with little traffic.
"""

from collections import deque
from enum import Enum
from typing import Final

from app.balancing.lease import Outcome
from app.balancing.policy import RetryPolicy

IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
"""RFC 9110, section 9.2.2."""


class Failure(Enum):
    """How an attempt failed, as far as sending it again is concerned."""

    NOT_SENT = "not sent"
    DIED = "died"
    TIMED_OUT = "timed out"
    REFUSED = "refused"


_FAILURES: Final = {
    Outcome.CONNECT_REFUSED: Failure.NOT_SENT,
    Outcome.CONNECT_SILENT: Failure.NOT_SENT,
    Outcome.DIED: Failure.DIED,
    Outcome.TIMED_OUT: Failure.TIMED_OUT,
    Outcome.STALLED: Failure.TIMED_OUT,
    Outcome.REFUSED: Failure.REFUSED,
}
"""Outcomes that are not here end the request."""

_UNBUDGETED: Final = frozenset({Failure.NOT_SENT, Failure.REFUSED})


def may_retry(
    policy: RetryPolicy, failure: Failure, method: bytes, *, keyed: bool, replayable: bool
) -> bool:
    """Tell whether the table allows another attempt.

    `keyed`: the request carries an Idempotency-Key. `replayable`: its body, as far as it came,
    is still held in full.
    """
    if failure is Failure.NOT_SENT:
        return True
    if not replayable:
        return False
    if failure is Failure.REFUSED:
        return True
    if failure is Failure.TIMED_OUT and not policy.on_timeout:
        return False
    return may_repeat(policy, method, keyed=keyed)


def send_again(
    policy: RetryPolicy,
    budget: "RetryBudget",
    outcome: Outcome,
    now: float,
    method: bytes,
    *,
    keyed: bool,
    replayable: bool,
) -> bool:
    """Decide by the table and the budget whether a request that got no answer is sent again.

    `outcome` is how the attempt ended. A retry that the table puts inside the budget is taken out.
    """
    failure = _FAILURES.get(outcome)
    return (
        failure is not None
        and may_retry(policy, failure, method, keyed=keyed, replayable=replayable)
        and (failure in _UNBUDGETED or budget.withdraw(now))
    )


def may_repeat(policy: RetryPolicy, method: bytes, *, keyed: bool) -> bool:
    """Tell whether a worker may be given the request though another may have done it."""
    return policy.non_idempotent or keyed or method in IDEMPOTENT


class RetryBudget:
    """Bounds retries to a share of the requests of the last seconds, as linkerd does.

    `deposit` once a request, `withdraw` before each retry that the table puts inside the budget.
    Times are in seconds; the window moves in steps of one.
    """

    def __init__(self, *, ratio: float = 0.2, per_second: float = 10.0, window: int = 10) -> None:
        self._ratio = ratio
        self._reserve = per_second * window
        self._window = window
        self._steps: deque[tuple[int, int, int]] = deque()  # second, requests, retries
        self._second = 0
        self._requests = 0
        self._retries = 0
        self._past_requests = 0
        self._past_retries = 0

    def deposit(self, now: float) -> None:
        """Count a request."""
        if int(now) != self._second:
            self._advance(int(now))
        self._requests += 1

    def withdraw(self, now: float) -> bool:
        """Take one retry out, if one is left."""
        if int(now) != self._second:
            self._advance(int(now))
        requests = self._past_requests + self._requests
        if self._past_retries + self._retries >= self._reserve + self._ratio * requests:
            return False
        self._retries += 1
        return True

    def _advance(self, second: int) -> None:
        self._steps.append((self._second, self._requests, self._retries))
        self._past_requests += self._requests
        self._past_retries += self._retries
        self._second, self._requests, self._retries = second, 0, 0
        while self._steps and self._steps[0][0] <= second - self._window:
            _, requests, retries = self._steps.popleft()
            self._past_requests -= requests
            self._past_retries -= retries
