"""values.schema.json: what it refuses, and that it says the same as values.yaml and the models."""

import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from app.config.durations import parse_duration
from app.config.settings import Settings
from app.config.workerpool import PoolSpec
from tests.unit.chart.helm import CHART, HelmError, Object, helm, values

SCHEMA: Object = json.loads((CHART / "values.schema.json").read_text())

NOT_IN_VALUES = {"global", "pool.health.probe.path", "pool.health.probe.interval"} | {
    "pool.health.probe.timeout",
    "pool.health.probe.failures",
}


def resolve(schema: Object) -> Object:
    """The schema with what its reference says."""
    reference = schema.get("$ref")
    return schema | SCHEMA["$defs"][reference.rsplit("/")[-1]] if reference else schema


def walk(schema: Object, prefix: str = "") -> Iterator[tuple[str, Object]]:
    """All values that the schema knows, by their path."""
    for name, part in schema.get("properties", {}).items():
        yield prefix + name, resolve(part)
        yield from walk(part, f"{prefix}{name}.")


KNOWN = dict(walk(SCHEMA))


def at(content: Any, path: str) -> Any:
    """The value at a path; KeyError if it is not there."""
    for name in path.split("."):
        content = content[name]
    return content


REFUSED = {
    "--set=foo=1": "at '': additional properties 'foo' not allowed",
    "--set=nameOverride=my.lb": "at '/nameOverride': 'my.lb' does not match pattern",
    "--set=fullnameOverride=1lb": "at '/fullnameOverride': '1lb' does not match pattern",
    "--set=fullnameOverride=lb-": "at '/fullnameOverride': 'lb-' does not match pattern",
    "--set=replicas=-1": "at '/replicas': minimum: got -1, want 0",
    "--set=replicas=1.5": "at '/replicas': got string, want null or integer",
    "--set=replicaCount=2": "additional properties 'replicaCount' not allowed",
    "--set=image.tag=1": "at '/image/tag': got number, want string",
    "--set=image.repository=": "at '/image/repository': minLength: got 0, want 1",
    "--set=image.pullPolicy=Sometimes": "at '/image/pullPolicy': value must be one of 'Always'",
    "--set=service.type=ExternalName": "at '/service/type': value must be one of 'ClusterIP'",
    "--set=service.port=0": "at '/service/port': minimum: got 0, want 1",
    "--set=service.nodePort=70000": "at '/service/nodePort': maximum: got 70,000, want 65,535",
    "--set=service=null": "missing property 'service'",
    "--set=listenHost=example.org": "at '/listenHost': value must be one of '0.0.0.0', '::'",
    "--set=drain.delay=10x": "at '/drain/delay': '10x' does not match pattern",
    "--set=drain.delay=-1": "at '/drain/delay': minimum: got -1, want 0",
    "--set=drain.delay=100000": "at '/drain/delay': maximum: got 100,000, want 86,400",
    "--set=drain.timeout=true": "at '/drain/timeout': got boolean, want null or number or string",
    "--set=drain.grace=5": "at '/drain': additional properties 'grace' not allowed",
    "--set=settings.logLevel=loud": "at '/settings/logLevel': value must be one of 'debug'",
    "--set=settings.maxHeaderBytes=1": "at '/settings/maxHeaderBytes': minimum: got 1, want 1,024",
    "--set=settings.clientIdleTimeout=0": "at '/settings/clientIdleTimeout': minimum: got 0",
    "--set=settings.trustedNetworks=10.0.0.0/8": "at '/settings/trustedNetworks': got string",
    "--set=settings.port=80": "at '/settings': additional properties 'port' not allowed",
    "--set=admin.token=secret": "at '/admin': additional properties 'token' not allowed",
    "--set=admin.tokenSecret.name=A": "at '/admin/tokenSecret/name': 'A' does not match pattern",
    "--set=admin.tokenSecret.key=": "at '/admin/tokenSecret/key': '' does not match pattern",
    "--set=podLabels.a=1": "at '/podLabels/a': got number, want string",
    "--set=podDisruptionBudget.maxUnavailable=half": "'half' does not match pattern",
    "--set=pool.endpoints={a:1}": "at '/pool': additional properties 'endpoints' not allowed",
    "--set=pool.serviceName=-x": "at '/pool/serviceName': '-x' does not match pattern",
    "--set-string=pool.servicePort=80": "at '/pool/servicePort': '80' does not match pattern",
    "--set=pool.servicePort=0": "at '/pool/servicePort': minimum: got 0, want 1",
    "--set=pool.servicePort=much-too-long-a-name": "at '/pool/servicePort': maxLength: got 20",
    "--set=pool.maxInFlight=0": "at '/pool/maxInFlight': minimum: got 0, want 1",
    "--set=pool.queue.size=-1": "at '/pool/queue/size': minimum: got -1, want 0",
    "--set=pool.queue.timeout=0": "at '/pool/queue/timeout': minimum: got 0, want 0.001",
    "--set=pool.queue.timeout=null": "at '/pool/queue': missing property 'timeout'",
    "--set=pool.timeouts=null": "at '/pool': missing property 'timeouts'",
    "--set=pool.timeouts.idle=5 s": "at '/pool/timeouts/idle': '5 s' does not match pattern",
    "--set-string=pool.timeouts.idle=5": "minLength: got 1, want 2",
    "--set=pool.retry.nonIdempotent=yes": "at '/pool/retry/nonIdempotent': got string, want null",
    "--set=pool.retry.refusedStatuses={200}": "at '/pool/retry/refusedStatuses/0': minimum",
    "--set=pool.retry.refusedStatuses={503,503}": "items at 0 and 1 are equal",
    "--set=pool.retry.replayBytes=100000000": "at '/pool/retry/replayBytes': maximum",
    "--set=pool.health.probe.interval=1s": "at '/pool/health/probe': missing property 'path'",
    "--set=pool.health.probe.path=readyz": "at '/pool/health/probe/path': 'readyz' does not match",
    "--set=pool.health.failures=0": "at '/pool/health/failures': minimum: got 0, want 1",
    "--set=pool.onClientGone=ignore": "at '/pool/onClientGone': value must be one of 'cancel'",
    "--set=worker.name=Worker": "at '/worker/name': 'Worker' does not match pattern",
    "--set=worker.name=": "at '/worker/name': '' does not match pattern",
    "--set=worker.maxInFlight=0": "at '/worker/maxInFlight': minimum: got 0, want 1",
    "--set=worker.taskSeconds=15s": "at '/worker/taskSeconds': '15s' does not match pattern",
    "--set=worker.drainSeconds=0.5": "at '/worker/drainSeconds': got string, want integer",
    "--set=networkPolicy.adminFrom.podSelector=x": "at '/networkPolicy/adminFrom': got object",
    "--set=test.path=x": "at '/test/path': 'x' does not match pattern",
}


