"""A resource of the Kubernetes API over HTTP: the `Source` of a list-watch.

The requests, their credentials and what a refusal means are `api_requests`' part; here are pages
and watches.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from app.discovery.api_requests import ApiRequests, Request, Resource
from app.discovery.credentials import Access
from app.discovery.json_lines import JsonLines
from app.discovery.source import Object, Page, SourceError

if TYPE_CHECKING:
    from aiohttp import ClientResponse

_CHUNK = 64 * 1024
"""Most bytes taken at once from a watch."""


class ApiSource:
    """Lists and watches one resource; for one request at a time.

    `namespace`: None for the one that comes with the credentials. `page_size`: most objects on one
    page of a list. `close` has to be called at the end.
    """

    def __init__(
        self,
        resource: Resource,
        connect: Callable[[], Awaitable[Access]],
        *,
        namespace: str | None = None,
        labels: str = "",
        page_size: int = 500,
    ) -> None:
        self._requests = ApiRequests(resource, connect, namespace)
        self._labels = labels
        self._page_size = page_size

    async def list_page(self, token: str) -> Page:
        """Ask for one page. Raises `SourceError`."""
        query = [("limit", str(self._page_size))]
        if token:
            query.append(("continue", token))
        request = self._request("list", *query)
        response = await self._requests.ask(request)
        return _page(await self._requests.read(request, response))

    @asynccontextmanager
    async def watch(self, version: str, seconds: int) -> AsyncIterator[AsyncIterator[Object]]:
        """Open a watch. Raises `SourceError`, as the iterator does."""
        request = self._request(
            "watch",
            ("watch", "true"),
            ("resourceVersion", version),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(seconds)),
        )
        response = await self._requests.ask(request)
        events = self._events(request, response)
        try:
            yield events
        finally:
            await events.aclose()
            response.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._requests.close()

    # --- inside

    def _request(self, verb: str, *query: tuple[str, str]) -> Request:
        selector = (("labelSelector", self._labels),) if self._labels else ()
        return Request(verb, query=(*selector, *query), verbs="list and watch")

    async def _events(self, request: Request, response: "ClientResponse") -> AsyncGenerator[Object]:
        lines = JsonLines()
        while True:
            try:
                chunk = await response.content.read(_CHUNK)
                events = lines.feed(chunk)
            except Exception as error:
                raise await self._requests.trouble(request, error) from error
            if not chunk:
                break
            for event in events:
                yield event
        if lines.partial:
            raise SourceError("the watch ended within a line")


def _page(body: bytes) -> Page:
    try:
        answer: Any = json.loads(body)
        metadata = answer["metadata"]
        version, token = metadata["resourceVersion"], metadata.get("continue") or ""
        items = answer.get("items") or []
        named = all(isinstance(item["metadata"]["name"], str) for item in items)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise SourceError(f"the answer to a list is none: {error!r}") from error
    if not (version and named):
        raise SourceError("the answer to a list has no version, or items without names")
    return Page(items, version, token)
