"""A probe that every worker fails ejects none: the rule of `app.probing.verdicts`, row by row.

The pool is a real one, told what the verdicts say; each letter is an endpoint.
"""

import pytest

from app.balancing.endpoint import EndpointSpec
from app.balancing.health import Sign
from app.balancing.policy import HealthPolicy, Policy, ProbePolicy
from app.balancing.pool import Pool
from app.probing.verdicts import Signs, Verdicts

LIMIT = 2
POLICY = Policy(health=HealthPolicy(failures=3, probe=ProbePolicy("/", failures=LIMIT)))


class Probed:
    """A pool and the verdicts on its probe."""

    def __init__(self, names: str) -> None:
        self.pool = Pool(POLICY)
        self.verdicts = Verdicts()
        self.now = 0.0
        self.discover(names)

    def discover(self, names: str, *, draining: str = "", unready: str = "") -> None:
        self.pool.apply_snapshot(
            [
                EndpointSpec(
                    name, "10.0.0.1", 80, serving=name not in unready, terminating=name in draining
                )
                for name in names
            ],
            self.now,
        )

    def fail(self, names: str, times: int = LIMIT) -> None:
        for name in names:
            for _ in range(times):
                endpoint = self.pool.endpoints[name]
                members = self.pool.endpoints.values()
                self._tell(self.verdicts.failed(endpoint, f"of {name}", LIMIT, members))

    def passes(self, name: str) -> None:
        endpoint = self.pool.endpoints[name]
        self.pool.observe(endpoint, Sign.CHECK_PASSED, self._tick())
        self._tell(self.verdicts.passed(endpoint, LIMIT, self.pool.endpoints.values()))

    def refuses(self, name: str) -> None:
        """The port takes no connection: a request or a probe met that."""
        self.verdicts.forget(self.pool.endpoints[name])
        self.pool.observe(self.pool.endpoints[name], Sign.CONNECT_REFUSED, self._tick())

    def _tick(self) -> float:
        self.now += 1.0
        return self.now

    def _tell(self, signs: Signs) -> None:
        for endpoint, sign, detail in signs:
            self.pool.observe(endpoint, sign, self._tick(), detail)

    @property
    def rotation(self) -> str:
        return "".join(sorted(endpoint.name for endpoint in self.pool.rotation))

    @property
    def state(self) -> tuple[str, bool]:
        return self.rotation, self.verdicts.ignored


def test_one_that_fails_is_ejected_while_others_stand() -> None:
    probed = Probed("abc")
    probed.fail("a", LIMIT - 1)
    assert probed.state == ("abc", False)
    probed.fail("a", 1)
    assert probed.state == ("bc", False)
    assert probed.pool.endpoints["a"].health.reason == "probe failed: of a"


def test_failures_have_to_be_in_a_row() -> None:
    probed = Probed("ab")
    probed.fail("a", LIMIT - 1)
    probed.passes("a")
    probed.fail("a", LIMIT - 1)
    assert probed.state == ("ab", False)


def test_the_last_one_to_fail_brings_the_others_back() -> None:
    probed = Probed("abc")
    probed.fail("ab")
    assert probed.state == ("c", False)
    probed.fail("c", LIMIT - 1)
    assert probed.state == ("c", False)
    probed.fail("c", 1)
    assert probed.state == ("abc", True)


def test_while_it_is_ignored_it_ejects_none() -> None:
    probed = Probed("abc")
    probed.fail("abc")
    probed.fail("abc", 10)
    assert probed.state == ("abc", True)


@pytest.mark.parametrize("passing", ["a", "b", "c"])
def test_when_one_passes_again_those_that_fail_are_ejected(passing: str) -> None:
    probed = Probed("abc")
    probed.fail("abc")
    probed.passes(passing)
    assert probed.state == (passing, False)
    others = "abc".replace(passing, "")
    assert probed.pool.endpoints[others[0]].health.reason == f"probe failed: of {others[0]}"


