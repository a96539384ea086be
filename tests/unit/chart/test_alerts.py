"""Alerts: each fires for what it is about, with two replicas, and none without a cause."""

from pathlib import Path

from tests.unit.chart.helm import OPTIONS, Object, find
from tests.unit.chart.monitoring import Series, fires, inputs, needs_promtool, rules, run

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


def silent(at: str, *besides: str) -> list[Object]:
    others = (name for name in FIRES if name not in besides)
    return [{"eval_time": at, "alertname": name, "exp_alerts": []} for name in others]


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
