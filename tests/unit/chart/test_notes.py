"""NOTES.txt: the next three commands, and what one has to know."""

import re

import pytest

from tests.unit.chart.helm import CHART, DEFAULT, KIND, OPTIONS, OWN_SERVICE, helm


def notes(*options: str) -> str:
    said = helm("install", "lb", str(CHART), "--dry-run=client", "--namespace=apps", *options)
    return said.split("\nNOTES:\n")[1]


def commands(*options: str) -> list[str]:
    """The indented lines."""
    return [line.strip() for line in notes(*options).splitlines() if line.startswith(" " * 7)]


TASK = """curl -i -H 'Content-Type: application/json' -d '{"payload": "hello"}' http"""


def test_next_three_commands() -> None:
    assert commands() == [
        "helm test lb --namespace apps",
        "kubectl --namespace apps port-forward service/lb 8000:80",
        f"{TASK}://localhost:8000/compute",
    ]


def test_next_three_commands_on_kind() -> None:
    assert commands(KIND) == [
        "helm test lb --namespace apps",
        f"{TASK}://localhost:8080/compute",
        "kubectl --namespace apps delete pod worker-1",
    ]


def test_next_three_commands_with_workers_of_the_users_own() -> None:
    assert commands(KIND, *OWN_SERVICE, "--set=test.path=/ping") == [
        "helm test lb --namespace apps",
        "curl -i http://localhost:8080/ping",
        "kubectl --namespace apps port-forward service/lb-admin 9000",
    ]


@pytest.mark.parametrize(
    "name",
    ["as it comes", "kind", "NodePort of any number", "LoadBalancer", "several", "no cap", "names"],
)
@pytest.mark.parametrize("own", [DEFAULT, OWN_SERVICE], ids=["workers", "own Service"])
def test_there_are_always_three(name: str, own: tuple[str, ...]) -> None:
    options = (*OPTIONS[name], *own)
    assert len(commands(*options)) == 3
    assert [int(number) for number in re.findall(r"^  (\d)\. ", notes(*options), re.MULTILINE)] == [
        1,
        2,
        3,
    ]
    assert not re.search(r"<no value>|%!|\n\n\n", notes(*options))
    assert max(map(len, notes(*options).splitlines())) < 260


def test_a_second_release() -> None:
    assert "needs another\nworker.name" in notes()
    assert "worker.name" not in notes(*OWN_SERVICE)


def test_a_task_may_be_done_twice() -> None:
    assert "may be done twice" in notes()
    assert "may be done twice" not in notes(*OWN_SERVICE)
    assert "may be done twice" not in notes("--set=pool.retry.nonIdempotent=false")


def test_replicas_that_count_each_for_itself() -> None:
    alone = "--set=peers.enabled=false"
    each = "each of the 3 replicas counts for itself"
    told = notes(alone, "--set=replicas=3")
    assert f"{each}: a worker gets up to 12\nrequests at once." in told
    assert f"{each}." in notes(alone, "--set=replicas=3,worker.maxInFlight=null")
    assert "NOTE" not in notes(alone, "--set=replicas=1")
    assert "NOTE" not in notes(alone, "--set=replicas=null")


def test_replicas_that_act_as_one() -> None:
    for count in ("1", "3", "null"):
        told = notes(f"--set=replicas={count}")
        assert "NOTE" not in told
        assert "The replicas act as one" in told
        assert "kubectl --namespace apps get lease lb -o yaml" in told
    assert "get lease" not in notes("--set=peers.enabled=false")


def test_workers_that_get_nothing() -> None:
    assert "these workers get nothing" in notes("--set=pool.serviceName=model")
    assert "these workers get nothing" not in notes("--set=pool.serviceName=worker")


def test_what_is_balanced() -> None:
    assert "lb balances the pods of Service worker, each with 4 requests at once." in notes(
        *DEFAULT
    )
    assert "lb balances the pods of Service model, without a cap." in notes(*OWN_SERVICE)
