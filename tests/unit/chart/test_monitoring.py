"""Alerts and Grafana dashboard: they render, promtool takes them, they ask for what there is."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.registry import Collector

from app.admin.metrics import families
from app.balancing.lease import Outcome
from app.discovery.list_watch import Condition
from app.peers.view import Standing
from tests.unit.admin.test_replicas import seen
from tests.unit.admin.views import View
from tests.unit.chart.helm import CHART, OPTIONS, Object, find
from tests.unit.telemetry.requests_made import Ended, refused

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="needs promtool: `apt-get install prometheus`"
)
OF_PROMETHEUS = {"up"}
_METRIC = re.compile(r"\b(?:leastwise|process)_[a-z_]+")


def rules() -> list[Object]:
    (group,) = find("PrometheusRule", OPTIONS["alerts"])["spec"]["groups"]
    found: list[Object] = group["rules"]
    return found


def dashboard() -> Object:
    data = find("ConfigMap", OPTIONS["Grafana dashboard"], "lb-dashboard")["data"]
    content: Object = json.loads(data["leastwise.json"])
    return content


def queries() -> list[str]:
    """What the panels ask, as Grafana would send it."""
    board = dashboard()
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    asked += [annotation["expr"] for annotation in board["annotations"]["list"]]
    found = []
    for query in asked:
        for variable, value in (
            ("$namespace", ".*"), ("$pool", ".*"), ("$__rate_interval", "1m"),
        ):  # fmt: skip
            query = query.replace(variable, value)  # noqa: PLW2901
        found.append(query)
    return found


def told() -> set[str]:
    """Names of all samples that a balancer with everything tells."""
    view = View()
    view.discovery = Condition("slices", last_contact=0.0)
    view.retried[Outcome.DIED] += 1
    view.standing = Standing("a.1", "deciding", 7, 0.0, seen(view.pool))
    view.telemetry.requests.ended(Ended(worker="worker-1"))
    view.telemetry.requests.ended(refused())

    class Balancer(Collector):
        def collect(self) -> Iterator[Any]:
            return families([view])

    return {sample.name for family in Balancer().collect() for sample in family.samples}


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
        "leastwise_worker_connect_errors", "leastwise_worker_phase", "leastwise_arbiter_term",
        "leastwise_replicas", "leastwise_replica_slots", "leastwise_without_arbiter_seconds",
    }  # fmt: skip # for who looks closer: in no overview


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


# --- promtool


def promtool(*arguments: str | Path) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def write(path: Path, content: Any) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


@needs_promtool
def test_promtool_takes_the_alerts(tmp_path: Path) -> None:
    promtool("check", "rules", write(tmp_path / "r.yaml", {"groups": [group(rules())]}))


@needs_promtool
def test_promtool_takes_the_dashboards_queries(tmp_path: Path) -> None:
    records = [{"record": f"panel:{n}", "expr": query} for n, query in enumerate(queries())]
    assert len(records) > 30
    promtool("check", "rules", write(tmp_path / "r.yaml", {"groups": [group(records)]}))


def group(found: list[Object]) -> Object:
    return {"name": "leastwise", "rules": found}


LABELS = 'namespace="apps", job="lb-admin", pod="lb-1", pool="demo"'
FIRES: dict[str, tuple[dict[str, str], str]] = {
    "LeastwiseDown": ({"up": "0x30"}, "5m"),
    "LeastwiseNotReady": ({"leastwise_ready": "0x30"}, "6m"),
    "LeastwiseNoWorkers": ({"leastwise_workers_in_rotation": "0x30"}, "2m"),
    "LeastwiseWorkersOut": ({'leastwise_workers phase="ejected"': "2x30"}, "12m"),
    "LeastwiseRefusing": ({'leastwise_refusals_total reason="queue_full"': "0+5x30"}, "12m"),
    "LeastwiseQueueFilling": (
        {"leastwise_queue_length": "900x30", "leastwise_queue_limit": "1000x30"}, "5m",
    ),
    "LeastwiseSaturated": (
        {
            "leastwise_requests_in_flight": "20x30", "leastwise_slots": "20x30",
            "leastwise_queue_length": "3x30",
        },
        "20m",
    ),
    "LeastwiseErrors": (
        {
            'leastwise_requests_total code_class="2xx"': "0+90x30",
            'leastwise_requests_total code_class="5xx"': "0+10x30",
        },
        "12m",
    ),
    "LeastwiseRetries": (
        {
            'leastwise_requests_total code_class="2xx"': "0+80x30",
            'leastwise_retries_total reason="died"': "0+10x30",
        },
        "25m",
    ),
    "LeastwiseWatchDown": ({"leastwise_watch_up": "0x30"}, "8m"),
    "LeastwiseConfigRejected": ({"leastwise_config_ok": "0x30"}, "4m"),
    "LeastwiseProbeIgnored": ({"leastwise_probe_ignored": "1x30"}, "4m"),
    "LeastwiseNoArbiter": ({"leastwise_arbiter": "0x30"}, "3m"),
    "LeastwiseSlotsReserved": ({"leastwise_slots_reserved": "2x30"}, "5m"),
}  # fmt: skip
"""The series by which each alert fires alone, and when it has."""


def test_every_alert_is_tried() -> None:
    assert sorted(FIRES) == sorted(rule["alert"] for rule in rules())


@needs_promtool
def test_each_alert_fires_and_no_other(tmp_path: Path) -> None:
    write(tmp_path / "rules.yaml", {"groups": [group(rules())]})
    tests = []
    by_name = {rule["alert"]: rule for rule in rules()}
    for name, (series, at) in FIRES.items():
        inputs = []
        for metric, values in series.items():
            bare, _, more = metric.partition(" ")
            labels = f"{LABELS}, {more}" if more else LABELS
            inputs.append({"series": f"{bare}{{{labels}}}", "values": values})
        expected = [
            {"eval_time": at, "alertname": other, "exp_alerts": []}
            for other in FIRES
            if other != name
        ]
        tests.append(
            {
                "interval": "1m",
                "input_series": inputs,
                "alert_rule_test": expected,
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}})',
                        "eval_time": at,
                        "exp_samples": [{"labels": "{}", "value": 1}],
                    }
                ],
            }
        )
        assert by_name[name]["for"]
    write(
        tmp_path / "tests.yaml",
        {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests},
    )
    promtool("test", "rules", tmp_path / "tests.yaml")


@needs_promtool
def test_a_healthy_balancer_raises_no_alert(tmp_path: Path) -> None:
    write(tmp_path / "rules.yaml", {"groups": [group(rules())]})
    healthy = {
        "up": "1x60", "leastwise_ready": "1x60", "leastwise_workers_in_rotation": "5x60",
        'leastwise_workers phase="ejected"': "0x60", "leastwise_queue_length": "0x60",
        "leastwise_queue_limit": "0x60", "leastwise_requests_in_flight": "20x60",
        "leastwise_slots": "20x60", 'leastwise_requests_total code_class="2xx"': "0+100x60",
        'leastwise_requests_total code_class="5xx"': "0x60",
        'leastwise_refusals_total reason="queue_full"': "0x60",
        'leastwise_retries_total reason="died"': "0+1x60", "leastwise_watch_up": "1x60",
        "leastwise_watch_age_seconds": "30x60", "leastwise_config_ok": "1x60",
        "leastwise_probe_ignored": "0x60", "leastwise_arbiter": "1x60",
        "leastwise_slots_reserved": "0x60",
    }  # fmt: skip
    inputs = []
    for metric, values in healthy.items():
        bare, _, more = metric.partition(" ")
        labels = f"{LABELS}, {more}" if more else LABELS
        inputs.append({"series": f"{bare}{{{labels}}}", "values": values})
    quiet = [{"eval_time": "55m", "alertname": name, "exp_alerts": []} for name in FIRES]
    test = {"interval": "1m", "input_series": inputs, "alert_rule_test": quiet}
    write(
        tmp_path / "tests.yaml",
        {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]},
    )
    promtool("test", "rules", tmp_path / "tests.yaml")
