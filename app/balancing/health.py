"""What we think of an endpoint's health, as one transition table.

`Pool` feeds the signs: from the ends of requests (`Lease.release`), from connections that broke
while idle, and from the probes. The table:

| sign             | healthy, suspect                                  | ejected               |
|------------------|---------------------------------------------------|-----------------------|
| answered         | failures = 0                                      | failures = 0          |
| connect refused  | ejected                                           | -                     |
| connect silent   | failures + 1: suspect, withheld; ejected at limit | -                     |
| died             | failures + 1: suspect, withheld; ejected at limit | -                     |
| timed out        | failures + 1: ejected at limit                    | -                     |
| idle closed      | suspect                                           | -                     |
| check passed     | healthy, failures stay                            | healthy, all counts 0 |
| check failed     | ejected                                           | -                     |
| probe passed     | probe failures = 0                                | -                     |
| probe failed     | probe failures + 1: ejected at limit              | -                     |

A suspect endpoint is checked at once, by a connect that has to stand for a moment. A closed idle
connection alone is weak evidence, since a healthy server closes its idle connections too: it gets
requests meanwhile. A request that died is strong evidence: the endpoint is withheld until the
check is through, because a dying process still accepts what it will never read.

Only a check brings an ejected endpoint back: a late answer to an old request says nothing about
now. Nor does the late end of a request that was sent before the endpoint came back (`Pool` leaves
it out, by `recovered_at`). What the application answers (4xx, 5xx), refusals and clients that leave
are no signs at all.
"""

from dataclasses import dataclass
from enum import Enum
from math import inf

from app.balancing.policy import HealthPolicy


class Health(Enum):
    """What we think of an endpoint."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    EJECTED = "ejected"


class Sign(Enum):
    """Something seen of an endpoint; the value is said to people."""

    ANSWERED = "answered"
    CONNECT_REFUSED = "connection refused"
    CONNECT_SILENT = "connection not accepted in time"
    DIED = "connection died during a request"
    TIMED_OUT = "no first byte in time"
    IDLE_CLOSED = "idle connection closed"
    CHECK_PASSED = "check passed"
    CHECK_FAILED = "check failed"
    PROBE_PASSED = "probe passed"
    PROBE_FAILED = "probe failed"


_COUNTED = frozenset({Sign.CONNECT_SILENT, Sign.DIED, Sign.TIMED_OUT})
_CHECKED = frozenset({Sign.CONNECT_SILENT, Sign.DIED, Sign.IDLE_CLOSED})
_FATAL = frozenset({Sign.CONNECT_REFUSED, Sign.CHECK_FAILED})


@dataclass(slots=True)
class HealthRecord:
    """The health of one endpoint, moved by `observe` alone."""

    state: Health = Health.HEALTHY
    withheld: bool = False
    """Whether it gets nothing new until its check is through: suspect on strong evidence."""

    failures: int = 0
    """Failures in a row, as seen by requests."""

    probe_failures: int = 0
    reason: str = ""
    """Why it is suspect or ejected."""

    sign: Sign | None = None
    """The sign that brought it into its state."""

    since: float = 0.0
    """When it entered its state."""

    doubted_at: float = -inf
    """When a sign last called for a check."""

    recovered_at: float = -inf
    """When it last came back from being ejected."""

    def observe(self, sign: Sign, policy: HealthPolicy, now: float, detail: str = "") -> bool:
        """Take in a sign; return whether the state changed. `detail` is said with the reason."""
        if sign is Sign.ANSWERED:  # on every request's way: first, and without a change of state
            self.failures = 0
            return False
        if self.state is Health.EJECTED:
            if sign is not Sign.CHECK_PASSED:
                return False
            self.failures = self.probe_failures = 0
            self.recovered_at = now
            return self._enter(Health.HEALTHY, sign, now, detail)
        if sign is Sign.CHECK_PASSED:
            return self._enter(Health.HEALTHY, sign, now, detail)
        if sign is Sign.PROBE_PASSED:
            self.probe_failures = 0
            return False
        if self._condemned(sign, policy):
            return self._enter(Health.EJECTED, sign, now, detail)
        if sign in _CHECKED:
            self.doubted_at = now
            return self._enter(Health.SUSPECT, sign, now, detail, withheld=sign in _COUNTED)
        return False

    def _condemned(self, sign: Sign, policy: HealthPolicy) -> bool:
        """Count the sign; tell whether it ejects."""
        if sign in _FATAL:
            return True
        if sign in _COUNTED:
            self.failures += 1
            return self.failures >= policy.failures
        if sign is Sign.PROBE_FAILED:
            self.probe_failures += 1
            return policy.probe is not None and self.probe_failures >= policy.probe.failures
        return False

    def _enter(
        self, state: Health, sign: Sign, now: float, detail: str, *, withheld: bool = False
    ) -> bool:
        if self.state is state and self.withheld >= withheld:
            return False  # nothing new, or weaker evidence than there was
        self.state, self.withheld, self.sign, self.since = state, withheld, sign, now
        self.reason = f"{sign.value}: {detail}" if detail else sign.value
        return True
