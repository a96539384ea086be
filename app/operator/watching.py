"""kopf, as far as it is used: it watches three resources of one namespace, and tells the `Cache`.

`on.event` handlers alone. Of what kopf offers besides, nothing fits: timers and daemons put
finalizers on users' objects, `on.create` and `on.update` write annotations, and its storage in the
status is pruned by a structural schema, whereupon it tries again forever. Standalone (no peering),
an exact namespace, and no scanning: so it needs no right beyond `list` and `watch` here. A CRD that
comes later is not noticed without scanning; `process` sees to it that there is one.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import kopf

from app.config.resource import GROUP, VERSION
from app.discovery.credentials import Access
from app.discovery.source import Object
from app.operator.cache import POOLS, SERVICES, SLICES, Cache

RESOURCES = (
    (GROUP, VERSION, POOLS),
    ("", "v1", SERVICES),
    ("discovery.k8s.io", "v1", SLICES),
)
"""What is watched, as group, version and plural."""

_CREDENTIALS_LAST = timedelta(minutes=5)
"""Then they are read again: a pod's token is renewed within the hour."""


def make_registry(
    cache: Cache, connect: Callable[[], Awaitable[Access]], is_alive: Callable[[], None]
) -> kopf.OperatorRegistry:
    """Make kopf's handlers. `is_alive` raises if the process should be restarted."""
    registry = kopf.OperatorRegistry()
    for group, version, plural in RESOURCES:
        where = (group, version, plural) if group else (version, plural)

        @kopf.on.event(*where, id=f"know-{plural}", registry=registry)
        async def _event(event: kopf.RawEvent, resource: kopf.Resource, **_: object) -> None:
            obj: Object = dict(event["object"])
            if event["type"] == "DELETED":
                cache.remove(resource.plural, obj["metadata"]["uid"])
            else:
                cache.put(resource.plural, obj)

    @kopf.on.login(registry=registry)
    async def _login(**_: object) -> kopf.ConnectionInfo:
        access = await connect()
        try:
            return connection_of(access)
        finally:
            await access.client.close()

    @kopf.on.probe(registry=registry, id="alive")
    async def _probe(**_: object) -> str:
        is_alive()
        return "yes"

    return registry


def make_settings() -> kopf.OperatorSettings:
    """Make kopf's settings. A stream that says nothing is not believed for long."""
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True
    settings.posting.enabled = False
    watching = settings.watching
    watching.server_timeout = 300.0
    watching.client_timeout = 330.0
    watching.connect_timeout = 10.0
    watching.inactivity_timeout = 75.0  # a bookmark comes each minute
    watching.reconnect_backoff = 1.0
    watching.chunk_size = 500
    settings.networking.request_timeout = 30.0
    settings.networking.connect_timeout = 10.0
    settings.networking.error_backoffs = (1, 2, 4, 8, 15)
    settings.process.ultimate_exiting_timeout = 30.0
    return settings


async def watch(
    registry: kopf.OperatorRegistry, namespace: str, liveness: str, stop: asyncio.Event
) -> None:
    """Watch until `stop` is set, or a signal comes (kopf takes SIGTERM and SIGINT)."""
    logging.getLogger("kopf").setLevel(logging.WARNING)  # it says a line for each event
    await kopf.operator(
        registry=registry,
        settings=make_settings(),
        standalone=True,
        namespaces=[namespace],
        liveness_endpoint=liveness,
        stop_flag=stop,
    )


class Connection(kopf.ConnectionInfo):
    """How kopf reaches the API server: with certificates as lenient as all else is."""

    def as_ssl_context(self) -> ssl.SSLContext:
        """Make it, without what Python 3.13 demands beyond Go: see `discovery.credentials`."""
        context = super().as_ssl_context()
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


def connection_of(access: Access) -> Connection:
    """Give kopf the credentials that the rest of leastwise uses."""
    configuration = access.client.configuration
    token = configuration.api_key.get("BearerToken") or ""
    return Connection(
        server=str(configuration.host),
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        token=token.removeprefix("Bearer ") or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        default_namespace=access.namespace,
        proxy_url=configuration.proxy,
        expiration=datetime.now(UTC) + _CREDENTIALS_LAST,
    )
