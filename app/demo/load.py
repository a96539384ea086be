"""The load: one request at each moment of the scenario, whatever became of those before.

A run in which the victim is back late, as on a machine that is busy, goes on with more requests
until that can be seen which the scenario is to show.

Each request carries a payload of its own, and its answer has to be that payload's result: an
answer of another request, or of a task that did not end, would be told as a failure.
"""

import asyncio
import hashlib
from collections.abc import Callable
from time import monotonic

import httpx

from app.demo.records import Response
from app.demo.scenario import Scenario

_OK = 200


class Load:
    """Sends the scenario's requests to `url`.

    `on_response` is told of each that is answered; `seen_enough` is asked, with the time, whether
    the run may end after the last one.
    """

    def __init__(
        self,
        scenario: Scenario,
        url: str,
        on_response: Callable[[Response], None],
        seen_enough: Callable[[float], bool],
    ) -> None:
        self.responses: list[Response] = []
        self.sent = 0
        self._scenario = scenario
        self._url = url
        self._on_response = on_response
        self._seen_enough = seen_enough

    async def run(self, started: float) -> None:
        """Send the requests, the first one at `started`; return when all are answered."""
        scenario = self._scenario
        # Longer than the balancer may take: what it does not answer is a failure of its own.
        timeout = 2 * scenario.wall(scenario.request)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        async with (
            httpx.AsyncClient(
                base_url=self._url,
                timeout=timeout,
                limits=limits,
                trust_env=False,
                verify=False,  # noqa: S501 - no TLS here, and loading certificates takes its time
            ) as client,
            asyncio.TaskGroup() as group,
        ):
            for number in range(scenario.most_requests):
                due = started + scenario.wall(number * scenario.interval)
                if number >= scenario.requests and self._seen_enough(due):
                    break
                await asyncio.sleep(due - monotonic())
                group.create_task(self._send(client, number, due))

    async def _send(self, client: httpx.AsyncClient, number: int, due: float) -> None:
        payload = f"request {number} of {due}"
        self.sent += 1
        sent = monotonic()
        try:
            answer = await client.post("/compute", json={"payload": payload})
            error = _wrong(answer, payload)
        except httpx.HTTPError as failure:
            error = f"{type(failure).__name__} {failure}".strip()
        response = Response(number, due, sent, monotonic(), error)
        self.responses.append(response)
        self._on_response(response)


def _wrong(answer: httpx.Response, payload: str) -> str:
    """Say what is wrong with the answer; empty if nothing is."""
    if answer.status_code != _OK:
        return f"{answer.status_code} {answer.text[:200]}"
    try:
        task = answer.json()
        right = task["result"] == hashlib.sha256(payload.encode()).hexdigest()
    except (ValueError, KeyError, TypeError):
        right = False
    return "" if right else f"another result: {answer.text[:200]}"
