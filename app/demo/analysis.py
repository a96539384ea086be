"""The figures of a run, from what was recorded. Pure: the same recording gives the same figures.

Counts are the workers' own where there is a choice, and times come from the processes that made
them happen. A figure is None if the run was too short, or too broken, to show it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import ceil, inf
from typing import Any

from app.demo.records import Changed, Granted, Life, Recording, Retried, Sent
from app.demo.replay import Attempt, attempts, full_intervals, out_of_rotation, peak
from app.demo.scenario import Fault, Scenario

_SIGNS = frozenset({"suspect", "ejected"})
_MS = 1000.0


def figures(recording: Recording) -> dict[str, Any]:
    """Return all figures by name; times are wall time, in milliseconds."""
    records, scenario = recording.records, recording.scenario
    sent = attempts(records, full_intervals(records, scenario.cap))
    failed = sum(1 for response in recording.responses if response.error)
    retried = [r for r in records if isinstance(r, Retried)]
    return {
        "requests": recording.requests,
        "responses_ok": len(recording.responses) - failed,
        "responses_failed": recording.requests - len(recording.responses) + failed,
        "retried": len(retried),
        "retried_by": dict(Counter(r.outcome for r in retried)),
        "max_in_flight": _max_in_flight(recording),
        "worker_refusals": len(_refusals(recording)),
        "worker_refusals_unexpected": len(_unexpected(recording)),
        "max_spread": _max_spread(recording),
        "misplaced": _misplaced(recording, sent),
        "others_out": _others_out(recording),
        "sent_while_out": _sent_while_out(recording),
        **_detection(recording),
        "rejoin_ms": _rejoin(recording),
        "dispatch_ms": {
            "before": _percentiles(a.dispatch for a in sent if a.ready < recording.fault_at),
            "after": _percentiles(a.dispatch for a in sent if a.ready >= recording.fault_at),
        },
        "queue_wait_ms": _ms(max((a.waited for a in sent), default=0.0)),
        "send_late_ms": _percentiles(r.sent - r.due for r in recording.responses),
    }


# --- the victim's way out and back


def out_at(recording: Recording) -> Changed | None:
    """Return the change by which the victim stopped to get anything new after the fault."""
    changes = recording.changes(recording.scenario.victim)
    return next((c for c in changes if c.t >= recording.fault_at and not c.choosable), None)


def ejected_at(recording: Recording) -> Changed | None:
    """Return the change by which the victim was ejected."""
    changes = recording.changes(recording.scenario.victim)
    return next((c for c in changes if c.t >= recording.fault_at and c.phase == "ejected"), None)


def back_at(recording: Recording) -> Changed | None:
    """Return the change by which the victim could be chosen again after its return."""
    returned = recording.returned_at
    if returned is None:
        return None
    changes = recording.changes(recording.scenario.victim)
    return next((c for c in changes if c.t >= returned and c.choosable), None)


def _detection(recording: Recording) -> dict[str, float | None]:
    names = ("fault_to_sign_ms", "react_ms", "detect_ms", "react_ejected_ms")
    out = out_at(recording)
    if out is None:
        return dict.fromkeys(names)
    changes = recording.changes(recording.scenario.victim)
    first = next(c for c in changes if c.t >= recording.fault_at and c.phase in _SIGNS)
    # A hanging worker gives no sign until a threshold is crossed: the sign is what crosses it.
    sign = first if recording.scenario.fault is Fault.KILL else out
    ejected = ejected_at(recording)
    return {
        "fault_to_sign_ms": _ms(sign.sign_at - recording.fault_at),
        "react_ms": _ms(out.t - sign.sign_at),
        "detect_ms": _ms(out.t - recording.fault_at),
        "react_ejected_ms": None if ejected is None else _ms(ejected.t - sign.sign_at),
    }


def _rejoin(recording: Recording) -> float | None:
    back = back_at(recording)
    if back is None or recording.returned_at is None:
        return None
    return _ms(back.t - recording.returned_at)


def _sent_while_out(recording: Recording) -> int | None:
    """Count what the victim was sent from its way out to its return, flaps included."""
    out, back = out_at(recording), back_at(recording)
    if out is None:
        return None
    until = inf if back is None else back.t
    victim = recording.scenario.victim
    return sum(
        1
        for r in recording.records
        if isinstance(r, Sent) and r.worker == victim and out.t < r.t < until
    )


def _others_out(recording: Recording) -> int:
    """Count the workers' ways out but the victim's: while out, a worker is in no other figure."""
    names = set(recording.scenario.names) - {recording.scenario.victim}
    return sum(len(out_of_rotation(recording.changes(name))) for name in names)


# --- the choice


def _misplaced(recording: Recording, sent: Iterable[Attempt]) -> int:
    """Count the dispatches that did not go to a least-loaded worker of those that could be."""
    tried = {id(attempt.grant): attempt.tried for attempt in sent}
    return sum(
        1
        for grant in recording.records
        if isinstance(grant, Granted) and _passed_over(grant, tried.get(id(grant), frozenset()))
    )


def _passed_over(grant: Granted, tried: frozenset[str]) -> bool:
    """Tell whether a less loaded worker was passed over that this request had not tried yet."""
    others = set(grant.choosable) - tried - {grant.worker}
    before = grant.counts[grant.worker] - 1
    return grant.worker not in grant.choosable or any(grant.counts[o] < before for o in others)


def _max_spread(recording: Recording) -> dict[str, int | None]:
    settle = recording.scenario.wall(recording.scenario.settling)
    back = back_at(recording)
    returned = inf if recording.returned_at is None else recording.returned_at
    return {
        "before": _spread(recording, -inf, recording.fault_at),
        "during": _spread(recording, recording.fault_at + settle, returned),
        "after": None if back is None else _spread(recording, back.t + settle, inf),
    }


def _spread(recording: Recording, begin: float, end: float) -> int | None:
    """Return the largest difference between live workers right after a dispatch."""
    return max(
        (
            max(counts) - min(counts)
            for r in recording.records
            if isinstance(r, Granted) and begin <= r.t < end
            if (counts := [r.counts[worker] for worker in r.choosable])
        ),
        default=None,
    )


# --- the workers' own counts


def _max_in_flight(recording: Recording) -> dict[str, int | None]:
    fault = recording.fault_at
    returned = inf if recording.returned_at is None else recording.returned_at
    spans = {
        "overall": (-inf, inf),
        "before": (-inf, fault),
        "during": (fault, returned),
        "after": (returned, inf),
    }
    return {name: _peak(recording.lives, *span) for name, span in spans.items()}


def _peak(lives: Iterable[Life], begin: float, end: float) -> int | None:
    peaks = [peak([(c.t, c.in_flight) for c in life.counts], begin, end)
             for life in lives if life.ended is None or life.ended > begin]  # fmt: skip
    return max((p for p in peaks if p is not None), default=None)


def _refusals(recording: Recording) -> list[tuple[str, float]]:
    return [
        (life.worker, count.t)
        for life in recording.lives
        for count in life.counts
        if count.event == "refused"
    ]


def _unexpected(recording: Recording) -> list[tuple[str, float]]:
    """Return the refusals but those of a worker that has just gone on after a hang.

    It finds what was sent to it meanwhile, and may be full with that until it has seen that
    nobody waits for it any more: within a task's time at the most.
    """
    scenario: Scenario = recording.scenario
    refusals, returned = _refusals(recording), recording.returned_at
    if scenario.fault is not Fault.HANG or returned is None:
        return refusals
    until = returned + scenario.wall(scenario.task)
    return [
        (worker, t)
        for worker, t in refusals
        if worker != scenario.victim or not returned <= t <= until
    ]


# --- numbers


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of all values does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


def _percentiles(seconds: Iterable[float]) -> dict[str, float | int | None]:
    values = list(seconds)
    if not values:
        return {"p50": None, "p99": None, "max": None, "count": 0}
    return {
        "p50": _ms(percentile(values, 0.5)),
        "p99": _ms(percentile(values, 0.99)),
        "max": _ms(max(values)),
        "count": len(values),
    }


def _ms(seconds: float) -> float:
    return round(seconds * _MS, 3)
