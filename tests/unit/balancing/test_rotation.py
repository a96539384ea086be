"""Who is in rotation: what discovery, health and the workers' own refusals make of it."""

from math import inf
from random import Random

import pytest

from app.balancing.endpoint import Endpoint, EndpointSpec, Phase
from app.balancing.errors import NoEndpoint, QueueTimeout, Refusal
from app.balancing.health import Sign
from app.balancing.lease import Lease, Outcome
from app.balancing.policy import HealthPolicy, Policy, ProbePolicy
from app.balancing.pool import REFUSAL_PAUSE, REFUSAL_PAUSE_MAX, Pool


class Client:
    """A claimant that notes what it is told."""

    def __init__(self) -> None:
        self.leases: list[Lease] = []
        self.refusals: list[Refusal] = []

    def granted(self, lease: Lease) -> None:
        self.leases.append(lease)

    def refused(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)

    @property
    def got(self) -> str:
        return "".join(lease.endpoint.name for lease in self.leases)


class Recorder:
    """An observer that notes what it is told."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, Phase | None, Phase, float]] = []
        self.healths: list[tuple[str, str, float]] = []

    def phase_changed(self, endpoint: Endpoint, before: Phase | None, now: float) -> None:
        self.phases.append((endpoint.name, before, endpoint.phase, now))

    def health_changed(self, endpoint: Endpoint, now: float) -> None:
        self.healths.append((endpoint.name, endpoint.health.state.value, now))


def spec(
    name: str, *, serving: bool = True, terminating: bool = False, host: str = "10.0.0.1"
) -> EndpointSpec:
    return EndpointSpec(name, host, 8000, serving=serving, terminating=terminating)


def pool_of(*specs: EndpointSpec, cap: int | None = 1) -> Pool:
    health = HealthPolicy(failures=3, probe=ProbePolicy("/readyz", failures=2))
    pool = Pool(Policy(max_in_flight=cap, health=health), random=Random(1))
    pool.apply_snapshot(specs, 0.0)
    return pool


def rotation(pool: Pool) -> str:
    return "".join(sorted(endpoint.name for endpoint in pool.rotation))


def take(pool: Pool) -> Lease:
    got = pool.acquire(Client(), 0.0)
    assert isinstance(got, Lease)
    return got


def wait(pool: Pool, deadline: float = inf) -> Client:
    client = Client()
    assert not isinstance(pool.acquire(client, 0.0, deadline=deadline), Lease)
    return client


# --- membership


def test_serving_members_are_in_rotation() -> None:
    pool = pool_of(spec("a"), spec("b"), spec("c", serving=False))
    assert rotation(pool) == "ab"


def test_the_terminating_get_nothing_new_while_others_serve_and_keep_what_they_have() -> None:
    pool = pool_of(spec("a"), cap=2)
    lease = take(pool)
    pool.apply_snapshot([spec("a", terminating=True), spec("b")], 1.0)
    assert [take(pool).endpoint.name for _ in range(2)] == ["b", "b"]
    client = wait(pool)
    assert (pool.endpoints["a"].phase, pool.endpoints["a"].in_flight) == (Phase.DRAINING, 1)
    lease.release(Outcome.ANSWERED, 2.0)
    assert client.got == ""


def test_if_there_are_no_others_those_that_terminate_and_still_serve_step_in_and_back() -> None:
    pool = pool_of(
        spec("a", serving=False),
        spec("b", terminating=True),
        spec("c", serving=False, terminating=True),
        spec("d", terminating=True),
    )
    pool.observe(pool.endpoints["d"], Sign.CONNECT_REFUSED, 0.0)
    assert rotation(pool) == "b"
    pool.apply_snapshot([spec("a"), spec("b", terminating=True)], 1.0)
    assert rotation(pool) == "a"
    pool.observe(pool.endpoints["a"], Sign.CHECK_FAILED, 2.0)
    assert rotation(pool) == "b"
    pool.observe(pool.endpoints["a"], Sign.CHECK_PASSED, 3.0)
    assert rotation(pool) == "a"


def test_a_snapshot_is_taken_in_whole_before_anything_is_granted() -> None:
    pool = pool_of(spec("a"), spec("d", terminating=True))
    take(pool)
    client = wait(pool)
    pool.apply_snapshot([spec("d", terminating=True), spec("b")], 1.0)
    assert client.got == "b"


def test_a_changed_address_is_the_same_endpoint_with_its_count_and_health() -> None:
    pool = pool_of(spec("a"))
    endpoint = pool.endpoints["a"]
    take(pool).release(Outcome.TIMED_OUT, 0.0)
    take(pool)
    pool.apply_snapshot([spec("a", host="10.0.0.2")], 1.0)
    assert pool.endpoints == {"a": endpoint}
    assert (endpoint.spec.host, endpoint.in_flight, endpoint.health.failures) == ("10.0.0.2", 1, 1)


def test_an_endpoint_that_left_is_kept_until_its_last_request_has_ended() -> None:
    pool = pool_of(spec("a"), spec("b"), cap=2)
    first, second = [
        lease for lease in [take(pool) for _ in range(4)] if lease.endpoint.name == "a"
    ]
    pool.apply_snapshot([], 1.0)
    assert (rotation(pool), list(pool.endpoints)) == ("", ["a", "b"])
    first.release(Outcome.ANSWERED, 2.0)
    assert pool.endpoints["a"].phase is Phase.GONE
    second.release(Outcome.ANSWERED, 2.0)
    assert list(pool.endpoints) == ["b"]


def test_an_endpoint_that_returns_with_requests_keeps_its_count() -> None:
    pool = pool_of(spec("a"), cap=2)
    endpoint, old = pool.endpoints["a"], take(pool)
    pool.apply_snapshot([], 1.0)
    client, second = wait(pool), wait(pool)
    pool.apply_snapshot([spec("a")], 2.0)
    assert pool.endpoints["a"] is endpoint
    assert (client.got, second.got, endpoint.in_flight) == ("a", "", 2)
    old.release(Outcome.ANSWERED, 3.0)
    assert (second.got, endpoint.in_flight, pool.in_flight) == ("a", 2, 2)


def test_an_endpoint_that_returns_begins_with_good_health_and_no_pause() -> None:
    pool = pool_of(spec("a"), cap=3)
    refused, ejecting, _ = take(pool), take(pool), take(pool)
    refused.release(Outcome.REFUSED, 0.0, retry_after=20.0)
    ejecting.release(Outcome.CONNECT_REFUSED, 0.0)
    pool.apply_snapshot([], 1.0)
    pool.apply_snapshot([spec("a")], 2.0)
    assert pool.endpoints["a"].phase is Phase.READY
    assert take(pool).endpoint.name == "a"


def test_an_endpoint_that_returns_without_requests_is_another() -> None:
    pool = pool_of(spec("a"))
    before = pool.endpoints["a"]
    pool.apply_snapshot([], 1.0)
    pool.apply_snapshot([spec("a")], 2.0)
    assert pool.endpoints["a"] is not before


def test_signs_of_an_endpoint_that_has_left_change_nothing() -> None:
    pool = pool_of(spec("a"))
    gone = pool.endpoints["a"]
    lease = take(pool)
    pool.apply_snapshot([], 1.0)
    lease.release(Outcome.REFUSED, 2.0)
    for sign in [Sign.IDLE_CLOSED, Sign.CONNECT_REFUSED, Sign.CHECK_PASSED]:
        pool.observe(gone, sign, 3.0)
    pool.tick(10.0)
    assert (pool.endpoints, pool.rotation, gone.phase) == ({}, set(), Phase.GONE)


# --- health


def test_an_ejected_endpoint_gets_nothing_until_a_check_passes() -> None:
    pool = pool_of(spec("a"))
    endpoint = pool.endpoints["a"]
    pool.observe(endpoint, Sign.CONNECT_REFUSED, 0.0)
    client = wait(pool)
    for stale in [Sign.PROBE_IGNORED, Sign.IDLE_CLOSED]:
        pool.observe(endpoint, stale, 1.0)
    assert (client.got, endpoint.phase) == ("", Phase.EJECTED)
    pool.observe(endpoint, Sign.CHECK_PASSED, 2.0)
    assert (client.got, endpoint.phase) == ("a", Phase.READY)


def test_the_late_end_of_a_request_from_before_the_return_says_nothing() -> None:
    pool = pool_of(spec("a"), cap=4)
    endpoint = pool.endpoints["a"]
    before = [take(pool) for _ in range(4)]
    pool.observe(endpoint, Sign.CHECK_FAILED, 1.0)
    pool.observe(endpoint, Sign.CHECK_PASSED, 2.0)
    for lease in before:
        lease.release(Outcome.TIMED_OUT, 20.0)
    assert (endpoint.phase, endpoint.health.failures, endpoint.failed) == (Phase.READY, 0, 4)


@pytest.mark.parametrize("terminating", [True, False])
def test_draining_does_not_turn_into_un_ejected(terminating: bool) -> None:
    pool = pool_of(spec("a"))
    pool.observe(pool.endpoints["a"], Sign.CONNECT_REFUSED, 0.0)
    pool.apply_snapshot([spec("a", terminating=True)], 1.0)
    pool.apply_snapshot([spec("a", terminating=terminating)], 2.0)
    assert rotation(pool) == ""


def test_an_idle_connection_closed_leaves_the_endpoint_in_use_while_it_is_checked() -> None:
    pool = pool_of(spec("a"))
    pool.observe(pool.endpoints["a"], Sign.IDLE_CLOSED, 0.0)
    assert pool.endpoints["a"].phase is Phase.SUSPECT
    assert take(pool).endpoint.name == "a"


def test_a_request_that_died_withholds_the_endpoint_until_its_check_is_through() -> None:
    pool = pool_of(spec("a"))
    take(pool).release(Outcome.DIED, 0.0)
    client = wait(pool)
    assert (rotation(pool), pool.endpoints["a"].phase) == ("a", Phase.SUSPECT)
    pool.observe(pool.endpoints["a"], Sign.CHECK_PASSED, 1.0)
    assert client.got == "a"


def test_while_all_are_out_requests_wait_and_are_told_that_there_was_none() -> None:
    pool = pool_of(spec("a"), spec("b"))
    for endpoint in pool.endpoints.values():
        pool.observe(endpoint, Sign.CONNECT_REFUSED, 0.0)
    client = wait(pool)
    pool.tick(60.0)
    assert [type(refusal) for refusal in client.refusals] == [NoEndpoint]


# --- a worker's own "full"


@pytest.mark.parametrize(
    ("retry_after", "pause"),
    [(None, REFUSAL_PAUSE), (2.0, 2.0), (3600.0, REFUSAL_PAUSE_MAX)],
)
def test_a_refusal_pauses_the_endpoint_for_as_long_as_it_says_within_a_bound(
    retry_after: float | None, pause: float
) -> None:
    pool = pool_of(spec("a"))
    take(pool).release(Outcome.REFUSED, 5.0, retry_after=retry_after)
    client = wait(pool)
    assert (rotation(pool), pool.endpoints["a"].phase) == ("a", Phase.REFUSING)
    pool.tick(5.0 + pause - 0.01)
    assert client.got == ""
    pool.tick(5.0 + pause)
    assert (client.got, pool.endpoints["a"].phase) == ("a", Phase.READY)


def test_of_two_refusals_the_longer_pause_holds() -> None:
    pool = pool_of(spec("a"), cap=3)
    long, short, longer = take(pool), take(pool), take(pool)
    long.release(Outcome.REFUSED, 0.0, retry_after=2.0)
    short.release(Outcome.REFUSED, 0.5, retry_after=1.0)
    assert pool.endpoints["a"].resume_at == 2.0
    longer.release(Outcome.REFUSED, 1.0, retry_after=3.0)
    assert pool.endpoints["a"].resume_at == 4.0


def test_where_all_are_full_by_their_own_word_the_queue_times_out() -> None:
    pool = pool_of(spec("a"), spec("b", terminating=True))
    take(pool).release(Outcome.REFUSED, 0.0, retry_after=1000.0)
    client = wait(pool, deadline=20.0)
    assert rotation(pool) == "a"  # nor does b, which terminates, step in
    pool.tick(20.0)
    assert [type(refusal) for refusal in client.refusals] == [QueueTimeout]


def test_a_pause_and_an_ejection_are_two_things() -> None:
    pool = pool_of(spec("a"), cap=2)
    endpoint, refused, dead = pool.endpoints["a"], take(pool), take(pool)
    refused.release(Outcome.REFUSED, 0.0, retry_after=10.0)
    dead.release(Outcome.CONNECT_REFUSED, 1.0)
    assert (endpoint.phase, rotation(pool)) == (Phase.EJECTED, "")
    pool.observe(endpoint, Sign.CHECK_PASSED, 2.0)
    client = wait(pool)
    assert (endpoint.phase, client.got) == (Phase.REFUSING, "")
    pool.tick(10.0)
    assert client.got == "a"


# --- observers


def test_observers_are_told_of_each_phase_with_the_one_before() -> None:
    pool, recorder = pool_of(), Recorder()
    pool.observers.append(recorder)
    pool.apply_snapshot([spec("a")], 1.0)
    pool.apply_snapshot([spec("a", host="10.0.0.2")], 2.0)  # not a change of phase
    take(pool).release(Outcome.REFUSED, 3.0, retry_after=1.0)
    pool.tick(4.0)
    pool.observe(pool.endpoints["a"], Sign.CONNECT_REFUSED, 5.0)
    pool.observe(pool.endpoints["a"], Sign.CHECK_PASSED, 6.0)
    pool.apply_snapshot([spec("a", terminating=True)], 7.0)
    pool.apply_snapshot([], 8.0)
    assert recorder.phases == [
        ("a", None, Phase.READY, 1.0),
        ("a", Phase.READY, Phase.REFUSING, 3.0),
        ("a", Phase.REFUSING, Phase.READY, 4.0),
        ("a", Phase.READY, Phase.EJECTED, 5.0),
        ("a", Phase.EJECTED, Phase.READY, 6.0),
        ("a", Phase.READY, Phase.DRAINING, 7.0),
        ("a", Phase.DRAINING, Phase.GONE, 8.0),
    ]
    assert recorder.healths == [("a", "ejected", 5.0), ("a", "healthy", 6.0)]


def test_a_change_of_health_is_told_though_the_phase_says_something_weightier() -> None:
    pool, recorder = pool_of(spec("a", terminating=True)), Recorder()
    pool.observers.append(recorder)
    pool.observe(pool.endpoints["a"], Sign.IDLE_CLOSED, 1.0)
    pool.observe(pool.endpoints["a"], Sign.DIED, 2.0)  # still suspect, but withheld from now on
    assert recorder.phases == []
    assert recorder.healths == [("a", "suspect", 1.0), ("a", "suspect", 2.0)]
