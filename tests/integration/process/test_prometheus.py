"""A real Prometheus scrapes a real balancer under load, with the chart's alerts and panels."""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.integration.process.harness import Balancer, Programs, free_port, until
from tests.integration.process.load import Load
from tests.unit.chart.monitoring import group, queries, rules

PROMETHEUS = shutil.which("prometheus")
pytestmark = pytest.mark.skipif(
    PROMETHEUS is None, reason="needs Prometheus: `apt-get install prometheus`"
)

LABELS = {"namespace": "apps", "job": "lb-admin", "pod": "lb-1"}
KEYED = "Idempotency-Key: yes"


class Prometheus:
    def __init__(self, port: int) -> None:
        self._client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False)

    async def ask(self, path: str, **parameters: str) -> Any:
        answer = await self._client.get(f"/api/v1/{path}", params=parameters)
        found = answer.json()
        assert found["status"] == "success", found
        return found["data"]

    async def value(self, query: str) -> float | None:
        """Return the value of the one series, None if there is none yet."""
        result = (await self.ask("query", query=query))["result"]
        return float(result[0]["value"][1]) if result else None

    async def reaches(self, query: str, least: float) -> None:
        async def is_there() -> bool:
            value = await self.value(query)
            return value is not None and value >= least

        await until(f"{query} >= {least}", is_there, pause=0.2)

    async def is_up(self) -> bool:
        try:
            return (await self._client.get("/-/ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def close(self) -> None:
        await self._client.aclose()


@asynccontextmanager
async def prometheus(folder: Path, balancer: Balancer) -> AsyncIterator[Prometheus]:
    assert PROMETHEUS is not None
    (folder / "alerts.yaml").write_text(yaml.safe_dump({"groups": [group(rules())]}))
    target = {"targets": [f"127.0.0.1:{balancer.admin_port}"], "labels": LABELS}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yaml"],
        "scrape_configs": [{"job_name": "lb-admin", "static_configs": [target]}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            PROMETHEUS,
            f"--config.file={folder}/prometheus.yaml",
            f"--storage.tsdb.path={folder}/tsdb",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=log,
            stderr=log,
        )
    client = Prometheus(port)
    try:
        await until("Prometheus is ready", client.is_up)
        yield client
    finally:
        await client.close()
        process.terminate()
        await process.wait()


async def test_prometheus_sees_requests_and_a_kill(programs: Programs, tmp_path: Path) -> None:
    workers = await programs.workers(3, task_seconds=0.1, max_in_flight=4)
    spec = {"endpoints": [worker.address for worker in workers], "maxInFlight": 4}
    balancer = await programs.balancer(spec)
    async with (
        prometheus(tmp_path, balancer) as server,
        Load(balancer.port, 8, KEYED) as load,
    ):
        await load.more(50)
        await server.reaches('leastwise_requests_total{code_class="2xx", pool="test"}', 50)
        await server.reaches("leastwise_request_duration_seconds_count", 50)
        assert await server.value("up") == 1
        assert await server.value("leastwise_workers_in_rotation") == 3
        await workers[0].kill()
        await server.reaches("sum(leastwise_ejections_total)", 1)
        gone = f'leastwise_worker_phase{{worker="{workers[0].address}", phase="ejected"}}'
        await server.reaches(gone, 1)
        # Every panel of the dashboard and every alert is asked, of what really came.
        asked = {query: (await server.ask("query", query=query))["result"] for query in queries()}
        empty = [query for query, result in asked.items() if not result]
        absent = re.compile("watch|workerpools|arbiter|replica|reserved|> 0$")  # one pool of a file
        assert all(absent.search(query) for query in empty), empty
        await until("all alerts were evaluated", lambda: evaluated(server))
        (target,) = (await server.ask("targets"))["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
        # A worker that is taken off the pool disappears, and its series end.
        balancer.configure(spec | {"endpoints": spec["endpoints"][1:]})  # type: ignore[index]
        await server.reaches(f"absent({gone})", 1)
    assert load.failures == []
    said = (tmp_path / "prometheus.log").read_text()
    assert "level=error" not in said, said


async def evaluated(server: Prometheus) -> bool:
    (found,) = (await server.ask("rules"))["groups"]
    assert not any(rule["lastError"] for rule in found["rules"] if "lastError" in rule), json.dumps(
        found, indent=1
    )
    return all(rule["health"] == "ok" for rule in found["rules"])
