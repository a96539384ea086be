"""The Lease and the way to it: garbage in it, an API that fails or hangs, what is left in it."""

import asyncio
import gc
from time import monotonic
from typing import Any

import pytest

from app.peers import replica as replica_module
from app.peers import runner as runner_module
from app.peers import tenure as tenure_module
from app.peers.names import Link
from app.peers.record import MEMBERS, Member
from app.peers.store import ConflictError, StoreError
from tests.integration.peers.rig import Api, Replica, running, two_of_them
from tests.integration.waiting import eventually

GARBAGE: dict[str, dict[str, Any]] = {
    "members are no JSON": {"metadata": {"annotations": {MEMBERS: "[{"}}, "spec": {}},
    "members are none": {"metadata": {"annotations": {MEMBERS: '{"id": 1}'}}, "spec": {}},
    "members without an address": {
        "metadata": {"annotations": {MEMBERS: '[{"id": "a", "pod": "a", "uid": "a"}]'}},
        "spec": {},
    },
    "too deep": {"metadata": {"annotations": {MEMBERS: "[" * 100_000}}, "spec": {}},
    "a term of words": {"metadata": {}, "spec": {"leaseTransitions": "many"}},
    "a spec of words": {"metadata": {}, "spec": "nothing"},
}


@pytest.mark.parametrize("lease", GARBAGE.values(), ids=GARBAGE)
async def test_a_lease_that_nobody_wrote(api: Api, lease: dict[str, Any]) -> None:
    """It is not overwritten: whose it is, is not known. It is said what to do."""
    api.put(lease)
    held = api.lease
    async with running(api, "one") as one:
        await eventually(lambda: one.runner.error)
        assert "delete it" in one.runner.error
        [reason] = one.runner.unready()
        assert one.runner.error in reason
        reads = len(one.store.calls)
        await eventually(lambda: len(one.store.calls) > reads + 1, "it looks again")
        assert set(one.store.calls) == {"read"}
        assert api.lease == held
        api.lease = None
        await one.is_now("deciding")
        assert one.runner.unready() == []