@pytest.mark.parametrize(("option", "said"), REFUSED.items(), ids=REFUSED)
def test_what_is_refused(option: str, said: str) -> None:
    with pytest.raises(HelmError, match=re.escape(said)):
        helm("template", "lb", str(CHART), option)


def test_lint_says_it_too() -> None:
    with pytest.raises(HelmError, match="additional properties 'foo' not allowed"):
        helm("lint", "--strict", str(CHART), "--set=foo=1")


def test_what_only_the_templates_can_see() -> None:
    with pytest.raises(HelmError, match=r"pool\.serviceName is empty: name the headless Service"):
        helm("template", "lb", str(CHART), "--set=worker.enabled=false")
    with pytest.raises(HelmError, match=r"request is null \(no limit\): give drain\.timeout"):
        helm("template", "lb", str(CHART), "--set=pool.timeouts.request=null")


@pytest.mark.parametrize("release", ["a.b", "1lb"])
def test_a_release_whose_name_no_service_could_have(release: str) -> None:
    """Helm admits it; of what is made in its name, Kubernetes would refuse the Services."""
    with pytest.raises(HelmError, match=r"(a\.b-lb|1lb) would be the Services' name"):
        helm("template", release, str(CHART))
    helm("template", release, str(CHART), "--set=fullnameOverride=front")


def test_a_subchart_may_get_globals() -> None:
    helm("template", "lb", str(CHART), "--set=global.region=here")


@pytest.mark.parametrize("path", KNOWN)
def test_every_value_is_described(path: str) -> None:
    schema = KNOWN[path]
    assert len(schema["description"]) > 8
    assert schema["description"].endswith(".")
    if "properties" in schema:
        assert schema["additionalProperties"] is False


@pytest.mark.parametrize("path", sorted(KNOWN.keys() - NOT_IN_VALUES))
def test_every_value_has_its_default_in_values(path: str) -> None:
    at(values(), path)


