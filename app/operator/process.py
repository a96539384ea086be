"""`leastwise operator`: the process, from its settings to its exit code.

It ends with 0 after SIGTERM or SIGINT. It ends with 1 if it has no way to the API server, no
rights, or no CRD, and says so: its Deployment starts it again, so that a CRD that comes later is
found. A failure of kopf or of the rounds ends it, too.
"""

import asyncio
import logging
import os
import socket
from functools import partial

import httpx

from app.config.operator_settings import OperatorSettings
from app.config.tokens import token_of
from app.discovery.credentials import connect
from app.discovery.source import SourceError
from app.operator.cache import Cache
from app.operator.operating import Operating
from app.operator.watching import make_registry, watch

log = logging.getLogger(__name__)

EXIT_STOPPED, EXIT_FAILED = 0, 1


def run(settings: OperatorSettings) -> int:
    """Run until SIGTERM or SIGINT; return the process's exit code. The log is set up already."""
    return asyncio.run(_run(settings))


async def _run(settings: OperatorSettings) -> int:
    for name in ("httpx", "aiohttp.access"):  # they say a line for each request
        logging.getLogger(name).setLevel(logging.WARNING)
    reach = partial(connect, settings.kubeconfig)
    try:
        namespace = settings.namespace or await _own_namespace(settings)
    except SourceError as error:
        log.error("%s", error)  # noqa: TRY400 - the message is enough
        return EXIT_FAILED
    cache = Cache()
    async with httpx.AsyncClient(trust_env=False) as client:
        operating = Operating(
            cache,
            reach,
            namespace,
            balancer=settings.balancer,
            instance=os.environ.get("HOSTNAME") or socket.gethostname(),
            client=client,
            token=token_of(settings),
        )
        try:
            await operating.begin()
            log.info("watching WorkerPools in namespace %s", namespace)
            await _operate(settings, operating, cache, namespace)
            await operating.farewell()
        except SourceError as error:
            log.error("%s", error)  # noqa: TRY400 - the message is enough
            return EXIT_FAILED
        finally:
            await operating.close()
    return EXIT_STOPPED


async def _own_namespace(settings: OperatorSettings) -> str:
    access = await connect(settings.kubeconfig)
    await access.client.close()
    return access.namespace


async def _operate(
    settings: OperatorSettings, operating: Operating, cache: Cache, namespace: str
) -> None:
    """Let kopf watch and the rounds go on until a signal, or until one of them fails."""
    registry = make_registry(cache, partial(connect, settings.kubeconfig), operating.is_alive)
    liveness = f"http://{settings.liveness_listen}/healthz"
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        rounds = group.create_task(operating.run(), name="rounds")
        rounds.add_done_callback(lambda _: stop.set())
        await watch(registry, namespace, liveness, stop)
        rounds.cancel()
