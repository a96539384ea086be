"""What the failures of a pool's HTTP probe mean: a worker is bad, or the probe is.

A worker that fails its probe as often in a row as the pool allows is ejected, unless no other is
left that stands: a probe that every worker fails tells more about the probe (its path, its timeout,
what it depends on) than about them. Then the probe is *ignored*: those that it alone keeps out
return. When a worker passes again this ends, and those that still fail are ejected.

Asked are the members that serve and do not terminate; if there are none, all that serve. One of
them is *failing* once it failed as often in a row as allowed; it *stands* if it is neither failing
nor ejected; it is *down* if traffic ejected it and it is not failing: its port refuses. The table:

| what happens                               | probe obeyed              | probe ignored           |
|--------------------------------------------|---------------------------|-------------------------|
| one is failing, and another stands         | it is ejected             | -                       |
| the last that stood is failing             | ignored from now on       | -                       |
| one that is out fails, none stands, or is  | ignored from now on, if   | -                       |
| down                                       | the probe keeps one out   |                         |
| one passes                                 | its failures are 0        | obeyed: all others that |
|                                            |                           | are failing are ejected |

So the death of the last good worker brings no bad one back: while all are out, requests wait. What
traffic ejected stays out until it passes, whatever the others do.

Sans-I/O: told by `prober` of each answer, it returns the signs that the pool is to be told.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from app.balancing.endpoint import Endpoint
from app.balancing.health import Health, Sign

Signs = list[tuple[Endpoint, Sign, str]]
"""What the pool is to be told: of whom, what, and the detail for people."""


@dataclass(slots=True)
class _Failing:
    times: int = 0
    detail: str = ""


class Verdicts:
    """The probe of one pool, and who fails it."""

    def __init__(self) -> None:
        self.ignored = False
        """Whether the probe ejects nobody, because every worker fails it."""

        self._failing: dict[Endpoint, _Failing] = {}

    def passed(self, endpoint: Endpoint, limit: int, members: Iterable[Endpoint]) -> Signs:
        """Take in a passed probe."""
        self._failing.pop(endpoint, None)
        members = list(members)
        if not self.ignored or endpoint not in _asked_for(members):
            return []
        self.ignored = False
        return [self._failed(other) for other in members if self._fails(other, limit)]

    def failed(
        self, endpoint: Endpoint, detail: str, limit: int, members: Iterable[Endpoint]
    ) -> Signs:
        """Take in a failed probe. `limit` is how many in a row make an endpoint fail."""
        failing = self._failing.setdefault(endpoint, _Failing())
        failing.times += 1
        failing.detail = detail
        members = _asked_for(members)
        if endpoint not in members:
            return [self._failed(endpoint)] if failing.times >= limit else []
        if self.ignored or failing.times < limit:
            return []
        others = [other for other in members if other is not endpoint]
        out = [other for other in others if other.health.state is Health.EJECTED]
        if any(other not in out and not self._fails(other, limit) for other in others):
            return [self._failed(endpoint)]
        spared = [other for other in members if other.health.ejected_by_probe]
        stood = endpoint.health.state is not Health.EJECTED
        down = any(not self._fails(other, limit) for other in out)
        if stood or (spared and not down):
            self.ignored = True
            return [(other, Sign.PROBE_IGNORED, "all fail it") for other in spared]
        return []

    def forget(self, endpoint: Endpoint) -> None:
        """Let go of an endpoint: it has left, or its port refuses, which says nothing of probes."""
        self._failing.pop(endpoint, None)

    def reset(self) -> None:
        """Begin anew: the pool asks for something else now."""
        self.ignored = False
        self._failing.clear()

    def _fails(self, endpoint: Endpoint, limit: int) -> bool:
        failing = self._failing.get(endpoint)
        return failing is not None and failing.times >= limit

    def _failed(self, endpoint: Endpoint) -> tuple[Endpoint, Sign, str]:
        return endpoint, Sign.PROBE_FAILED, self._failing[endpoint].detail


def _asked_for(members: Iterable[Endpoint]) -> list[Endpoint]:
    """Return those that requests are meant for, whatever their health."""
    serving = [one for one in members if one.member and one.spec.serving]
    return [one for one in serving if not one.spec.terminating] or serving
