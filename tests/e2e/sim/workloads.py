"""The workload controllers' part: which pods there should be, and bringing them about.

`StatefulSet`: names with ordinals, all started and stopped in parallel, a pod recreated only when
its namesake is gone, a rolling restart from the highest ordinal down, one at a time. `Deployment`:
random names, at most one pod more than wanted and never one ready less.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import replace

from tests.e2e.sim.pods import Pod, Template

Spawn = Callable[[str, Template, Callable[[Pod], None]], Pod]
"""Makes a pod of that name and lets it run; the callback is told of its changes."""


class Workload:
    """Keeps `replicas` pods of `template`."""

    def __init__(self, name: str, template: Template, replicas: int, spawn: Spawn) -> None:
        self.name = name
        self.template = template
        self.replicas = replicas
        self.pods: dict[str, Pod] = {}
        self._spawn = spawn

    def scale(self, replicas: int) -> None:
        self.replicas = replicas
        self.reconcile()

    def restart(self, template: Template | None = None) -> None:
        """Replace all pods, one after the other, by ones of the new revision."""
        revision = self.template.revision + 1
        self.template = replace(template or self.template, revision=revision)
        self.reconcile()

    @property
    def settled(self) -> bool:
        """Whether all pods are of this revision, ready, and as many as wanted."""
        return len(self.pods) == self.replicas and all(
            pod.ready and not pod.terminating and pod.template.revision == self.template.revision
            for pod in self.pods.values()
        )

    def changed(self, pod: Pod) -> None:
        """Take in a change of one of the pods."""
        if pod.removed and self.pods.get(pod.name) is pod:
            del self.pods[pod.name]
        # Not from within the pod's own step, and once for all that happens in it.
        asyncio.get_running_loop().call_soon(self.reconcile)

    def reconcile(self) -> None:
        """Take the steps that can be taken now."""
        raise NotImplementedError

    def _create(self, name: str) -> None:
        self.pods[name] = self._spawn(name, self.template, self.changed)

    def _old(self) -> list[Pod]:
        return [p for p in self.pods.values() if p.template.revision != self.template.revision]


class StatefulSet(Workload):
    """Pods name-0 to name-(n-1)."""

    def reconcile(self) -> None:
        wanted = [f"{self.name}-{ordinal}" for ordinal in range(self.replicas)]
        for name in wanted:
            if name not in self.pods:
                self._create(name)
        for name, pod in list(self.pods.items()):
            if name not in wanted and not pod.terminating:
                pod.delete(force=False)
        if all(pod.ready and not pod.terminating for pod in self.pods.values()) and self._old():
            highest = max(self._old(), key=lambda pod: int(pod.name.rpartition("-")[2]))
            highest.delete(force=False)


class Deployment(Workload):
    """Pods of random names; a rollout adds one before it takes one away."""

    def reconcile(self) -> None:
        staying = [pod for pod in self.pods.values() if not pod.terminating]
        new = [pod for pod in staying if pod.template.revision == self.template.revision]
        old = [pod for pod in staying if pod not in new]
        for pod in new[self.replicas :]:
            pod.delete(force=False)
        while len(new) < self.replicas and len(new) + len(old) <= self.replicas:
            name = f"{self.name}-{self.template.revision}-{secrets.token_hex(3)}"
            self._create(name)
            new.append(self.pods[name])
        spare = sum(pod.ready for pod in staying) - self.replicas
        for pod in [pod for pod in old if not pod.ready] + old[: max(0, spare)]:
            pod.delete(force=False)
