"""What is made of the measurements of several replicas, and the worker and the load of them."""

import asyncio
import json
from itertools import combinations
from random import Random
from typing import Any

import pytest

from benchmarks import replicas_deciding, replicas_load
from benchmarks.replicas_deciding import BATCH, CAPS, Deciding, batches, per_second
from benchmarks.replicas_faults import Sent, regained
from benchmarks.replicas_figures import tables
from benchmarks.replicas_load import Answer, Call, Load, overtaken, plan, queued_seconds
from benchmarks.replicas_sharing import ordered_within, waits
from benchmarks.replicas_worker import Count, Serving
from benchmarks.run import Run
from benchmarks.stats import tidied
from benchmarks.targets import Target


def answer(sent: float, began: float) -> Answer:
    return Answer(sent, began, began + 1, 0.0)


def test_arrivals_and_task_times_are_the_same_for_one_and_for_three() -> None:
    one, three = plan(100.0, 3000, 0.2, 7, 1), plan(100.0, 3000, 0.2, 7, 3)
    assert [(call.due, call.seconds) for call in one] == [(c.due, c.seconds) for c in three]
    assert {call.target for call in one} == {0}
    assert {call.target for call in three} == {0, 1, 2}
    assert three[-1].due == pytest.approx(30.0, rel=0.1)
    assert sum(call.seconds for call in three) / 3000 == pytest.approx(0.2, rel=0.1)
    assert plan(100.0, 3, 0.0, 7, 1)[2].seconds == 0


def test_the_balancers_word_on_the_wait_is_read() -> None:
    head = b"HTTP/1.1 200 OK\r\nServer-Timing: queue;dur=12.5, connect;dur=0.0, worker;dur=1.0"
    assert queued_seconds(head) == 0.0125
    assert queued_seconds(b"HTTP/1.1 200 OK") == 0


def test_overtaking_counts_beyond_the_slack_alone() -> None:
    first, second = answer(0.0, 1.0), answer(0.2, 0.7)
    assert overtaken([second, first], 0.1) == 1
    assert overtaken([first, second], 0.25) == 0  # it came too early for that
    assert overtaken([answer(0.0, 1.0), answer(0.5, 0.9)], 0.2) == 0  # it began too late for that
    assert ordered_within([first, second]) == pytest.approx(0.2, abs=1e-3)
    assert ordered_within([answer(0.0, 1.0), answer(0.5, 1.0)]) == 0


@pytest.mark.parametrize("seed", range(5))
def test_overtaking_is_counted_as_by_looking_at_each_pair(seed: int) -> None:
    random, slack = Random(seed), 0.05
    answers = [answer(at := random.random(), at + random.random() / 5) for _ in range(200)]
    passed = {
        earlier
        for earlier, later in combinations(sorted(answers), 2)
        if later.sent > earlier.sent + slack and later.began < earlier.began - slack
    }
    assert passed
    assert overtaken(answers, slack) == len(passed)


def test_a_wait_ends_when_the_worker_has_the_request() -> None:
    assert waits([answer(1.0, 1.5), answer(2.0, 2.25)]) == [250.0, 500.0]


def test_what_waited_for_the_new_arbiter_tells_when_it_was_there() -> None:
    through, waited, later = Sent(9.99, 10.001), Sent(9.998, 10.3), Sent(10.4, 10.9)
    assert regained([through, waited, later], named=10.2) == 10.3
    assert regained([Sent(9.0, 9.9), through, waited, later], named=10.0) == 10.3  # a handover


@pytest.mark.parametrize("way", CAPS)
def test_all_are_decided_and_nothing_is_left(way: str) -> None:
    deciding = Deciding(CAPS[way])
    sent = list(batches(3, queued=way == "queued"))
    for _ in range(2):
        assert min(per_second(deciding, sent)) > 0
    assert deciding.pool.queued == 0


def test_what_was_not_granted_is_no_decision() -> None:
    sent = list(batches(3))
    with pytest.raises(RuntimeError, match=f"{2 * BATCH} of {3 * BATCH} granted"):
        per_second(Deciding(CAPS["free"]), [sent[0], b"", *sent[2:]])


