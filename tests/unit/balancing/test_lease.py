"""A lease is released exactly once, and its outcome says what is to be learned of the worker."""

import pytest

from app.balancing.endpoint import Endpoint, EndpointSpec
from app.balancing.errors import LeaseReleasedError, Refusal
from app.balancing.health import Health, Sign
from app.balancing.lease import LET_DOWN, SIGNS, Lease, Outcome
from app.balancing.policy import HealthPolicy, Policy
from app.balancing.pool import Pool


class Impatient:
    """A claimant that does not come to wait."""

    def granted(self, lease: Lease) -> None:
        raise AssertionError

    def refused(self, refusal: Refusal) -> None:
        raise AssertionError


class Recorder:
    """A dispatch observer that notes what it is told, with the endpoint's count at that moment."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, ...]] = []

    def granted(self, lease: Lease, pool: Pool) -> None:
        self.seen.append(("granted", lease, pool.in_flight, lease.endpoint.in_flight))

    def released(self, lease: Lease, outcome: Outcome) -> None:
        self.seen.append(("released", lease, outcome, lease.endpoint.in_flight))


def pool_of_one() -> tuple[Pool, Endpoint]:
    pool = Pool(Policy(health=HealthPolicy(failures=2)))
    pool.apply_snapshot([EndpointSpec("uid", "10.0.0.1", 8000, name="worker")], 0.0)
    return pool, pool.endpoints["uid"]


def lease_from(pool: Pool, now: float = 1.0) -> Lease:
    got = pool.acquire(Impatient(), now)
    assert isinstance(got, Lease)
    return got


def test_a_lease_knows_its_endpoint_and_since_when() -> None:
    pool, endpoint = pool_of_one()
    lease = lease_from(pool, 5.0)
    assert (lease.endpoint, lease.granted_at, lease.released) == (endpoint, 5.0, False)
    assert (endpoint.in_flight, endpoint.granted, pool.in_flight) == (1, 1, 1)


@pytest.mark.parametrize("outcome", Outcome)
def test_whatever_the_outcome_the_slot_comes_back(outcome: Outcome) -> None:
    pool, endpoint = pool_of_one()
    lease = lease_from(pool)
    lease.release(outcome, 2.0)
    assert lease.released
    assert (endpoint.in_flight, endpoint.granted, pool.in_flight) == (0, 1, 0)


def test_a_second_release_is_an_error_and_changes_nothing() -> None:
    pool, endpoint = pool_of_one()
    lease, _other = lease_from(pool), lease_from(pool)
    lease.release(Outcome.ANSWERED, 2.0)
    with pytest.raises(LeaseReleasedError, match="worker: connection died"):
        lease.release(Outcome.DIED, 3.0)
    assert (endpoint.in_flight, endpoint.failed, pool.in_flight) == (1, 0, 1)


def test_a_release_after_the_endpoint_has_left_is_harmless() -> None:
    pool, endpoint = pool_of_one()
    lease = lease_from(pool)
    pool.apply_snapshot([], 2.0)
    lease.release(Outcome.ANSWERED, 3.0)
    assert (endpoint.in_flight, pool.in_flight, pool.endpoints) == (0, 0, {})


@pytest.mark.parametrize(
    ("outcome", "failed", "connect_errors", "refusals", "health"),
    [
        (Outcome.ANSWERED, 0, 0, 0, Health.HEALTHY),
        (Outcome.REFUSED, 0, 0, 1, Health.HEALTHY),
        (Outcome.CONNECT_REFUSED, 0, 1, 0, Health.EJECTED),
        (Outcome.CONNECT_SILENT, 0, 1, 0, Health.SUSPECT),
        (Outcome.DIED, 1, 0, 0, Health.SUSPECT),
        (Outcome.TIMED_OUT, 1, 0, 0, Health.HEALTHY),
        (Outcome.STALLED, 1, 0, 0, Health.HEALTHY),
        (Outcome.GARBLED, 1, 0, 0, Health.HEALTHY),
        (Outcome.CLIENT_GONE, 0, 0, 0, Health.HEALTHY),
        (Outcome.EXPIRED, 0, 0, 0, Health.HEALTHY),
        (Outcome.CANCELLED, 0, 0, 0, Health.HEALTHY),
    ],
    ids=lambda value: value.value if isinstance(value, Outcome) else "",
)
def test_what_is_learned_from_an_outcome(
    outcome: Outcome, failed: int, connect_errors: int, refusals: int, health: Health
) -> None:
    pool, endpoint = pool_of_one()
    lease_from(pool).release(outcome, 2.0, detail="why")
    counts = (endpoint.failed, endpoint.connect_errors, endpoint.refusals)
    assert counts == (failed, connect_errors, refusals)
    assert endpoint.health.state is health
    bad = failed or connect_errors
    assert endpoint.last_error == (f"{outcome.value}: why" if bad else "")
    assert endpoint.last_error_at == (2.0 if bad else None)


def test_an_error_without_a_detail_is_said_by_its_outcome() -> None:
    pool, endpoint = pool_of_one()
    lease_from(pool).release(Outcome.STALLED, 2.0)
    assert endpoint.last_error == "stalled"


def test_an_answer_ends_the_row_of_failures() -> None:
    pool, endpoint = pool_of_one()
    for outcome in [Outcome.TIMED_OUT, Outcome.ANSWERED, Outcome.TIMED_OUT]:
        lease_from(pool).release(outcome, 2.0)
    assert endpoint.health.failures == 1
    lease_from(pool).release(Outcome.TIMED_OUT, 2.0)
    assert endpoint.health.state is Health.EJECTED


def test_what_the_client_or_we_ended_says_nothing_of_the_worker() -> None:
    pool, endpoint = pool_of_one()
    ours = [Outcome.CLIENT_GONE, Outcome.EXPIRED, Outcome.CANCELLED, Outcome.REFUSED]
    lease_from(pool).release(Outcome.TIMED_OUT, 2.0)
    leases = [(lease_from(pool), outcome) for outcome in ours]
    for lease, outcome in leases:
        lease.release(outcome, 2.0)
    assert endpoint.health.failures == 1


def test_a_late_answer_does_not_bring_an_ejected_endpoint_back() -> None:
    pool, endpoint = pool_of_one()
    old, other = lease_from(pool), lease_from(pool)
    other.release(Outcome.CONNECT_REFUSED, 2.0)
    old.release(Outcome.ANSWERED, 3.0)
    assert endpoint.health.state is Health.EJECTED
    assert pool.rotation == set()


def test_each_outcome_that_is_a_sign_says_the_same_as_the_sign() -> None:
    assert {outcome.name: sign.name for outcome, sign in SIGNS.items()} == {
        outcome.name: outcome.name for outcome in Outcome if outcome.name in Sign.__members__
    }
    assert LET_DOWN.isdisjoint({Outcome.ANSWERED, Outcome.REFUSED, Outcome.CLIENT_GONE})


def test_a_dispatch_observer_is_told_of_each_slot_given_and_given_back() -> None:
    pool, _ = pool_of_one()
    pool.dispatch_observer = recorder = Recorder()
    first, second = lease_from(pool), lease_from(pool)
    first.release(Outcome.CLIENT_GONE, 2.0)
    assert recorder.seen == [
        ("granted", first, 1, 1),
        ("granted", second, 2, 2),
        ("released", first, Outcome.CLIENT_GONE, 1),
    ]
