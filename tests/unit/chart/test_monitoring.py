"""Alerts and Grafana dashboard: they render, promtool takes them, they ask for what there is."""

import json
import re
from pathlib import Path

from prometheus_client.samples import Sample

from app.admin.metrics import families
from app.balancing.lease import Outcome
from app.discovery.list_watch import Condition
from app.peers.view import Standing
from tests.unit.admin.test_replicas import seen
from tests.unit.admin.views import Balancer, View
from tests.unit.chart.helm import CHART, OPTIONS, find
from tests.unit.chart.monitoring import (
    dashboard,
    group,
    needs_promtool,
    promtool,
    queries,
    rules,
    write,
)
from tests.unit.telemetry.requests_made import Ended, refused

_METRIC = re.compile(r"\b(?:leastwise|process)_[a-z_]+")


def told() -> set[str]:
    """Names of all samples that a balancer with everything tells."""
    return {sample.name for sample in samples()}


def samples() -> list[Sample]:
    view = View()
    view.discovery = Condition("slices", last_contact=0.0)
    view.retried[Outcome.DIED] += 1
    view.standing = Standing("a.1", "deciding", 7, 0.0, seen(view.pool))
    view.telemetry.requests.ended(Ended(worker="worker-1"))
    view.telemetry.requests.ended(refused())
    balancer = Balancer(view)
    balancer.pool_watch = Condition("WorkerPools", last_contact=0.0)
    return [sample for family in families(balancer) for sample in family.samples]


async def test_alerts_and_panels_ask_for_metrics_that_there_are() -> None:
    asked = {
        name
        for text in (*queries(), *(rule["expr"] for rule in rules()))
        for name in _METRIC.findall(text)
    }
    of_process = {name for name in asked if name.startswith("process_")}
    assert of_process == {"process_cpu_seconds_total", "process_resident_memory_bytes"}
    assert asked - of_process <= told()
    families_asked = {re.sub("_(total|bucket|sum|count)$", "", name) for name in asked}
    families_told = {re.sub("_(total|bucket|sum|count|created)$", "", name) for name in told()}
    unasked = families_told - families_asked
    assert unasked == {
        "leastwise_worker_requests", "leastwise_worker_failures", "leastwise_worker_refusals",
        "leastwise_worker_connect_errors", "leastwise_worker_phase",
        "leastwise_workerpools_watch_restarts",
    }  # fmt: skip # for who looks closer: in no overview


async def test_the_documentation_names_each_metric_and_what_its_labels_may_be() -> None:
    text = (CHART.parents[1] / "docs" / "observability.md").read_text().split("## Metrics")[1]
    of_pools, of_the_balancer = text.split("### Of each pool")[1].split("### Of the balancer")
    for sample in samples():
        name = re.sub("_(bucket|sum|count|created)$", "", sample.name)
        part = of_pools if "pool" in sample.labels else of_the_balancer
        (line,) = (line for line in part.splitlines() if f"`{name}`" in line.partition(" | ")[0])
        for label in sample.labels.keys() & {"reason", "state"}:
            assert f"`{sample.labels[label]}`" in line, name
        if name == "leastwise_workers":
            assert f"`{sample.labels['phase']}`" in line


def test_each_alert_says_what_to_do() -> None:
    runbook = (CHART.parents[1] / "docs" / "runbook.md").read_text()
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        notes = rule["annotations"]
        assert notes.keys() == {"summary", "description", "runbook"}
        assert len(notes["runbook"]) > 40
        assert f"`{rule['alert']}`" in runbook


def test_alerts_are_about_this_release_alone() -> None:
    selector = 'namespace="apps", job="lb-admin"'
    for rule in rules():
        named = len(_METRIC.findall(rule["expr"])) + len(re.findall(r"\bup{", rule["expr"]))
        assert rule["expr"].count(selector) == named
        assert "SELECTOR" not in json.dumps(rule)


def test_objects_carry_the_labels_by_which_they_are_found() -> None:
    rule = find("PrometheusRule", OPTIONS["alerts"])
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    board = find("ConfigMap", OPTIONS["Grafana dashboard"], "lb-dashboard")
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert board["metadata"]["annotations"] == {"folder": "Serving"}


def test_the_dashboards_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        taken |= cells


@needs_promtool
def test_promtool_takes_the_alerts(tmp_path: Path) -> None:
    promtool("check", "rules", write(tmp_path / "r.yaml", {"groups": [group(rules())]}))


@needs_promtool
def test_promtool_takes_the_dashboards_queries(tmp_path: Path) -> None:
    records = [{"record": f"panel:{n}", "expr": query} for n, query in enumerate(queries())]
    assert len(records) > 30
    promtool("check", "rules", write(tmp_path / "r.yaml", {"groups": [group(records)]}))
