"""The balancers' admin ports, read through a client that answers as it is told."""

from typing import Any

import httpx

from app.operator.replicas import REMEMBERED, Replicas
from tests.unit.operator.world import admin, slice_of

SERVICES = [admin("lb")]
SLICES = [slice_of("lb-admin", "lb-0", port="admin", number=9000)]
POOL = {"name": "p", "uid": "u", "generation": 1, "complaint": "", "in_flight": 2, "queued": 0,
        "workers": [], "routes": [], "synced": True}  # fmt: skip


class Balancer:
    """Answers /pools and /events."""

    def __init__(self) -> None:
        self.instance = "one"
        self.events: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.fails = False
        self.pools: Any = [POOL]

    def happen(self, worker: str) -> None:
        number = len(self.events) + 1
        self.events.append({"number": number, "time": 1.0, "pool": "p", "kind": "ejected",
                            "text": "", "worker": worker, "reason": "",
                            "after": 0.0})  # fmt: skip

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.fails:
            raise httpx.ConnectError("refused")
        self.asked.append(request.url.path)
        if request.url.path == "/pools":
            return httpx.Response(200, json={"pools": self.pools})
        since = int(request.url.params.get("since", 0))
        events = [event for event in self.events if event["number"] > since]
        told = {"instance": self.instance, "last": len(self.events), "lost": 0, "events": events}
        return httpx.Response(200, json=told)


async def look(replicas: Replicas, now: float) -> tuple[list[Any], list[str]]:
    seen = await replicas.look(SERVICES, SLICES, now)
    return seen.replicas, [event.worker for event in seen.events]


async def test_each_event_is_told_once_and_none_from_before() -> None:
    balancer = Balancer()
    balancer.happen("before")
    async with httpx.AsyncClient(transport=httpx.MockTransport(balancer)) as client:
        replicas = Replicas(client)
        [replica], events = await look(replicas, 0.0)
        assert (replica.balancer, replica.address) == ("lb", "10.0.0.1:9000")
        assert replica.pools["u"].in_flight == 2
        assert events == []
        balancer.happen("w-1")
        balancer.happen("w-2")
        assert (await look(replicas, 1.0))[1] == ["w-1", "w-2"]
        assert (await look(replicas, 2.0))[1] == []


async def test_a_new_process_is_asked_from_its_beginning() -> None:
    balancer = Balancer()
    async with httpx.AsyncClient(transport=httpx.MockTransport(balancer)) as client:
        replicas = Replicas(client)
        balancer.happen("old")
        await look(replicas, 0.0)
        balancer.instance, balancer.events = "two", []
        balancer.happen("new-1")
        assert (await look(replicas, 1.0))[1] == ["new-1"]


async def test_a_new_replica_is_asked_from_its_beginning() -> None:
    balancer = Balancer()
    async with httpx.AsyncClient(transport=httpx.MockTransport(balancer)) as client:
        replicas = Replicas(client)
        await look(replicas, 0.0)
        balancer.happen("w-1")
        await look(replicas, 1.0)
        slices = [slice_of("lb-admin", "lb-0", "lb-1", port="admin", number=9000)]
        seen = await replicas.look(SERVICES, slices, 2.0)
        assert [event.worker for event in seen.events] == ["w-1"]
        assert len(seen.replicas) == 2


async def test_what_was_told_last_counts_for_a_while() -> None:
    balancer = Balancer()
    async with httpx.AsyncClient(transport=httpx.MockTransport(balancer)) as client:
        replicas = Replicas(client)
        await look(replicas, 0.0)
        balancer.fails = True
        [replica], _ = await look(replicas, REMEMBERED)
        assert (replica.pools["u"].in_flight, replica.error) == (2, "")
        [replica], _ = await look(replicas, REMEMBERED + 1)
        assert (replica.pools, replica.error) == (None, "refused")


async def test_an_answer_that_is_not_understood() -> None:
    balancer = Balancer()
    balancer.pools = [{"name": 5}]
    async with httpx.AsyncClient(transport=httpx.MockTransport(balancer)) as client:
        [replica], _ = await look(Replicas(client), 0.0)
        assert (replica.pools, replica.error) == (None, "an answer that is not understood")


async def test_the_admin_ports_token_is_brought() -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return httpx.Response(401)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        [replica], _ = await look(Replicas(client, lambda: "secret"), 0.0)
        await look(Replicas(client), 0.0)
    assert seen == ["Bearer secret", None]
    assert "401" in replica.error
