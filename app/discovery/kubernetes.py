"""The pods of a Kubernetes Service, followed by its EndpointSlices.

Called by `following`: `run` in a task of its own. What always holds: each snapshot is the whole
set; the first one is told when the list has come through, also if it is empty, and then each that
differs from the last; without the API server the last one stays in force.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random

from app.balancing.endpoint import EndpointSpec
from app.config.workerpool import ServiceSpec
from app.discovery.api_requests import Resource
from app.discovery.api_source import ApiSource
from app.discovery.credentials import connect
from app.discovery.list_watch import Condition, Limits, ListWatch
from app.discovery.slices import SERVICE_LABEL, Family, SliceSet
from app.discovery.source import Object

logger = logging.getLogger(__name__)

Apply = Callable[[Sequence[EndpointSpec]], None]

ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices")

_PAGE_SIZE = 5
"""Slices on one page: 500 endpoints, which take 1.5 to 2 ms to parse, with no request served."""


class KubernetesDiscovery:
    """Follows one Service.

    `namespace`: None for the one that comes with the credentials. `apply` is called in the event
    loop's thread. `prefer`: the family of the address that is taken of a dual-stack pod.
    """

    def __init__(
        self,
        service: ServiceSpec,
        namespace: str | None,
        apply: Apply,
        *,
        kubeconfig: Path | None = None,
        limits: Limits | None = None,
        prefer: Family = "IPv4",
        random: Random | None = None,
    ) -> None:
        self.service = service
        self._apply = apply
        self._slices = SliceSet(service.port, prefer)
        self._applied: dict[str, EndpointSpec] | None = None
        self._complaint = ""
        self._source = ApiSource(
            ENDPOINT_SLICES,
            partial(connect, kubeconfig),
            namespace=namespace,
            labels=f"{SERVICE_LABEL}={service.name}",
            page_size=_PAGE_SIZE,
        )
        where = f" in namespace {namespace}" if namespace else ""
        name = f"EndpointSlices of Service {service.name}{where}"
        self._list_watch = ListWatch(self._source, self, name=name, limits=limits, random=random)

    @property
    def condition(self) -> Condition:
        """How the list-watch is doing."""
        return self._list_watch.condition

    async def run(self) -> None:
        """Follow the Service until cancelled."""
        try:
            await self._list_watch.run()
        finally:
            await self._source.close()

    # --- what the list-watch tells

    def replace(self, objects: Sequence[Object]) -> None:
        """These are all slices."""
        self._slices.replace(objects)
        self._tell()

    def put(self, obj: Object) -> None:
        """Take in a slice."""
        self._slices.put(obj)
        self._tell()

    def remove(self, obj: Object) -> None:
        """Forget a slice."""
        self._slices.remove(obj)
        self._tell()

    def _tell(self) -> None:
        self._complain(self._slices.complaint())
        endpoints = self._slices.endpoints()
        if endpoints != self._applied:
            self._applied = endpoints
            self._apply(tuple(endpoints.values()))

    def _complain(self, complaint: str) -> None:
        if complaint and complaint != self._complaint:
            logger.warning("%s: %s", self.condition.name, complaint)
        self._complaint = complaint
