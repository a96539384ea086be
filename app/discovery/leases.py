"""One Lease of the Kubernetes API, and whether a pod is still there: what an election needs.

Called by `app.peers`' part of the runtime. What always holds:

- every read is of the most recent state: no `resourceVersion` is asked for, so the API server may
  not answer from its cache. A pod that is said to be missing was missing then;
- every write is a compare-and-swap, or a creation;
- every request has a time limit, and its failure is a `SourceError` that says what to do.

A write that failed may have been done all the same: when its answer was lost, or when the client
library sent a PUT again on another connection and met its own first one as a `Conflict`. So the
Lease is read before anything is made of it.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from app.discovery.api_requests import CONNECT_TIMEOUT, ApiRequests, Request, Resource
from app.discovery.credentials import Access
from app.discovery.source import Conflict, Missing, Object, SourceError

T = TypeVar("T")

LEASES = Resource("coordination.k8s.io", "v1", "leases")
PODS = Resource("", "v1", "pods")

_ENDED = frozenset({"Failed", "Succeeded"})


class LeaseApi:
    """Reads and writes one Lease, and asks whether a pod is still there.

    Calls about the Lease wait for one another, as those about pods do; the two kinds have a
    connection each. `namespace`: None for the one that comes with the credentials. `timeout`:
    seconds for each request; where there is no client, its credentials are read before. Everything
    raises `SourceError`. `close` has to be called at the end.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Access]],
        *,
        namespace: str | None,
        name: str,
        timeout: float = 2.0,
    ) -> None:
        self.name = name
        self._leases = _Asking(ApiRequests(LEASES, connect, namespace), timeout)
        self._pods = _Asking(ApiRequests(PODS, connect, namespace), timeout)

    async def read(self) -> Object | None:
        """Return the Lease as it is now; None if there is none."""
        try:
            return await self._leases.ask(self._request("get"))
        except Missing:
            return None

    async def create(self, obj: Object) -> Object:
        """Create the Lease; return it as it was stored. Raises `Conflict` if it is there."""
        # RBAC cannot bind a creation to a name: the name is not in the request's path.
        request = Request("create", body=self._named(obj), about=f"Lease {self.name}")
        return await self._leases.ask(request)

    async def replace(self, obj: Object) -> Object:
        """Put this in the place of the Lease that it was made of; return it as it was stored.

        `obj` has that one's `metadata.resourceVersion`. Raises `Conflict` if the Lease has been
        changed, or deleted, since.
        """
        if not obj["metadata"].get("resourceVersion"):
            raise ValueError("a Lease without a resourceVersion would replace any other")
        try:
            return await self._leases.ask(self._request("update", self._named(obj)))
        except Missing as missing:
            raise Conflict(str(missing)) from missing

    async def pod_uid(self, name: str) -> str | None:
        """Return the UID of the pod of that name; None if there is none, or if it has ended.

        A pod that was evicted, or ended by its node's shutdown, stays for long in phase Failed. The
        kubelet tells of such a phase only when no container of the pod can run any more.
        """
        try:
            pod = await self._pods.ask(Request("get", name, about=f"pod {name}"))
        except Missing:
            return None
        status = pod.get("status")
        ended = isinstance(status, dict) and status.get("phase") in _ENDED
        return None if ended else str(pod["metadata"]["uid"])

    async def close(self) -> None:
        """Close the connections."""
        await self._leases.close()
        await self._pods.close()

    # --- inside

    def _request(self, verb: str, body: Object | None = None) -> Request:
        return Request(verb, self.name, body=body, about=f"Lease {self.name}", allow=self.name)

    def _named(self, obj: Object) -> Object:
        head = {"apiVersion": f"{LEASES.group}/{LEASES.version}", "kind": "Lease"}
        return head | obj | {"metadata": obj["metadata"] | {"name": self.name}}


class _Asking:
    """Asks for objects of one kind, one after the other."""

    def __init__(self, requests: ApiRequests, timeout: float) -> None:
        self._requests = requests
        self._timeout = timeout
        self._turn = asyncio.Lock()

    async def ask(self, request: Request) -> Object:
        """Return the object that is answered."""
        async with self._turn:
            await self._within(CONNECT_TIMEOUT, request, self._requests.prepare())
            body = await self._within(self._timeout, request, self._answer(request))
        return _object(request, body)

    async def close(self) -> None:
        await self._requests.close()

    async def _answer(self, request: Request) -> bytes:
        return await self._requests.read(request, await self._requests.ask(request))

    async def _within(self, seconds: float, request: Request, done: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await done
        except TimeoutError:
            # Whatever hangs is not waited for twice.
            raise await self._requests.trouble(request, f"no answer in {seconds:g} s") from None


def _object(request: Request, body: bytes) -> Object:
    """Read an object with what all have. Raises `SourceError`."""
    try:
        obj: Any = json.loads(body)
        metadata = obj["metadata"]
        named = [metadata[key] for key in ("name", "uid", "resourceVersion")]
        good = all(isinstance(value, str) and value for value in named)
    except (ValueError, LookupError, TypeError) as error:
        raise SourceError(f"the answer about {request.about} is none: {error!r}") from error
    if not good or (request.name and metadata["name"] != request.name):
        raise SourceError(f"the answer about {request.about} is about something else")
    checked: Object = obj
    return checked
