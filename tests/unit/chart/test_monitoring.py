"""Alerts and Grafana dashboard: they render, promtool takes them, they ask for what there is."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.samples import Sample

from app.admin.metrics import families
from app.balancing.lease import Outcome
from app.discovery.list_watch import Condition
from app.peers.view import Standing
from tests.unit.admin.test_replicas import seen
from tests.unit.admin.views import Balancer, View
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
    return [filled(query) for query in asked]


def filled(query: str, interval: str = "1m") -> str:
    for variable, value in (
        ("$namespace", ".*"), ("$pool", ".*"), ("$__rate_interval", interval),
    ):  # fmt: skip
        query = query.replace(variable, value)
    return query


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


Series = dict[str, str | tuple[str, str]]
"""Values by metric and further labels, as promtool writes them: of each pod, or of one each."""

FIRES: dict[str, tuple[Series, str]] = {
    "LeastwiseAbsent": ({"up": ("0x30", "0x4 stale")}, "5m"),
    "LeastwiseDown": ({"up": ("0x30", "1x30")}, "5m"),
    "LeastwiseNotReady": ({"leastwise_ready": "0x30"}, "6m"),
    "LeastwiseNoWorkers": ({"leastwise_workers_in_rotation": "0x30"}, "2m"),
    "LeastwiseWorkersOut": ({'leastwise_workers phase="ejected"': "2x30"}, "12m"),
    "LeastwiseRefusing": ({'leastwise_refusals_total reason="queue_full"': "0+5x30"}, "12m"),
    "LeastwiseQueueFilling": (
        {
            "leastwise_arbiter": ("1x30", "0x30"), "leastwise_queue_length": "450x30",
            "leastwise_queue_limit": "1000x30",
        },
        "5m",
    ),
    "LeastwiseSaturated": (
        {
            "leastwise_arbiter": ("1x30", "0x30"), "leastwise_requests_in_flight": "10x30",
            "leastwise_slots": "20x30", "leastwise_queue_length": ("3x30", "0x30"),
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
    "LeastwisePoolsWatchDown": ({"leastwise_workerpools_watch_age_seconds": "0+60x30"}, "12m"),
    "LeastwisePoolRefused": ({'leastwise_workerpools state="refused"': "1x30"}, "4m"),
    "LeastwiseConfigRejected": ({"leastwise_config_ok": "0x30"}, "4m"),
    "LeastwiseProbeIgnored": ({"leastwise_probe_ignored": "1x30"}, "4m"),
    "LeastwiseNoArbiter": ({"leastwise_arbiter": "0x30"}, "3m"),
    "LeastwiseSlotsReserved": (  # told by the arbiter alone, which changes
        {"leastwise_slots_reserved": ("2x2 stale", "_x2 2x28")}, "4m",
    ),
}  # fmt: skip
"""The series of two pods by which each alert fires alone, and when it has."""

OF_NO_POOL = {
    "up", "leastwise_ready", "leastwise_stopping", "leastwise_arbiter", "leastwise_workerpools",
    "leastwise_workerpools_watch_up", "leastwise_workerpools_watch_age_seconds",
}  # fmt: skip


def inputs(series: Series) -> list[Object]:
    """Return the series of both pods, as promtool takes them; both are scraped if nothing else."""
    found = []
    for metric, values in ({"up": "1x60"} | series).items():
        name, _, more = metric.partition(" ")
        of_pods = (values, values) if isinstance(values, str) else values
        for pod, of_pod in zip(("lb-1", "lb-2"), of_pods, strict=True):
            labels = ['namespace="apps"', 'job="lb-admin"', f'pod="{pod}"']
            labels += [] if name in OF_NO_POOL else ['pool="demo"']
            labels += [more] if more else []
            found.append({"series": f"{name}{{{', '.join(labels)}}}", "values": of_pod})
    return found


def fires(name: str, at: str) -> Object:
    return {
        "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}}) > bool 0',
        "eval_time": at,
        "exp_samples": [{"labels": "{}", "value": 1}],
    }


def silent(at: str, *besides: str) -> list[Object]:
    others = (name for name in FIRES if name not in besides)
    return [{"eval_time": at, "alertname": name, "exp_alerts": []} for name in others]


def run(tmp_path: Path, *tests: Object) -> None:
    """Let promtool play the tests, with the alerts; each has a step of a minute."""
    write(tmp_path / "rules.yaml", {"groups": [group(rules())]})
    content = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m"} | test for test in tests],
    }
    promtool("test", "rules", write(tmp_path / "tests.yaml", content))


def test_every_alert_is_tried() -> None:
    assert sorted(FIRES) == sorted(rule["alert"] for rule in rules())


@needs_promtool
def test_each_alert_fires_and_no_other(tmp_path: Path) -> None:
    assert all(rule["for"] for rule in rules())
    quiet = {name: silent(at, name) for name, (_, at) in FIRES.items()}
    quiet["LeastwiseAbsent"] = silent("5m", "LeastwiseAbsent", "LeastwiseDown")  # each of them is
    run(
        tmp_path,
        *(
            {
                "input_series": inputs(series),
                "alert_rule_test": quiet[name],
                "promql_expr_test": [fires(name, at)],
            }
            for name, (series, at) in FIRES.items()
        ),
    )


HEALTHY: Series = {
    "leastwise_ready": "1x60", "leastwise_stopping": "0x60",
    "leastwise_workers_in_rotation": "5x60", 'leastwise_workers phase="ejected"': "0x60",
    "leastwise_queue_length": "0x60", "leastwise_queue_limit": "0x60",
    "leastwise_requests_in_flight": "10x60", "leastwise_slots": "20x60",
    'leastwise_requests_total code_class="2xx"': "0+100x60",
    'leastwise_requests_total code_class="5xx"': "0x60",
    'leastwise_refusals_total reason="queue_full"': "0x60",
    'leastwise_retries_total reason="died"': "0+1x60", "leastwise_watch_up": "1x60",
    "leastwise_watch_age_seconds": "30x60", "leastwise_workerpools_watch_up": "1x60",
    "leastwise_workerpools_watch_age_seconds": "30x60",
    'leastwise_workerpools state="refused"': "0x60", "leastwise_config_ok": "1x60",
    "leastwise_probe_ignored": "0x60", "leastwise_arbiter": ("1x60", "0x60"),
    "leastwise_slots_reserved": ("0x60", "_x60"),
}  # fmt: skip


@needs_promtool
def test_two_healthy_replicas_raise_no_alert(tmp_path: Path) -> None:
    run(tmp_path, {"input_series": inputs(HEALTHY), "alert_rule_test": silent("55m")})


@needs_promtool
def test_a_pod_that_drains_in_a_rollout_is_no_alert(tmp_path: Path) -> None:
    """It is not ready for as long as its requests run: up to eleven minutes, or more."""
    series = HEALTHY | {"leastwise_ready": ("0x60", "1x60"), "leastwise_stopping": ("1x60", "0x60")}
    run(tmp_path, {"input_series": inputs(series), "alert_rule_test": silent("20m")})


@needs_promtool
def test_replicas_that_do_not_act_as_one_are_held_against_their_own_limits(tmp_path: Path) -> None:
    """Without peers each has a queue and slots of its own."""
    alone = {key: value for key, value in HEALTHY.items() if "arbiter" not in key}
    limits: Series = {"leastwise_queue_limit": "1000x60", "leastwise_slots": "20x60"}
    half: Series = {"leastwise_queue_length": "500x60", "leastwise_requests_in_flight": "19x60"}
    one: Series = {
        "leastwise_queue_length": ("900x60", "0x60"),
        "leastwise_requests_in_flight": ("20x60", "5x60"),
    }
    run(
        tmp_path,
        {"input_series": inputs(alone | limits | half), "alert_rule_test": silent("55m")},
        {
            "input_series": inputs(alone | limits | one),
            "promql_expr_test": [
                fires("LeastwiseQueueFilling", "5m"), fires("LeastwiseSaturated", "20m"),
            ],
        },
    )  # fmt: skip


def test_alerts_name_the_runbook_where_there_is_one() -> None:
    url = "https://docs.example.org/runbook"
    (group,) = find(
        "PrometheusRule", (*OPTIONS["alerts"], f"--set=prometheusRule.runbookUrl={url}/")
    )["spec"]["groups"]
    for rule in group["rules"]:
        assert rule["annotations"].pop("runbook_url") == f"{url}/#alerts"
    assert group["rules"] == rules()  # nothing else is otherwise


# --- panels, asked of two replicas


TWO: Series = {
    "leastwise_build_info": "1x5", "leastwise_requests_in_flight": ("7x5", "3x5"),
    "leastwise_slots": "20x5", "leastwise_queue_length": ("2x5", "1x5"),
    "leastwise_workers_in_rotation": ("5x5", "4x5"),
    'leastwise_workers phase="ready"': ("5x5", "4x5"),
    'leastwise_workers phase="ejected"': ("0x5", "1x5"), "leastwise_arbiter": ("1x5", "0x5"),
    "leastwise_arbiter_term": "7x5", 'leastwise_replica_slots replica="lb-1"': ("7x5", "_x5"),
    'leastwise_replica_slots replica="lb-2"': ("3x5", "_x5"),
    "leastwise_slots_reserved": ("2x5", "_x5"),
    'leastwise_replicas state="following"': ("1x5", "_x5"),
    "leastwise_downstream_connections": ("30x5", "12x5"),
    'leastwise_workerpools state="served"': "3x5",
    'leastwise_ejections_total reason="died"': "0+1x5",
    "leastwise_endpoint_updates_total": "0+2x5",
    "leastwise_without_arbiter_seconds_total": "0+3x5",
    'leastwise_rejected_requests_total status="404"': "0+60x5",
}  # fmt: skip
SHOWN: dict[tuple[str, str], dict[str, float]] = {
    ("In flight", ""): {"{}": 10},
    ("Slots taken", ""): {"{}": 0.5},
    ("Waiting", ""): {"{}": 3},
    ("Workers in rotation", ""): {"{}": 4},
    ("Workers ejected", ""): {"{}": 1},
    ("In flight, waiting, slots", "slots"): {"{}": 20},
    ("Workers by phase", "{{phase}}"): {'{phase="ready"}': 5, '{phase="ejected"}': 1},
    ("Ejections by reason", "{{reason}}"): {'{reason="died"}': 2},
    ("Never reached a pool, by status", "{{status}}"): {'{status="404"}': 2},
    ("WorkerPools", "{{state}}"): {'{state="served"}': 3},
    ("Connections", "of clients"): {"{}": 42},
    ("Watch and configuration", "endpoint updates"): {"{}": 4},
    ("Who decides", "{{pod}}"): {'{pod="lb-1"}': 1, '{pod="lb-2"}': 0},
    ("Term of the arbiter", "{{job}}"): {'{namespace="apps", job="lb-admin"}': 7},
    ("Slots held, by replica", "{{replica}}"): {'{replica="lb-1"}': 7, '{replica="lb-2"}': 3},
    ("Slots reserved", "{{pool}}"): {'{pool="demo"}': 2},
    ("Replicas by state", "{{state}}"): {'{state="following"}': 1},
    ("Time without an arbiter", "{{pod}}"): {'{pod="lb-1"}': 6, '{pod="lb-2"}': 6},
}
"""What panels show of `TWO`, by title and legend. Rates and increases are over two minutes."""


@needs_promtool
def test_panels_of_two_replicas_count_nothing_twice(tmp_path: Path) -> None:
    asked = {
        (panel["title"], target["legendFormat"]): target["expr"]
        for panel in dashboard()["panels"]
        for target in panel.get("targets", ())
    }
    expected = [
        {
            "expr": filled(asked[name], interval="2m"),
            "eval_time": "4m",
            "exp_samples": [{"labels": labels, "value": value} for labels, value in shown.items()],
        }
        for name, shown in SHOWN.items()
    ]
    of_others = [
        each | {"series": each["series"].replace("lb-admin", "other-admin").replace("demo", "more")}
        for each in inputs({"leastwise_slots": "5x5", "leastwise_requests_in_flight": "5x5"})
    ]
    unlike = ("Slots taken", "")
    run(
        tmp_path,
        {"input_series": inputs(TWO), "promql_expr_test": expected},
        {  # a second release, whose replicas do not act as one: each has slots of its own
            "input_series": [*inputs(TWO), *of_others],
            "promql_expr_test": [
                {
                    "expr": filled(asked[unlike], interval="2m"),
                    "eval_time": "4m",
                    "exp_samples": [{"labels": "{}", "value": (10 + 10) / (20 + 10)}],
                }
            ],
        },
    )
