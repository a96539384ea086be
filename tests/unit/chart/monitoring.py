"""What the chart has for Prometheus and Grafana, and promtool to play it."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.chart.helm import OPTIONS, Object, find

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="needs promtool: `apt-get install prometheus`"
)


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


# --- promtool


def promtool(*arguments: str | Path) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def write(path: Path, content: Any) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


def group(found: list[Object]) -> Object:
    return {"name": "leastwise", "rules": found}


Series = dict[str, str | tuple[str, str]]
"""Values by metric and further labels, as promtool writes them: of each pod, or of one each."""

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


def run(tmp_path: Path, *tests: Object) -> None:
    """Let promtool play the tests, with the alerts; each has a step of a minute."""
    write(tmp_path / "rules.yaml", {"groups": [group(rules())]})
    content = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m"} | test for test in tests],
    }
    promtool("test", "rules", write(tmp_path / "tests.yaml", content))
