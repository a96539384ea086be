"""The tables of docs/workerpool.md: made of the CRD's schema, and of the words below.

`page` puts them between the page's marks. Each field of the spec has an example and what a change
of it does in a running balancer; a field without them is an error.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from app.config.crd import custom_resource_definition

Schema = dict[str, Any]

# ruff: noqa: E501 - a table

WORDS: dict[str, tuple[str, str]] = {
    "balancer": ("`team-a-lb`", "the pool moves to that balancer; what runs or waits in the old one ends there"),
    "service.name": ("`worker`", "the old workers stay until the new Service's are known, and finish what they have"),
    "service.port": ("`http`", "as for the name"),
    "routes[].host": ("`api.example.org`", "for requests that begin from then on"),
    "routes[].pathPrefix": ("`/v1/embed`", "for requests that begin from then on"),
    "maxInFlight": ("`4`", "raised: requests that wait get the new slots at once. Lowered: what runs finishes, nothing new until a worker is below"),
    "queue.size": ("`200`", "those who wait stay, also if they are more"),
    "queue.timeout": ("`30s`", "for requests that begin to wait from then on"),
    "timeouts.connect": ("`500ms`", "for the next connection"),
    "timeouts.firstByte": ("`5m`", "raised: for requests that run, too. Lowered: from the next one on"),
    "timeouts.betweenBytes": ("`30s`", "raised: for requests that run, too. Lowered: from the next one on"),
    "timeouts.request": ("`none`", "for requests that begin from then on"),
    "timeouts.idle": ("`60s`", "for connections that become idle from then on"),
    "retry.nonIdempotent": ("`true`", "for the next failure"),
    "retry.onTimeout": ("`true`", "for the next timeout"),
    "retry.refusedStatuses": ("`[429, 503]`", "for the next response"),
    "retry.replayBytes": ("`1048576`", "for requests that begin from then on"),
    "health.failures": ("`2`", "for the next failure; nobody is ejected by the change itself"),
    "health.recheck": ("`200ms`", "after the pause that is under way"),
    "health.recheckMax": ("`5s`", "after the pause that is under way"),
    "health.probe.path": ("`/health`", "the probes begin anew"),
    "health.probe.interval": ("`2s`", "the probes begin anew"),
    "health.probe.timeout": ("`1s`", "the probes begin anew"),
    "health.probe.failures": ("`2`", "for the next failed probe"),
    "onClientGone": ("`finish`", "for the next client that leaves"),
}  # fmt: skip
"""For each field, an example, and how a change of it takes effect in a running balancer."""

_DURATION = re.compile(r"duration\('(\w+)'\) && duration\(self\) <= duration\('(\w+)'\)")


def page(text: str) -> str:
    """Return the page with its tables made anew."""
    root = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    spec, status = root["properties"]["spec"], root["properties"]["status"]
    text = _between(text, "spec", _spec_table(spec))
    return _between(text, "status", _status_table(status))


def fields(schema: Schema, prefix: str = "") -> Iterator[tuple[str, Schema, bool]]:
    """Yield the path of each field that holds a value, its schema, and whether it is required."""
    for name, part in schema["properties"].items():
        path = f"{prefix}{name}"
        needed = name in schema.get("required", ())
        if "properties" in part:
            yield from fields(part, f"{path}.")
        elif "properties" in part.get("items", {}):
            yield from fields(part["items"], f"{path}[].")
        else:
            yield path, part, needed


def _between(text: str, name: str, table: str) -> str:
    begin, end = f"<!-- made by `make generate`: {name} -->\n", f"<!-- end of {name} -->\n"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"docs/workerpool.md: the marks around {name} are missing")
    return f"{before}{begin}\n{table}\n{end}{after}"


def _spec_table(spec: Schema) -> str:
    rows = [
        "| field | values | default | example | what it is, and what a change does at once |",
        "|---|---|---|---|---|",
    ]
    for path, part, needed in fields(spec):
        example, effect = WORDS[path]
        default = "required" if needed else _default(part)
        what = part["description"].rstrip(".")
        cells = [f"`{path}`", _values(part), default, example, f"{what}. *Changed:* {effect}"]
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def _status_table(status: Schema) -> str:
    rows = ["| field | what it says |", "|---|---|"]
    rows += [
        f"| `{path}` | {part['description'].rstrip('.')} |" for path, part, _ in fields(status)
    ]
    return "\n".join(rows) + "\n"


def _default(part: Schema) -> str:
    if "default" not in part:
        return "none"
    default = part["default"]
    return f"`{default if isinstance(default, str) and default else json.dumps(default)}`"


def _values(part: Schema) -> str:
    for rule in part.get("x-kubernetes-validations", ()):
        if found := _DURATION.search(rule["rule"]):
            words = f"{found[1]} to {found[2]}"
            return words + (", or none" if "'none'" in rule["rule"] else "")
    if "enum" in part:
        return " or ".join(part["enum"])
    if part.get("x-kubernetes-int-or-string"):
        return f"a port's name, or {part['minimum']} to {part['maximum']}"
    if part["type"] == "array":
        return f"up to {part['maxItems']}, each {_values(part['items'])}"
    if part["type"] == "integer":
        return f"{part['minimum']} to {part['maximum']}"
    if part["type"] == "boolean":
        return "true or false"
    return f"a text of up to {part['maxLength']}"