def test_decisions_have_their_key(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = iter([(1.0, 2.0)] * 2 + [(30.0, 60.0), (10.0, 20.0)] * 5)  # the first are not counted
    monkeypatch.setattr(replicas_deciding, "per_second", lambda *_: next(rates))
    found = replicas_deciding.measured(Run(quick=True))
    assert found["decisions_per_second"] == 30.0
    assert found["deciding"]["queued"]["per_cpu_second"]["median"] == 20.0


async def test_the_load_is_answered_and_the_worker_counts() -> None:
    count = Count()
    server = await asyncio.get_running_loop().create_server(lambda: Serving(count), "127.0.0.1", 0)
    async with server:
        address = server.sockets[0].getsockname()
        load = Load([address], [Call(0.0, 0, 0.2), Call(0.0, 0, 0.2), Call(0.001, 2, 0.0)])
        await asyncio.to_thread(load.run)
        load.close()
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head
        assert json.loads(await reader.readuntil(b"}"))["served"] == 3
        writer.close()
    assert 2 <= count.peak <= 3
    assert count.in_flight == 0
    slept = [one.done - one.began for one in load.answers if one is not None]
    assert len(slept) == 3
    assert min(slept[:2]) >= 0.19
    assert all(one.sent <= one.began <= one.done for one in load.answers if one is not None)


async def test_a_client_that_goes_away_holds_no_slot() -> None:
    count, gone = Count(), asyncio.Event()

    class Watched(Serving):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            gone.set()

    server = await asyncio.get_running_loop().create_server(lambda: Watched(count), "127.0.0.1", 0)
    async with server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        body = b'{"seconds": 60}'
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        writer.write_eof()
        await gone.wait()
        writer.close()
    assert count.told() == {"peak": 1, "in_flight": 0, "served": 0}


def test_a_load_without_all_answers_is_no_result() -> None:
    calls = [Call(0.0, 0, 0.0)] * 2
    printed = json.dumps([answer(1.0, 2.0), None]).encode()
    with pytest.raises(RuntimeError, match="1 of 2"):
        replicas_load.read(printed, calls)
    assert replicas_load.read(json.dumps([answer(1.0, 2.0)]).encode(), calls[:1]) == [
        answer(1.0, 2.0)
    ]


def figures() -> dict[str, Any]:
    cores = {"balancers": 0.3, "workers": 0.1, "machine": 0.9, "of": 2.0}
    shared = {"wait_ms": 50.0, "wait_p99_ms": 300.0, "queued_ms": 49.0, "overtaken": 1,
              "ordered_within_ms": 6.0, "cores": cores}  # fmt: skip
    spread = {"median": 2.0, "min": 1.0, "max": 3.0}
    rates = {"per_second": spread, "per_cpu_second": spread}
    fault = {"rounds": 3, "named_ms": spread, "first_ms": spread, "last_ms": spread,
             "longest_wait_ms": spread}  # fmt: skip
    dispatched = {"p50": 0.2, "p99": 0.8, "cores": cores}
    return {
        "worker_peak": 4,
        "mean_wait_ratio": 1.25,
        "added_dispatch_ms": {"p50": 0.25, "p99": 2.5},
        "decisions_per_second": 60_000.0,
        "without_arbiter_ms": {"graceful": 10.0, "killed": 1001.0, "silent": 3000.0},
        "sharing": {"load": 0.9, "requests": 5000, "slack_ms": 5.0, "ratios": spread,
                    "rounds": [{"ratio": 1.25, "one": shared, "three": shared}]},
        "dispatching": {"rate": 1000, "added": {"p50": spread, "p99": spread},
                        "rounds": [{"one": dispatched, "three": dispatched}] * 2},
        "faults": dict.fromkeys(("graceful", "killed", "silent"), fault),
        "deciding": {"batch": 64, "decisions": 100, "free": rates, "queued": rates},
    }  # fmt: skip


def test_the_tables_say_what_was_aimed_at_and_met() -> None:
    aims, *others = tables(tidied(figures()))
    assert [row[-1] for row in aims.rows] == ["yes", "no", "yes", "no", "yes", "yes", "no", "yes"]
    assert aims.rows[4][1:3] == ["≥ 50,000", "60,000"]
    assert len(others) == 4
    assert all(len(row) == len(table.header) for table in others for row in table.rows)


@pytest.mark.parametrize(("found", "met"), [(9, False), (10, True), (11, True)])
def test_a_least_target_is_met_from_its_limit_on(found: float, met: bool) -> None:
    target = Target("It", 10, "", "thing", lambda told: float(told["it"]), least=True)
    assert target.row({"thing": {"it": found}})[-1] == ("yes" if met else "no")
