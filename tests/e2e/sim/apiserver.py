"""The API server: list (in pages), watch, get, create, replace, patch and delete over HTTP.

kmock's emulation does not serve here: it knows no resource versions, bookmarks, 410, pages or
label selectors. As in Kubernetes, a watch says what happened after its version, 410 comes as an
ERROR event on a stream that began well, and bookmarks come where they are allowed.
"""

import asyncio
import base64
import copy
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from tests.e2e.sim import kinds
from tests.e2e.sim.custom import CustomResource
from tests.e2e.sim.faults import Faults
from tests.e2e.sim.kinds import KINDS
from tests.e2e.sim.store import Conflict, Gone, Object, Store
from tests.e2e.sim.watches import Bell, Watch, labels_of, status

CRD = Path(__file__).parents[3] / "charts" / "lb" / "crds" / "workerpools.yaml"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Invalid(Exception):  # noqa: N818 - as HTTP calls it
    """The object is against its schema or its rules."""


def _refuse(code: int, reason: str, message: str) -> web.Response:
    return web.json_response(status(code, reason, message), status=code)


def _missing(resource: str, name: str) -> web.Response:
    """Say of an object that it is not there; by the details it is told from a wrong path."""
    said = status(404, "NotFound", f'{resource} "{name}" not found')
    return web.json_response(said | {"details": {"name": name, "kind": resource}}, status=404)


