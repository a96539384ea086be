"""What an endpoint is doing follows from membership and health, and from nothing else."""

from dataclasses import replace

import pytest

from app.balancing.endpoint import Endpoint, EndpointSpec, Phase
from app.balancing.health import Health

SPEC = EndpointSpec("uid-1:8000", "10.0.0.1", 8000, name="worker-1")


def endpoint(
    *,
    member: bool = True,
    serving: bool = True,
    terminating: bool = False,
    health: Health = Health.HEALTHY,
    resume_at: float | None = None,
) -> Endpoint:
    made = Endpoint(replace(SPEC, serving=serving, terminating=terminating))
    made.member, made.health.state, made.resume_at = member, health, resume_at
    return made


@pytest.mark.parametrize(
    ("made", "phase"),
    [
        (endpoint(), Phase.READY),
        (endpoint(health=Health.SUSPECT), Phase.SUSPECT),
        (endpoint(health=Health.SUSPECT, resume_at=1.0), Phase.REFUSING),
        (endpoint(health=Health.EJECTED, resume_at=1.0), Phase.EJECTED),
        (endpoint(health=Health.EJECTED, serving=False), Phase.UNREADY),
        (endpoint(serving=False, terminating=True), Phase.DRAINING),
        (endpoint(health=Health.EJECTED, terminating=True), Phase.DRAINING),
        (endpoint(terminating=True, member=False), Phase.GONE),
    ],
    ids=lambda value: value.value if isinstance(value, Phase) else "",
)
def test_the_phase_names_the_weightiest_fact(made: Endpoint, phase: Phase) -> None:
    assert made.phase is phase


@pytest.mark.parametrize(
    ("made", "usable", "primary"),
    [
        (endpoint(), True, True),
        (endpoint(health=Health.SUSPECT), True, True),
        (endpoint(resume_at=1.0), True, True),
        (endpoint(terminating=True), True, False),
        (endpoint(terminating=True, health=Health.EJECTED), False, False),
        (endpoint(health=Health.EJECTED), False, False),
        (endpoint(serving=False), False, False),
        (endpoint(member=False), False, False),
    ],
)
def test_a_terminating_endpoint_is_usable_but_not_primary(
    made: Endpoint, usable: bool, primary: bool
) -> None:
    assert (made.usable, made.primary) == (usable, primary)


def test_a_pause_and_a_check_under_way_withhold_an_endpoint() -> None:
    paused, checked, suspect = endpoint(resume_at=1.0), endpoint(), endpoint(health=Health.SUSPECT)
    checked.health.withheld = True
    assert paused.withheld
    assert checked.withheld
    assert not suspect.withheld


def test_one_fact_does_not_overwrite_the_other() -> None:
    made = endpoint(health=Health.EJECTED)
    for terminating, phase in [(True, Phase.DRAINING), (False, Phase.EJECTED)]:
        made.spec = replace(made.spec, terminating=terminating)
        assert made.phase is phase


def test_people_call_it_by_its_name_or_else_by_its_identity() -> None:
    assert endpoint().name == "worker-1"
    assert Endpoint(replace(SPEC, name="")).name == "uid-1:8000"
    assert repr(endpoint()) == "<Endpoint worker-1 ready in_flight=0>"