def test_every_default_is_known_and_commented() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()

    def leaves(content: Object, prefix: str = "") -> Iterator[str]:
        for name, value in content.items():
            if isinstance(value, dict) and "properties" in KNOWN[prefix + name]:
                yield from leaves(value, f"{prefix}{name}.")
            else:
                yield prefix + name

    for path in leaves(values()):
        assert path in KNOWN
    assert sum(line.lstrip().startswith("#") for line in lines) > 60


def test_durations_are_those_of_the_models() -> None:
    for name, schema in SCHEMA["$defs"].items():
        if "pattern" in schema:
            pattern = re.compile(schema["pattern"])
            for text in ("500ms", "15s", "1m30s", "2h", "1.5s", "1h2m3s4ms"):
                assert pattern.search(text)
                assert parse_duration(text)
            for text in ("15 s", "s", "-1s", "1s1m", "1d"):
                assert not pattern.search(text)
            assert bool(pattern.search("5")) is (name in {"delay", "timeout"})


def spec_fields(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, Any]]:
    """The fields of the spec by the paths of the values, apart from where the workers are."""
    for field in model.model_fields.values():
        path = f"{prefix}.{field.alias}"
        kinds = [field.annotation, *get_args(field.annotation)]
        parts = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if path in {"pool.service", "pool.endpoints", "pool.balancer"}:
            continue
        if parts and path != "pool.routes":
            yield from spec_fields(parts[0], path)
        else:
            yield path, field


FIELDS = dict(spec_fields(PoolSpec, "pool"))

DECIDED_BY_THE_CHART = {"pool.retry.nonIdempotent", "pool.retry.refusedStatuses"}


def test_the_pool_has_the_fields_of_the_spec() -> None:
    leaves = {p for p, s in KNOWN.items() if p.startswith("pool.") and "properties" not in s}
    assert leaves - {"pool.serviceName", "pool.servicePort"} == FIELDS.keys()


@pytest.mark.parametrize("path", sorted(FIELDS.keys() - DECIDED_BY_THE_CHART - NOT_IN_VALUES))
def test_the_pools_defaults_are_those_of_the_spec(path: str) -> None:
    default, value = FIELDS[path].default, at(values(), path)
    if isinstance(default, float):
        value = parse_duration(value)
    assert (tuple(value) if isinstance(value, list) else value) == getattr(
        default, "value", default
    )


def test_the_pools_bounds_are_those_of_the_spec() -> None:
    """The keywords of the spec's own JSON schema stand in the chart's."""
    generated = PoolSpec.model_json_schema()

    def keywords(schema: Object) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for part in (schema, *schema.get("anyOf", ())):
            for name in ("minimum", "maximum", "maxItems", "pattern", "maxLength", "enum"):
                if name in part:
                    found[name] = part[name]
            if "$ref" in part:
                found |= keywords(generated["$defs"][part["$ref"].rsplit("/")[-1]])
        return found

    def check(model: Object, prefix: str) -> None:
        for name, part in model["properties"].items():
            path = f"{prefix}.{name}"
            if path in {"pool.service", "pool.endpoints", "pool.balancer"}:
                continue
            refs = [p["$ref"] for p in (part, *part.get("anyOf", ())) if "$ref" in p]
            inner = generated["$defs"][refs[0].rsplit("/")[-1]] if refs else {}
            if "properties" in inner:
                check(inner, path)
            else:
                wanted = keywords(part)
                if "pattern" in wanted and "maximum" in wanted:
                    del wanted[
                        "pattern"
                    ]  # a duration's: RE2 wants other words, and is tested above
                has = KNOWN[path]
                assert {key: has.get(key) for key in wanted} == wanted, path

    check(generated, "pool")


BY_THE_CHART = {"config", "balancer", "listen", "admin_listen", "drain_delay", "drain_timeout"} | {
    "peers",
    "peer_listen",
    "peer_secret_file",
    "pod_name",
    "pod_uid",
    "pod_ip",
}
"""Settings that the chart gives itself."""

BY_SECRET = {"admin_token", "admin_token_file"}
"""Settings that are no values: a secret would stand in the release. See `admin.tokenSecret`."""

BY_THE_POD = {"namespace", "kubeconfig"}
"""Settings that a pod of the chart needs none of: its service account has both."""


def test_settings_are_those_of_the_process() -> None:
    names = {
        re.sub("[A-Z]", lambda match: "_" + match[0].lower(), path.removeprefix("settings."))
        for path in KNOWN
        if path.startswith("settings.")
    }
    assert sorted([*names, *BY_THE_CHART, *BY_SECRET, *BY_THE_POD]) == sorted(Settings.model_fields)
