"""The parts that tests of retries have in common."""

from collections.abc import Callable

from tests.integration.proxy.harness import Scene
from tests.integration.proxy.wire import Request, Wire, response
from tests.integration.proxy.workers import ScriptedWorker

KEY = "Idempotency-Key: 1"

Fate = Callable[[Wire], None]


async def first(scene: Scene) -> tuple[Wire, Request, ScriptedWorker]:
    """Wait for the first attempt; return it, and the worker that does not have it."""
    chosen = await scene.chosen()
    (other,) = (worker for worker in scene.workers if worker is not chosen)
    return *await chosen.request(), other


async def answered_by(other: ScriptedWorker, client: Wire, sent: Request) -> None:
    """See that the other worker gets the very same request, and its answer the client."""
    worker, again = await other.request()
    assert (again.method, again.target, again.body) == (sent.method, sent.target, sent.body)
    assert (again.fields, again.trailers) == (sent.fields, sent.trailers)
    await worker.send(response(b"" if sent.method == b"HEAD" else b"other"))
    answer = await client.response(sent.method)
    assert answer.status == 200


async def not_sent_again(scene: Scene, client: Wire, status: int, method: bytes = b"GET") -> None:
    answer = await client.response(method)
    assert answer.status == status
    assert sum(scene.proxy.backend.stats.retries.values()) == 0
    assert sum(worker.spoken for worker in scene.workers) == 1