async def test_garbage_in_the_lease_later(api: Api) -> None:
    """Who has an arbiter goes on with it."""
    async with two_of_them(api) as (one, two):
        api.put(GARBAGE["members are no JSON"])
        await eventually(lambda: "delete it" in one.runner.error)
        await one.serves()
        await two.serves()
        assert one.runner.unready() == two.runner.unready() == []
        api.lease = None
        await eventually(lambda: api.holder == one.me.id, "the Lease is written again")


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:none", "no.host.invalid:1", "[::"])
async def test_a_holder_whose_address_is_none(
    api: Api, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is silent, then: after a while another takes its place."""
    monkeypatch.setattr(replica_module, "EXPIRY", 0.5)
    member = f'[{{"id": "x.0", "pod": "x", "uid": "x", "address": "{address}"}}]'
    spec = {"holderIdentity": "x.0", "leaseTransitions": 7}
    api.put({"metadata": {"name": "lb", "annotations": {MEMBERS: member}}, "spec": spec})
    async with running(api, "one") as one:
        await one.is_now("deciding")
        assert (api.holder, api.term) == (one.me.id, 8)


async def test_another_process_has_the_holders_address(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It proves who it is, and is not who was meant."""
    monkeypatch.setattr(replica_module, "EXPIRY", 0.5)
    async with running(Api(), "another") as another:
        await another.is_now("deciding")
        said = another.me.address
        member = f'[{{"id": "x.0", "pod": "x", "uid": "x", "address": "{said}"}}]'
        spec = {"holderIdentity": "x.0", "leaseTransitions": 7}
        api.put({"metadata": {"name": "lb", "annotations": {MEMBERS: member}}, "spec": spec})
        async with running(api, "one") as one:
            await one.is_now("deciding")
            await eventually(lambda: not one.links, "no connection is left")


async def test_an_api_that_fails(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    async with running(api, "one") as one:
        one.store.trouble = "cannot read Lease lb: no route"
        await eventually(lambda: one.runner.error)
        assert one.runner.unready() == [
            "the other replicas have not been joined yet: cannot read Lease lb: no route"
        ]
        reads = len(one.store.calls)
        await eventually(lambda: len(one.store.calls) > reads + 3, "it goes on trying")
        one.store.trouble = ""
        await one.is_now("deciding")
        assert one.runner.unready() == []
    assert caplog.text.count("no route") == 1  # it is said once


async def test_an_api_that_fails_those_who_have_an_arbiter(api: Api) -> None:
    async with two_of_them(api) as (one, two):
        one.store.trouble = two.store.trouble = "cannot update Lease lb: no route"
        await eventually(lambda: one.runner.error)
        await one.serves()
        await two.serves()
        assert one.runner.unready() == two.runner.unready() == []


async def test_an_api_that_hangs(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit is the Store's; until it comes, all who have an arbiter go on."""
    monkeypatch.setattr(replica_module, "RENEWAL", 0.1)
    monkeypatch.setattr(runner_module, "PARTING", 0.2)
    async with two_of_them(api) as (one, two):
        one.store.passing.clear()
        two.store.passing.clear()
        calls = len(one.store.calls)
        await eventually(lambda: len(one.store.calls) > calls, "a call hangs")
        await one.serves()
        await two.serves()
        async with asyncio.timeout(10):  # the end does not wait for it
            await one.runner.stop()
            await one.end()
        assert one.store.closed


async def test_a_replica_that_stops_leaves_the_lease_vacant(api: Api) -> None:
    """The next one decides at once: it waits for no expiry, and asks nobody."""
    async with running(api, "one") as one:
        await one.is_now("deciding")
        await one.runner.stop()
        await one.end()
        assert (api.holder, api.term) == ("", 1)
        assert one.me.id not in str(api.lease)
    async with running(api, "one") as again:
        await again.is_now("deciding")
        assert again.store.calls == ["read", "replace"]
        assert (api.holder, api.term) == (again.me.id, 2)
        await again.serves()


@pytest.mark.parametrize("meets", ["another's write", "trouble"])
async def test_a_replica_that_stops_writes_again_what_did_not_come_through(
    api: Api, meets: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runner_module, "PARTING", 20.0)
    for module in (replica_module, tenure_module):
        monkeypatch.setattr(module, "RENEWAL", 60.0)  # nothing else is written
    async with running(api, "one") as one:
        await one.is_now("deciding")
        await eventually(lambda: not one.runner.replica.lease.busy)
        one.store.fails_once = ConflictError("it was changed")
        if meets == "trouble":
            one.store.fails_once = StoreError("no route")
        await one.runner.stop()
        assert api.holder == ""
        await one.end()
    assert "still names" not in caplog.text


async def test_a_replica_that_cannot_stop_in_order_says_so(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runner_module, "PARTING", 0.2)
    async with running(api, "one") as one:
        await one.is_now("deciding")
        one.store.trouble = "no route"
        await one.runner.stop()
        assert api.holder == one.me.id
        await one.end()
    assert "the Lease still names this replica" in caplog.text


async def test_the_api_is_left_alone_for_as_long_as_it_asks(api: Api) -> None:
    async with running(api, "one") as one:
        await one.is_now("deciding")
        replica = one.runner.replica
        await eventually(lambda: not replica.lease.busy)
        one.store.fails_once = StoreError("too many requests", retry_after=5.0)
        one.runner.read_lease()
        await eventually(lambda: one.runner.error)
        assert replica.lease.due_at > monotonic() + 4.0


async def test_also_where_it_asks_for_that_when_a_pod_is_asked_for(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (replica_module, tenure_module):
        monkeypatch.setattr(module, "RENEWAL", 60.0)  # nothing else is asked for
    async with running(api, "one") as one:
        await one.is_now("deciding")
        replica = one.runner.replica
        await eventually(lambda: not replica.lease.busy)
        one.store.fails_once = StoreError("too many requests", retry_after=5.0)
        one.runner.read_pod(one.me)
        await eventually(lambda: one.store.fails_once is None)
        assert replica.lease.asked_until > monotonic() + 4.0


async def test_what_is_told_to_one_that_is_ending_starts_nothing(api: Api) -> None:
    async with running(api, "one") as one:
        await one.is_now("deciding")
        one.store.passing.clear()
        one.runner.read_pod(one.me)
        await eventually(lambda: "pod_uid" in one.store.calls)
        task = one._task
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)  # it ends what it has begun
        assert not task.done()
        one.runner.read_lease()
        await one.end()


async def test_one_that_stops_with_requests_stays_accounted_for(api: Api) -> None:
    async with running(api, "one") as one:
        await one.is_now("deciding")
        assert one.ask().lease is not None
        await one.runner.stop()
        await one.end()
        assert api.holder == ""
        assert one.me.id in str(api.lease)


async def test_an_arbiter_that_stops_says_who_is_next(api: Api) -> None:
    async with two_of_them(api) as (one, two):
        one.runner.leave()
        await two.is_now("deciding")
        await one.is_now("following")
        await one.serves()
        await two.serves()
        await one.runner.stop()
        await one.end()
        await eventually(lambda: one.me.id not in str(api.lease), "it is forgotten")
        await two.serves()
        assert two.pool.in_flight == two.pool.elsewhere == 0


async def test_two_on_ipv6(api: Api) -> None:
    async with two_of_them(api, "::1") as (one, two):
        assert one.me.address == f"[::1]:{one.port}"
        one.runner.leave()
        await two.is_now("deciding")
        await one.is_now("following")
        await one.serves()


async def test_one_that_is_cut_off_is_not_ready(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others have an arbiter, which it does not reach: its secret is no longer theirs."""
    monkeypatch.setattr(replica_module, "RENEWAL", 0.1)
    monkeypatch.setattr(replica_module, "EXPIRY", 0.6)
    async with two_of_them(api) as (one, two):
        one.secret = b"what the others do not know"
        one.runner.leave()
        await two.is_now("deciding")
        await eventually(one.runner.unready)
        assert one.runner.unready() == ["cut off from the replica that decides"]
        claim = one.ask()
        assert (claim.lease, claim.refusal, one.pool.queued) == (None, None, 1)
        one.secret = two.secret
        await one.is_now("following")
        assert one.runner.unready() == []
        await eventually(lambda: claim.lease, "who has waited gets a slot")


async def test_a_replica_joins_once_it_knows_its_workers(api: Api) -> None:
    """Before, it could be made the arbiter, and would decide on an empty pool."""
    replica = Replica(api, "one", "127.0.0.1")
    replica.able = False
    await replica.start()
    try:
        for _ in range(5):  # turns of the loop, in which it would have asked
            await asyncio.sleep(0)
        assert replica.store.calls == []
        assert replica.runner.unready() == ["the other replicas have not been joined yet"]
        replica.able = True
        await replica.is_now("deciding")
    finally:
        await replica.end()


async def test_a_pod_is_asked_for_once_while_the_api_hangs(api: Api) -> None:
    async with two_of_them(api) as (one, two):
        one.store.passing.clear()
        member = two.me
        for _ in range(20):
            one.runner.read_pod(member)
        await eventually(lambda: "pod_uid" in one.store.calls)
        assert one.store.calls.count("pod_uid") == 1
        one.store.passing.set()
        await eventually(lambda: not one.runner._calls.asked, "it is answered")
        one.runner.read_pod(member)
        await eventually(lambda: one.store.calls.count("pod_uid") == 2, "it may be asked again")


async def test_links_that_are_closed_are_not_kept(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by one that does not decide, to which others call: for months, maybe."""
    async with two_of_them(api) as (one, two):
        met: list[Member] = []

        def hang_up(member: Member, link: Link, now: float) -> None:
            met.append(member)
            link.close()

        monkeypatch.setattr(two.runner.replica, "accepted", hang_up)
        for _ in range(5):
            one.runner.dial(two.me)
        await eventually(lambda: len(met) == 5, "it has hung up on all")

        def left() -> bool:
            gc.collect()
            return one.links == two.links == 1

        await eventually(left, "the link of the two alone is kept")