def test_a_pool_of_one_keeps_its_endpoint() -> None:
    probed = Probed("a")
    probed.fail("a", 10)
    assert probed.state == ("a", True)
    probed.passes("a")
    assert probed.state == ("a", False)


def test_what_traffic_ejected_stays_out() -> None:
    probed = Probed("abc")
    probed.refuses("a")
    probed.fail("bc")
    assert probed.state == ("bc", True)
    probed.fail("a", 10)  # it is back, and fails as the others do
    assert probed.state == ("bc", True)
    probed.passes("a")
    assert probed.state == ("a", False)


def test_what_traffic_and_the_probe_ejected_stays_out() -> None:
    probed = Probed("abc")
    probed.fail("a")
    probed.refuses("a")
    probed.fail("bc")
    assert probed.state == ("bc", True)


def test_one_that_dies_while_the_probe_is_ignored_stays_out() -> None:
    probed = Probed("abc")
    probed.fail("abc")
    probed.refuses("b")
    assert probed.state == ("ac", True)
    probed.fail("b", 10)
    assert probed.state == ("ac", True)


def test_the_death_of_the_last_that_stood_brings_no_bad_one_back() -> None:
    probed = Probed("ab")
    probed.fail("a")
    probed.refuses("b")
    probed.fail("a", 10)
    assert probed.state == ("", False)
    probed.passes("b")
    assert probed.state == ("b", False)


def test_one_that_died_and_fails_since_it_is_back_is_no_reason_to_wait_for_it() -> None:
    probed = Probed("ab")
    probed.fail("a")
    probed.refuses("b")
    probed.fail("b", LIMIT - 1)
    assert probed.state == ("", False)
    probed.fail("b", 1)
    assert probed.state == ("a", True)


def test_workers_that_died_and_are_not_ready_yet_are_waited_for() -> None:
    probed = Probed("ab")
    probed.refuses("a")
    probed.refuses("b")
    probed.fail("ab", 10)
    assert probed.state == ("", False)


def test_when_the_last_that_stood_is_taken_away_the_others_return() -> None:
    probed = Probed("ab")
    probed.fail("a")
    probed.discover("a")
    assert probed.state == ("", False)
    probed.fail("a", 1)
    assert probed.state == ("a", True)


def test_one_that_joins_stands_until_it_has_failed() -> None:
    probed = Probed("a")
    probed.fail("a")
    probed.discover("ab")
    probed.fail("ab", LIMIT - 1)
    assert probed.state == ("ab", True)
    probed.passes("b")
    assert probed.state == ("b", False)


@pytest.mark.parametrize("kind", ["draining", "unready"])
def test_those_that_get_no_requests_have_no_say(kind: str) -> None:
    probed = Probed("ab")
    if kind == "draining":
        probed.discover("ab", draining="b")
    else:
        probed.discover("ab", unready="b")
    probed.fail("a")
    assert probed.state == ("a", True)
    probed.passes("b")
    assert probed.state == ("a", True)


def test_one_that_is_not_ready_is_ejected_by_its_probe_all_the_same() -> None:
    probed = Probed("ab")
    probed.discover("ab", unready="b")
    probed.fail("b")
    probed.discover("ab")
    assert probed.state == ("a", False)


def test_if_all_are_draining_they_are_the_ones_that_are_asked() -> None:
    probed = Probed("ab")
    probed.discover("ab", draining="ab")
    probed.fail("a")
    assert probed.state == ("b", False)
    probed.fail("b")
    assert probed.state == ("ab", True)


def test_another_probe_begins_anew() -> None:
    probed = Probed("ab")
    probed.fail("ab")
    probed.verdicts.reset()
    assert probed.state == ("ab", False)
    probed.fail("a")
    assert probed.state == ("b", False)


def test_an_endpoint_that_left_is_forgotten() -> None:
    probed = Probed("ab")
    probed.fail("a")
    gone = probed.pool.endpoints["a"]
    probed.discover("b")
    probed.verdicts.forget(gone)
    assert probed.verdicts._failing == {}
