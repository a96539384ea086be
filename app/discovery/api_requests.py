"""Requests to the Kubernetes API for one resource, as whoever the credentials say.

Called by `api_source` (lists, watches) and `leases` (single objects). kubernetes_asyncio gives the
client, its TLS and its credentials; the paths, the JSON and the time limits are ours. Its model
classes are slow, and it sets no limit to anything. Objects stay the dictionaries that the JSON
makes.

After a failure that may lie in the connection or in the credentials, the client is closed; the
next request makes another, with all credentials read anew. A 401 to a client that has worked
before is most likely an expired token: then the request is made again at once.
"""

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from app.discovery.credentials import Access
from app.discovery.source import Conflict, Gone, Missing, Object, SourceError

if TYPE_CHECKING:
    from aiohttp import ClientResponse

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 10.0
"""Seconds for DNS, TCP and TLS together. The other limits are the callers'."""

_METHODS = {"create": "POST", "update": "PUT"}
"""By RBAC's verbs; all others are GET."""


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


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. The empty `name` stands for the whole resource."""

    verb: str
    """As RBAC calls it: list, watch, get, create or update."""

    name: str = ""
    query: tuple[tuple[str, str], ...] = ()
    body: Object | None = None
    about: str = "them"
    """What it is about, for messages: "cannot list them"."""

    verbs: str = ""
    """The verbs that a Role has to allow, for messages; empty for this one alone."""

    allow: str = ""
    """The resourceNames that a Role may name, for messages; empty for any."""


class ApiRequests:
    """Asks the API server; for one request at a time.

    `namespace`: None for the one that comes with the credentials. `close` has to be called at the
    end. Everything raises `SourceError` and nothing else.
    """

    def __init__(
        self, resource: Resource, connect: Callable[[], Awaitable[Access]], namespace: str | None
    ) -> None:
        self.resource = resource
        self._connect = connect
        self._namespace = namespace
        self._access: Access | None = None
        self._proved = False
        """Whether the server has accepted the present credentials once."""

    async def prepare(self) -> Access:
        """Make a client, if there is none; the next request would. Nothing is asked."""
        access = self._access = self._access or await self._connect()
        return access

    async def ask(self, request: Request) -> "ClientResponse":
        """Ask, and return the response if it is a good one; its body is not read yet.

        Raises `Gone`, `Conflict` and `Missing` for those answers.
        """
        response = await self._ask(request)
        if response.status == HTTPStatus.UNAUTHORIZED and self._proved:
            response.close()
            await self.close()
            response = await self._ask(request)
        if response.status in {HTTPStatus.OK, HTTPStatus.CREATED}:
            self._proved = True
            return response
        text = await self.read(request, response)
        if response.status == HTTPStatus.UNAUTHORIZED:
            await self.close()
        refusal = self._refusal(request, response, text)
        self._proved |= isinstance(refusal, Gone | Conflict | Missing)
        raise refusal

    async def read(self, request: Request, response: "ClientResponse") -> bytes:
        """Return the body of the answer to that request."""
        try:
            body: bytes = await response.read()
        except Exception as error:
            raise await self.trouble(request, error) from error
        return body

    async def trouble(self, request: Request, error: Exception | str) -> SourceError:
        """Begin with a new client next time; say what went wrong."""
        failed = f"cannot {request.verb} {request.about}"
        if isinstance(error, Exception):
            logger.debug("%s (%s)", failed, self.resource.plural, exc_info=error)
            error = f"{type(error).__name__}: {error}"
        await self.close()
        return SourceError(f"{failed}: {error}".rstrip(": "))

    async def close(self) -> None:
        """Close the connections."""
        access, self._access = self._access, None
        self._proved = False
        if access is not None:
            await access.client.close()

    # --- inside

    async def _ask(self, request: Request) -> "ClientResponse":
        access = await self.prepare()
        from aiohttp import ClientTimeout  # noqa: PLC0415 - no earlier than kubernetes_asyncio

        path = self.resource.path(self._namespace or access.namespace)
        try:
            response: ClientResponse = await access.client.call_api(
                f"{path}/{quote(request.name, safe='')}" if request.name else path,
                _METHODS.get(request.verb, "GET"),
                query_params=list(request.query),
                header_params={"Accept": "application/json"},
                body=request.body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=ClientTimeout(total=None, connect=CONNECT_TIMEOUT),
            )
        except Exception as error:
            raise await self.trouble(request, error) from error
        return response

    def _refusal(self, request: Request, response: "ClientResponse", text: bytes) -> SourceError:
        """Say why there was no answer, and what a person can do about it."""
        answer = _status(text)
        said = f"{response.status}: {answer.get('message') or response.reason}"
        told = f"cannot {request.verb} {request.about} ({said})"
        if response.status == HTTPStatus.GONE:
            return Gone(told)
        if response.status == HTTPStatus.CONFLICT:
            return Conflict(told)
        if response.status == HTTPStatus.NOT_FOUND and _is_about(answer, request):
            return Missing(told)
        retry_after = response.headers.get("Retry-After", "")
        wait = float(retry_after) if retry_after.isdecimal() else 0.0
        return SourceError(told + self._advice(request, response.status), retry_after=wait)

    def _advice(self, request: Request, status: int) -> str:
        resource = self.resource
        if status == HTTPStatus.UNAUTHORIZED:
            return "; see the service account's token, or the kubeconfig's user"
        if status == HTTPStatus.FORBIDDEN:
            account = self._access.namespace if self._access else ""
            named = f", resource name {request.allow}," if request.allow else ""
            return (
                f"; bind a Role in namespace {self._namespace or account} that allows "
                f"{request.verbs or request.verb} on {resource.plural} of API group "
                f'"{resource.group}"{named} to this account'
            )
        if status == HTTPStatus.NOT_FOUND:
            return (
                f"; this server has no {resource.plural} in API "
                f"{resource.group or 'core'}/{resource.version}: install what defines them, or see "
                "whether it is the right server"
            )
        return ""


def _status(text: bytes) -> Object:
    """Return the Status that the server answered with; empty if it is none."""
    try:
        answer = json.loads(text)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _is_about(answer: dict[str, Any], request: Request) -> bool:
    """Whether a 404 says that the object is not there, and not that all of it is elsewhere.

    It may be taken for a proof, so it has to be the API server's own word about that very name.
    """
    details = answer.get("details")
    named = isinstance(details, dict) and details.get("name") == request.name
    return bool(request.name) and named and answer.get("reason") == "NotFound"
