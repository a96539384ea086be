"""A resource of the Kubernetes API over HTTP: the `Source` of a list-watch.

kubernetes_asyncio gives the client, its TLS and its credentials; the paths, the JSON and the time
limits are ours. Its model classes are slow, its watch recovers from little, and it sets no limit
to anything. Objects stay the dictionaries that the JSON makes.

After a failure that may lie in the connection or in the credentials, the client is closed; the
next request makes another, with all credentials read anew. A 401 to a client that has worked
before is most likely an expired token: then the request is made again at once.
"""

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from app.discovery.credentials import Access
from app.discovery.json_lines import JsonLines
from app.discovery.source import Gone, Object, Page, SourceError

if TYPE_CHECKING:
    from aiohttp import ClientResponse

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 10.0
"""Seconds for DNS, TCP and TLS together. The other limits are the list-watch's."""

_CHUNK = 64 * 1024
"""Most bytes taken at once from a watch."""

_Query = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Resource:
    """A namespaced resource of the API."""

    group: str
    """As "discovery.k8s.io"; empty for the core group."""

    version: str
    plural: str

    def path(self, namespace: str) -> str:
        """Where its objects in a namespace are."""
        group = f"/apis/{self.group}" if self.group else "/api"
        return f"{group}/{self.version}/namespaces/{quote(namespace, safe='')}/{self.plural}"


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
        self._resource = resource
        self._connect = connect
        self._namespace = namespace
        self._labels = labels
        self._page_size = page_size
        self._access: Access | None = None
        self._proved = False
        """Whether the server has accepted the present credentials once."""

    async def list_page(self, token: str) -> Page:
        """Ask for one page. Raises `SourceError`."""
        query = [("limit", str(self._page_size))]
        if token:
            query.append(("continue", token))
        response = await self._get("list", query)
        try:
            body = await response.read()
        except Exception as error:
            raise await self._trouble("list", error) from error
        return _page(body)

    @asynccontextmanager
    async def watch(self, version: str, seconds: int) -> AsyncIterator[AsyncIterator[Object]]:
        """Open a watch. Raises `SourceError`, as the iterator does."""
        query = [
            ("watch", "true"),
            ("resourceVersion", version),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(seconds)),
        ]
        response = await self._get("watch", query)
        events = self._events(response)
        try:
            yield events
        finally:
            await events.aclose()
            response.close()

    async def close(self) -> None:
        """Close the connections."""
        access, self._access = self._access, None
        self._proved = False
        if access is not None:
            await access.client.close()

    # --- inside

    async def _events(self, response: "ClientResponse") -> AsyncGenerator[Object]:
        lines = JsonLines()
        while True:
            try:
                chunk = await response.content.read(_CHUNK)
                events = lines.feed(chunk)
            except Exception as error:
                raise await self._trouble("watch", error) from error
            if not chunk:
                break
            for event in events:
                yield event
        if lines.partial:
            raise SourceError("the watch ended within a line")

    async def _get(self, verb: str, query: _Query) -> "ClientResponse":
        """Ask, and return the response if it is a good one."""
        response = await self._ask(verb, query)
        if response.status == HTTPStatus.UNAUTHORIZED and self._proved:
            response.close()
            await self.close()
            response = await self._ask(verb, query)
        if response.status == HTTPStatus.OK:
            self._proved = True
            return response
        try:
            text = await response.read()
        except Exception as error:
            raise await self._trouble(verb, error) from error
        if response.status == HTTPStatus.UNAUTHORIZED:
            await self.close()
        raise self._refusal(verb, response, text)

    async def _ask(self, verb: str, query: _Query) -> "ClientResponse":
        access = self._access or await self._connect()
        self._access = access
        from aiohttp import ClientTimeout  # noqa: PLC0415 - no earlier than kubernetes_asyncio

        if self._labels:
            query = [("labelSelector", self._labels), *query]
        try:
            response: ClientResponse = await access.client.call_api(
                self._resource.path(self._namespace or access.namespace),
                "GET",
                query_params=query,
                header_params={"Accept": "application/json"},
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=ClientTimeout(total=None, connect=CONNECT_TIMEOUT),
            )
        except Exception as error:
            raise await self._trouble(verb, error) from error
        return response

    async def _trouble(self, verb: str, error: Exception) -> SourceError:
        """Begin with a new client next time; say what went wrong."""
        logger.debug("cannot %s %s", verb, self._resource.plural, exc_info=error)
        await self.close()
        return SourceError(f"cannot {verb} them: {type(error).__name__}: {error}".rstrip(": "))

    def _refusal(self, verb: str, response: "ClientResponse", text: bytes) -> SourceError:
        """Say why there was no answer, and what a person can do about it."""
        status, resource = response.status, self._resource
        said = f"{status}: {_message(text) or response.reason}"
        if status == HTTPStatus.GONE:
            return Gone(f"cannot {verb} them ({said})")
        advice = ""
        if status == HTTPStatus.UNAUTHORIZED:
            advice = "; see the service account's token, or the kubeconfig's user"
        elif status == HTTPStatus.FORBIDDEN:
            account = self._access.namespace if self._access else ""
            advice = (
                f"; bind a Role in namespace {self._namespace or account} that allows list and "
                f'watch on {resource.plural} of API group "{resource.group}" to this account'
            )
        elif status == HTTPStatus.NOT_FOUND:
            advice = (
                f"; this server has no {resource.plural} in API "
                f"{resource.group or 'core'}/{resource.version}: install what defines them, or see "
                "whether it is the right server"
            )
        retry_after = response.headers.get("Retry-After", "")
        wait = float(retry_after) if retry_after.isdecimal() else 0.0
        return SourceError(f"cannot {verb} them ({said}){advice}", retry_after=wait)


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


def _message(text: bytes) -> str:
    """Return what a Status says; empty if it is none."""
    try:
        answer = json.loads(text)
    except ValueError:
        return ""
    return str(answer.get("message") or "") if isinstance(answer, dict) else ""
