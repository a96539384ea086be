"""What happens to the workers, said in the log: one line for each change of phase.

And one when the HTTP probe begins or ceases to be ignored.
"""

import logging

from app.balancing.endpoint import Endpoint, Phase

log = logging.getLogger("leastwise.workers")

_LEVELS = {Phase.EJECTED: logging.WARNING, Phase.SUSPECT: logging.DEBUG}


class EventLog:
    """Observes a pool and logs it."""

    def phase_changed(self, endpoint: Endpoint, before: Phase | None, now: float) -> None:  # noqa: ARG002
        """Say what became of the endpoint, and why."""
        phase = endpoint.phase
        if phase is Phase.READY and before is Phase.SUSPECT:
            level = logging.DEBUG
        else:
            level = _LEVELS.get(phase, logging.INFO)
        reason = f" ({endpoint.health.reason})" if phase in _LEVELS else ""
        log.log(
            level,
            "%s: %s -> %s%s, %d in flight",
            endpoint.name,
            "new" if before is None else before.value,
            phase.value,
            reason,
            endpoint.in_flight,
        )

    def health_changed(self, endpoint: Endpoint, now: float) -> None:
        """Nothing to say: the phase does."""

    def probe_ignored(self, ignored: bool) -> None:
        """Say that the probe has begun to be ignored, or is no longer."""
        if ignored:
            log.warning(
                "every worker fails the probe: it is ignored until one passes."
                " Look at its path and timeout, and at what its answer depends on"
            )
        else:
            log.info("the probe is no longer ignored")
