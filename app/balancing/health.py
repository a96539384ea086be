"""What we think of an endpoint's health, as one transition table.

`Pool` feeds the signs: from the ends of requests (`Lease.release`), from connections that broke
while idle, from the checks, and the verdicts on the probes (`app.probing.verdicts`). The table:

| sign            | healthy, suspect                | ejected by the probe     | by traffic   |
|-----------------|---------------------------------|--------------------------|--------------|
| (an answer)     | = 0                             | = 0                      | = 0          |
| connect refused | ejected by traffic              | by traffic               | -            |
| connect silent  | + 1: withheld; at limit ejected | + 1: at limit by traffic | -            |
| died            | + 1: withheld; at limit ejected | + 1: at limit by traffic | -            |
| timed out       | + 1: at limit ejected           | + 1: at limit by traffic | -            |
| idle closed     | suspect                         | -                        | -            |
| check passed    | healthy                         | healthy, = 0             | healthy, = 0 |
| check failed    | ejected by traffic              | by traffic               | -            |
| probe failed    | ejected by the probe            | -                        | -            |
| probe ignored   | -                               | healthy, = 0             | -            |

`+ 1` and `= 0` are of the failures in a row that requests saw. An answer is no `Sign`: it ends most
requests, and `Pool` sets the count itself. Withheld: suspect, and it gets nothing new. Ejected by
traffic is by anything but the probe: what requests and checks met.

A suspect endpoint is checked at once, by a connect that has to stand for a moment. A closed idle
connection alone is weak evidence, since a healthy server closes its idle connections too: it gets
requests meanwhile. A request that died is strong evidence: the endpoint is withheld until the
check is through, because a dying process still accepts what it will never read.

Only a passed check brings an ejected endpoint back: a late answer to an old request says nothing
about now, nor does the late end of a request that was sent before the endpoint came back (`Pool`
leaves it out, by `recovered_at`). One that nothing but the probe keeps out also returns when the
probe is ignored, since all fail it. What the application answers (4xx, 5xx), refusals, clients that
leave and errors of this machine (`OURS`) are no signs at all.
"""

import errno
from dataclasses import dataclass
from enum import Enum
from math import inf

from app.balancing.policy import HealthPolicy

OURS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN}
)
"""Errors of a connect that say something of this machine, and nothing of the worker."""


class Health(Enum):
    """What we think of an endpoint."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    EJECTED = "ejected"


class Sign(Enum):
    """Something seen of an endpoint; the value is said to people."""

    CONNECT_REFUSED = "connection refused"
    CONNECT_SILENT = "connection not accepted in time"
    DIED = "connection died during a request"
    TIMED_OUT = "no answer in time"
    IDLE_CLOSED = "idle connection closed"
    CHECK_PASSED = "check passed"
    CHECK_FAILED = "check failed"
    PROBE_FAILED = "probe failed"
    """The verdict after as many failures in a row as the pool allows."""

    PROBE_IGNORED = "probe ignored"


_COUNTED = frozenset({Sign.CONNECT_SILENT, Sign.DIED, Sign.TIMED_OUT})
_CHECKED = frozenset({Sign.CONNECT_SILENT, Sign.DIED, Sign.IDLE_CLOSED})
_FATAL = frozenset({Sign.CONNECT_REFUSED, Sign.CHECK_FAILED, Sign.PROBE_FAILED})


@dataclass(slots=True)
class HealthRecord:
    """The health of one endpoint, moved by `observe` alone."""

    state: Health = Health.HEALTHY
    withheld: bool = False
    """Whether it gets nothing new until its check is through: suspect on strong evidence."""

    failures: int = 0
    """Failures in a row, as seen by requests."""

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

    @property
    def ejected_by_probe(self) -> bool:
        """Whether nothing but the probe's verdict keeps it out."""
        return self.state is Health.EJECTED and self.sign is Sign.PROBE_FAILED

    def observe(self, sign: Sign, policy: HealthPolicy, now: float, detail: str = "") -> bool:
        """Take in a sign; return whether the state changed. `detail` is said with the reason."""
        if self.state is Health.EJECTED:
            return self._observe_ejected(sign, policy, now, detail)
        if sign is Sign.CHECK_PASSED:
            return self._enter(Health.HEALTHY, sign, now, detail)
        if self._condemned(sign, policy):
            return self._enter(Health.EJECTED, sign, now, detail)
        if sign in _CHECKED:
            self.doubted_at = now
            return self._enter(Health.SUSPECT, sign, now, detail, withheld=sign in _COUNTED)
        return False

    def _observe_ejected(self, sign: Sign, policy: HealthPolicy, now: float, detail: str) -> bool:
        by_probe = self.ejected_by_probe
        if sign is Sign.CHECK_PASSED or (sign is Sign.PROBE_IGNORED and by_probe):
            self.failures = 0
            self.recovered_at = now
            return self._enter(Health.HEALTHY, sign, now, detail)
        if by_probe and sign is not Sign.PROBE_FAILED and self._condemned(sign, policy):
            self._explain(sign, detail)  # still out, and now by more than the probe
        return False

    def _condemned(self, sign: Sign, policy: HealthPolicy) -> bool:
        """Count the sign; tell whether it ejects."""
        if sign in _COUNTED:
            self.failures += 1
            return self.failures >= policy.failures
        return sign in _FATAL

    def _enter(
        self, state: Health, sign: Sign, now: float, detail: str, *, withheld: bool = False
    ) -> bool:
        if self.state is state and self.withheld >= withheld:
            return False  # nothing new, or weaker evidence than there was
        self.state, self.withheld, self.since = state, withheld, now
        self._explain(sign, detail)
        return True

    def _explain(self, sign: Sign, detail: str) -> None:
        self.sign = sign
        self.reason = f"{sign.value}: {detail}" if detail else sign.value
