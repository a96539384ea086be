"""The Grafana dashboard's panels, asked of two replicas."""

from pathlib import Path

from tests.unit.chart.monitoring import Series, dashboard, filled, inputs, needs_promtool, run

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