class ApiServer:
    """Serves `store` on one address, with `faults`."""

    def __init__(
        self, store: Store, faults: Faults, *, on_delete_pod: Callable[[str, int], None]
    ) -> None:
        self.store = store
        self.faults = faults
        self.port = 0
        self._on_delete_pod = on_delete_pod
        self._pages: dict[str, tuple[int, list[Object]]] = {}
        self._bell = Bell()
        self._runner: web.AppRunner | None = None
        self._custom = CustomResource(yaml.safe_load(CRD.read_text()))
        self.seen = {"lists": 0, "watches": 0}
        """How many of each were asked for, by clients that came through."""

        self.writes: list[str] = []
        """The verb, the resource and the subresource of each write, as RBAC names them."""

        store.observers.append(self._bell.ring)

    # --- its life

    async def start(self) -> None:
        """Listen, on the same port as before."""
        app = web.Application(middlewares=[self._faulty])
        for prefix in ("/api/{version}", "/apis/{group}/{version}"):
            for path in ("/{resource}", "/namespaces/{namespace}/{resource}"):
                app.router.add_get(prefix + path, self._list_or_watch)
                app.router.add_post(prefix + path, self._create)
            one = prefix + "/namespaces/{namespace}/{resource}/{name}"
            for path in (one, one + "/status"):
                app.router.add_get(path, self._get)
                app.router.add_put(path, self._put)
                app.router.add_patch(path, self._patch)
            app.router.add_delete(one, self._delete)
        app.router.add_get("/api", self._look_around)
        app.router.add_get("/apis", self._look_around)
        app.router.add_get("/api/{version}", self._look_around)
        app.router.add_get("/apis/{group}/{version}", self._look_around)
        app.router.add_get("/version", self._version)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the listener and every connection."""
        runner, self._runner = self._runner, None
        if runner is not None:
            _break(runner)
            await runner.cleanup()

    async def obey(self) -> None:
        """Be as the faults say from now on."""
        if self.faults.unreachable:
            await self.stop()
        elif self._runner is None:
            await self.start()
        elif self.faults.at_the_beginning:
            _break(self._runner)
        self._bell.ring()

    # --- its answers

    @web.middleware
    async def _faulty(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        while self.faults.hung:
            await self._bell.next.wait()
        if self.faults.error_status:
            return _refuse(self.faults.error_status, "Injected", "as the test wants it")
        if request.match_info.get("resource", "pods") not in KINDS:
            return _refuse(404, "NotFound", "the server could not find the requested resource")
        try:
            return await handler(request)
        except Gone as gone:
            return _refuse(410, "Expired", str(gone))
        except Conflict as conflict:
            return _refuse(409, "Conflict", str(conflict))
        except Invalid as invalid:
            return _refuse(422, "Invalid", str(invalid))
        except KeyError:
            return _missing(request.match_info["resource"], request.match_info["name"])
        except ValueError as wrong:
            return _refuse(400, "BadRequest", str(wrong))

    async def _version(self, _request: web.Request) -> web.Response:
        return web.json_response({"major": "1", "minor": "36", "gitVersion": "v1.36.0-sim"})

    async def _look_around(self, request: web.Request) -> web.Response:
        """Answer clients that want to know what there is."""
        info = request.match_info
        if "version" in info:
            return web.json_response(kinds.resources(info.get("group", ""), info["version"]))
        return web.json_response(
            kinds.groups() if request.path == "/apis" else kinds.core_versions()
        )

    def _as_answer(self, request: web.Request, obj: Object) -> Object:
        info = request.match_info
        group = info.get("group")
        version = f"{group}/{info['version']}" if group else info["version"]
        return {"kind": KINDS[info["resource"]].kind, "apiVersion": version} | obj

    async def _list_or_watch(self, request: web.Request) -> web.StreamResponse:
        watch = request.query.get("watch", "").lower() in {"1", "true"}
        self.seen["watches" if watch else "lists"] += 1
        if watch:
            shown = partial(self._as_answer, request)
            return await Watch(request, self.store, self.faults, self._bell, shown).run()
        await asyncio.sleep(self.faults.list_delay)
        version, items = self._page_of(request)
        limit = int(request.query.get("limit") or 0)
        metadata: Object = {"resourceVersion": str(version)}
        if limit and len(items) > limit:
            token = base64.urlsafe_b64encode(f"{version}:{len(self._pages)}".encode()).decode()
            self._pages[token] = (version, items[limit:])
            metadata |= {"continue": token, "remainingItemCount": len(items) - limit}
            items = items[:limit]
        answer = self._as_answer(request, {"metadata": metadata, "items": items})
        return web.json_response(answer | {"kind": answer["kind"] + "List"})

    def _page_of(self, request: web.Request) -> tuple[int, list[Object]]:
        """Return what is left of the list that the request goes on with, or all of a new one."""
        token = request.query.get("continue")
        if token:
            if self.faults.gone or token not in self._pages:
                raise Gone("The provided continue parameter is too old")
            return self._pages.pop(token)
        info = request.match_info
        found = self.store.list(info["resource"], info.get("namespace"), labels_of(request))
        return self.store.version, found

    async def _get(self, request: web.Request) -> web.Response:
        info = request.match_info
        found = self.store.get(info["resource"], info["namespace"], info["name"])
        if found is None:
            raise KeyError(info["name"])
        return web.json_response(self._as_answer(request, found))

    async def _create(self, request: web.Request) -> web.Response:
        obj = self._noted("create", request, await self._body(request))
        resource = request.match_info["resource"]
        if self._is_custom(resource):
            obj = self._admit(request, obj)
            obj.pop("status", None)
            obj["metadata"]["generation"] = 1
        created = obj if _dry(request) else self.store.create(resource, obj)
        return web.json_response(self._as_answer(request, created), status=HTTPStatus.CREATED)

    async def _put(self, request: web.Request) -> web.Response:
        obj = self._noted("update", request, await self._body(request))
        return self._write(request, obj)

    async def _patch(self, request: web.Request) -> web.Response:
        """Merge, as of RFC 7386, or follow a JSON patch, as of RFC 6902 (tests and additions)."""
        info = request.match_info
        found = self.store.get(info["resource"], info["namespace"], info["name"])
        if found is None:
            raise KeyError(info["name"])
        patch: Any = await request.json()
        self._noted("patch", request, patch)
        if request.content_type == "application/json-patch+json":
            return self._write(request, _follow(found, patch))
        merged = _merge(found, patch)
        uid = merged["metadata"]["uid"]
        # Of what is written to a status, all but the status is taken from what is there.
        if uid != found["metadata"]["uid"] and not request.path.endswith("/status"):
            raise Invalid(f'metadata.uid: Invalid value: "{uid}": field is immutable')
        return self._write(request, merged)

    def _write(self, request: web.Request, obj: Object) -> web.Response:
        """Replace the object, or its status; each write leaves the other part as it is."""
        info = request.match_info
        resource = info["resource"]
        if self._is_custom(resource):
            before = self.store.get(resource, info["namespace"], info["name"])
            if before is None:
                raise KeyError(info["name"])
            if request.path.endswith("/status"):
                written = {"status": obj["status"]} if "status" in obj else {}
                obj = {key: v for key, v in before.items() if key != "status"} | written
                obj = self._admit(request, obj, only="status")
            else:
                obj = self._admit(request, obj)
                generation = before["metadata"]["generation"]
                changed = obj.get("spec") != before.get("spec")
                obj["metadata"]["generation"] = generation + changed
                obj.pop("status", None)
                obj |= {"status": before["status"]} if "status" in before else {}
        if resource == "leases" and not obj["metadata"].get("resourceVersion"):
            raise Invalid("metadata.resourceVersion: must be specified for an update")
        updated = obj if _dry(request) else self.store.update(resource, obj)
        return web.json_response(self._as_answer(request, updated))

    def _is_custom(self, resource: str) -> bool:
        return resource == self._custom.plural

    def _admit(self, request: web.Request, obj: Object, only: str = "") -> Object:
        """Prune, default and validate. Raises `Invalid`.

        `only`: what is not written may stay as wrong as it was, as since Kubernetes 1.30.
        """
        strict = request.query.get("fieldValidation") == "Strict"
        stored, wrong = self._custom.admit(obj, strict=strict)
        wrong = [problem for problem in wrong if problem.startswith(only)]
        if wrong:
            name = obj["metadata"]["name"]
            raise Invalid(f'{self._custom.kind} "{name}" is invalid: {"; ".join(wrong)}')
        return stored

    def _noted(self, verb: str, request: web.Request, body: Object) -> Object:
        status_of = "/status" if request.path.endswith("/status") else ""
        self.writes.append(f"{verb} {request.match_info['resource']}{status_of}")
        return body

    async def _delete(self, request: web.Request) -> web.Response:
        info = request.match_info
        found = self.store.get(info["resource"], info["namespace"], info["name"])
        if found is None:
            raise KeyError(info["name"])
        if info["resource"] == "pods":
            options = await request.json() if request.can_read_body else {}
            grace = request.query.get("gracePeriodSeconds", options.get("gracePeriodSeconds", -1))
            self._on_delete_pod(info["name"], int(grace))
        else:
            self.store.delete(info["resource"], info["namespace"], info["name"])
        return web.json_response(self._as_answer(request, found))

    async def _body(self, request: web.Request) -> Object:
        obj: Object = await request.json()
        obj["metadata"]["namespace"] = request.match_info["namespace"]
        return obj


def _dry(request: web.Request) -> bool:
    return request.query.get("dryRun") == "All"


def _break(runner: web.AppRunner) -> None:
    """Reset every connection."""
    for connection in runner.server.connections if runner.server else ():
        if connection.transport is not None:
            connection.transport.abort()


def _follow(target: Object, operations: list[Object]) -> Object:
    """Do what a JSON patch says to fields of the object and of what is within. Raises `Invalid`."""
    target = copy.deepcopy(target)
    for operation in operations:
        *way, name = operation["path"].removeprefix("/").split("/")
        place = target
        for step in way:
            place = place[step]
        if operation["op"] == "add":
            place[name] = operation["value"]
        elif operation["op"] != "test":
            raise ValueError(f"not simulated: {operation['op']}")
        elif place.get(name) != operation["value"]:
            # No more than this is said of it.
            raise Invalid("the server rejected our request due to an error in our request")
    return target


def _merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged
