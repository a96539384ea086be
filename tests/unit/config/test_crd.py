"""The CRD: what is generated is shipped, structural, and judges as the models do."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from app.config.crd import FILE_ONLY, as_yaml, custom_resource_definition
from app.config.errors import ConfigError
from app.config.resource import parse_resource
from app.config.workerpool import PoolSpec
from scripts.structural import problems
from tests.e2e.sim.custom import CustomResource

ROOT = Path(__file__).parents[3]
CRD = custom_resource_definition()
RESOURCE = CustomResource(CRD)
SPEC = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]


def resource(spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "leastwise.io/v1alpha1",
        "kind": "WorkerPool",
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 1},
        "spec": spec,
    }


def test_what_the_chart_ships_is_what_is_made() -> None:
    shipped = ROOT / "charts" / "lb" / "crds" / "workerpools.yaml"
    assert shipped.read_text() == as_yaml(), "make generate"
    assert yaml.safe_load(shipped.read_text()) == CRD


def test_it_is_structural() -> None:
    assert problems(CRD) == []


def edited(path: str, **changes: Any) -> dict[str, Any]:
    """The CRD with the schema at `path` changed; None takes a key away."""
    crd = copy.deepcopy(CRD)
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for step in filter(None, path.split(".")):
        schema = schema[step] if step == "items" else schema["properties"][step]
    schema.update(changes)
    for key in [key for key, value in changes.items() if value is None]:
        del schema[key]
    return crd


def around(**changes: Any) -> dict[str, Any]:
    """The CRD with its own spec changed."""
    return {**CRD, "spec": {**CRD["spec"], **changes}}


def version(column: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """The CRD's version, changed."""
    one = CRD["spec"]["versions"][0] | changes
    if column is not None:
        columns = one["additionalPrinterColumns"]
        one["additionalPrinterColumns"] = [{**columns[0], **column}, *columns[1:]]
    return dict(one)


def ruled(**changes: Any) -> dict[str, Any]:
    """The CRD with a changed rule of spec.health."""
    (rule,) = SPEC["properties"]["health"]["x-kubernetes-validations"]
    return edited("spec.health", **{"x-kubernetes-validations": [{**rule, **changes}]})


NAMES = CRD["spec"]["names"]
RULED = copy.deepcopy(SPEC["properties"]["routes"]["items"])
RULED["x-kubernetes-validations"] = [{"rule": "self.host != 'x'", "message": "not x"}]

OF_BOTH = {"rule": "duration(self.recheckMax) >= duration(self.recheck)", "message": "of both"}
"""A rule that takes fields for granted, which a default of {} has not got."""


@pytest.mark.parametrize(
    ("crd", "said"),
    [
        (edited("spec", **{"$ref": "#/x"}), "$ref is not allowed"),
        (edited("spec", title="Spec"), "title is not allowed"),
        (edited("spec", additionalProperties=False), "additionalProperties beside properties"),
        (edited("spec.queue.size", exclusiveMinimum=0), "exclusiveMinimum is no boolean"),
        (edited("spec.queue.size", type=["integer", "null"]), "its type is ['integer', 'null']"),
        (edited("spec.queue.size", type=None), "its type is None"),
        (edited("spec.queue.size", default=None), ""),
        (edited("spec.queue.size", default="5"), "str: must be of type integer"),
        (edited("spec.queue.timeout", maxLength=None), "no maxLength, and a rule may touch it"),
        (edited("spec.queue.timeout", default="soon"), "'soon': should match"),
        (edited("spec.queue.timeout", default="48h"), "must be from 1ms to 24h"),
        (edited("spec.queue", default={"length": 5}), "length would be pruned"),
        (edited("spec.queue", default={"size": None}), "a null would be pruned"),
        (edited("spec.queue", default={"timeout": "48h"}), "must be from 1ms to 24h"),
        (edited("spec.queue", required=["size"]), "size: Required value"),
        (edited("spec.health", **{"x-kubernetes-validations": [OF_BOTH]}),
         "health.default: Invalid value: no such key: recheckMax evaluating rule: of both"),
        (edited("spec.health", default={"recheck": "5s", "recheckMax": "1s"}),
         "must be at least recheck"),
        (edited("spec.health.probe.path", maxLength=None), "no maxLength, and a rule may touch"),
        (edited("spec.health.probe.path", pattern="^(?=/)"), "the pattern is none of RE2"),
        (edited("spec.routes", items=None), "a list without items"),
        (edited("spec.routes.items.host", default=None), "its key host is neither required nor"),
        (edited("spec.service.port", type="string"), "a type beside int-or-string"),
        (edited("spec.maxInFlight", anyOf=[{"type": "null"}]), "type within anyOf"),
        (edited("spec", required=["pods"]), "pods is required, and no property"),
        (edited("metadata", required=["labels"]), "metadata is restricted"),
        (edited("metadata", description="The name."), "metadata is restricted"),
        (edited("metadata", type="string"), "metadata is no object"),
        (edited("kind", default="WorkerPool"), "kind is no text, or has a default"),
        (edited("", nullable=True), "nullable at the root"),
        (edited("", type="array"), "the root is no object"),
        (edited("spec.queue", type="array", items={"type": "integer"}, default=None,
                **{"x-kubernetes-list-type": "bag"}), "of list type 'bag'"),
        (edited("spec.queue", **{"x-kubernetes-list-type": "set"}), "'set', and a object"),
        (edited("spec.routes", **{"x-kubernetes-list-map-keys": None}), "with the keys []"),
        (edited("spec.routes", **{"x-kubernetes-list-map-keys": ["host", "host"]}), "'host', 'ho"),
        (edited("spec.routes", **{"x-kubernetes-list-map-keys": ["port"]}), "key 'port' is no f"),
        (edited("spec.routes.items", nullable=True), "its items may be null"),
        (edited("spec.routes.items", type="string"), "a map of what is no object"),
        (edited("spec.routes.items.host", nullable=True), "host is no scalar, or may be null"),
        (edited("spec.retry.refusedStatuses.items", type="object"), "a set of what is no scalar"),
        (edited("spec.routes", maxItems=None), ""),
        (edited("spec.routes", maxItems=None, items=RULED), "no bound on how often it is checked"),
        (edited("spec.service.port", anyOf=[{"type": "string"}, {"type": "integer"}]),
         "type within anyOf"),
        (edited("status.observedAt", format="moment"), "nothing checks format 'moment'"),
        (ruled(rule=" "), "an empty rule"),
        (ruled(message=""), "a rule without a message"),
        (ruled(message="a\nb"), "one of several lines"),
        (ruled(reason="Invalid"), "a rule with reason 'Invalid'"),
        (ruled(messageExpression="'a'"), "a rule with what is not checked here"),
        (ruled(fieldPath=".recheckMin"), "a rule blames .recheckMin, which is no field"),
        (ruled(rule="self.recheckMin == ''"), "a rule asks for recheckMin, which is no field"),
        (around(preserveUnknownFields=True), "preserveUnknownFields: is true"),
        (around(group="leastwise"), "spec.group: has no dot"),
        (around(scope="Global"), "spec.scope: 'Global'"),
        (around(names={**NAMES, "plural": "Pools"}), "spec.names.plural: 'Pools' is no DNS label"),
        (around(names={**NAMES, "shortNames": ["1"]}), "spec.names: '1' is no DNS label"),
        (around(names={**NAMES, "listKind": "WorkerPool"}), "kind and listKind are the same"),
        (around(versions=[version(name="1")]), "its name is no DNS label"),
        (around(versions=[version(storage=False)]), "not exactly one is stored"),
        (around(versions=[version(column={"type": "text"})]), "is of type 'text'"),
        (around(versions=[version(column={"jsonPath": "a"})]), "does not begin with a dot"),
    ],
)  # fmt: skip
def test_what_an_api_server_would_refuse_is_found(crd: dict[str, Any], said: str) -> None:
    found = problems(crd)
    assert any(said in problem for problem in found) if said else found == []


def test_a_crd_whose_default_breaks_a_rule_is_not_stored() -> None:
    """What an API server checks the default {} against, before it fills in what is within it."""
    with pytest.raises(ValueError, match=r"health\.default: .*no such key: recheckMax"):
        CustomResource(edited("spec.health", **{"x-kubernetes-validations": [OF_BOTH]}))


def test_a_status_that_is_not_in_the_schema_is_found() -> None:
    crd = copy.deepcopy(CRD)
    del crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    assert any("it would be pruned" in problem for problem in problems(crd))


def test_what_is_not_given_becomes_what_the_models_have() -> None:
    spec = {"service": {"name": "w", "port": "http"}, "health": {"probe": {"path": "/"}}}
    stored, wrong = RESOURCE.admit(resource(spec))
    assert wrong == []
    assert stored["spec"]["queue"] == {"size": 1000, "timeout": "1m"}
    assert parse_resource(stored) == parse_resource(resource(spec))


def test_null_is_a_field_left_out_and_none_is_no_limit() -> None:
    spec = {
        "service": {"name": "w", "port": 80},
        "timeouts": {"firstByte": None, "request": "none"},
    }
    stored, wrong = RESOURCE.admit(resource(spec))
    assert wrong == []
    policy = parse_resource(stored).policy()
    assert (policy.timeouts.first_byte, policy.timeouts.request) == (120.0, None)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"endpoints": ["a:1"], "service": {"name": "w", "port": 1}},
         "WorkerPool n/p: spec.endpoints: found a list, allowed: nothing: this is for files alone"),
        ({}, "WorkerPool n/p: spec.service: found nothing, allowed: the Service whose pods are"),
        ({"service": {"name": "w", "port": 1}, "queue": {"size": -1}},
         "WorkerPool n/p: spec.queue.size: found -1, allowed: a whole number from 0 to 1000000"),
        (None, "WorkerPool n/p: spec: found null, allowed: a mapping with the keys"),
    ],
)  # fmt: skip
def test_a_resource_that_cannot_be_accepted_says_why(spec: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_resource(resource(spec))
    assert str(caught.value).startswith(said)


EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
INVALID = sorted((ROOT / "examples" / "invalid").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_is_accepted(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        stored, wrong = RESOURCE.admit(document, strict=True)
        assert wrong == []
        parse_resource(stored)


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_each_wrong_example_is_refused_with_the_fields_name(path: Path) -> None:
    text = path.read_text()
    field = text.partition("\n")[0].removeprefix("# Refused: ")
    _, wrong = RESOURCE.admit(yaml.safe_load(text), strict=True)
    assert len(wrong) >= 1
    assert any(field in problem for problem in wrong), wrong


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5
    assert len(INVALID) >= 10


# --- schema, CEL and models judge alike

WORDS = [
    "1ms",
    "0ms",
    "10ms",
    "500ms",
    "5",
    "1m30s",
    "2h",
    "24h",
    "48h",
    "none",
    "",
    "1.5s",
    "soon",
]
PORTS = [1, 0, 65535, 65536, "http", "a-1", "1-a", "-a", "a--b", "80", "x" * 16]
HOSTS = ["", "a", "a.example.org", "A", "a:80", "-a", "a-"]
PREFIXES = ["/", "/a", "/a/", "a", "/a/b", "/a?b", "/a#b", "/a b", "/a%20b", ""]
NUMBERS = [-1, 0, 1, 4, 100, 101, 1_000_000, 1_000_001, "4", True]


def maybe(choices: list[Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from(choices)


def part(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


SPECS = st.fixed_dictionaries(
    {"service": st.fixed_dictionaries({"name": maybe(["w", "W", "1w"]), "port": maybe(PORTS)})},
    optional={
        "maxInFlight": maybe(NUMBERS),
        "balancer": maybe(["lb", "", "LB", "a.b"]),
        "queue": part(size=maybe(NUMBERS), timeout=maybe(WORDS)),
        "timeouts": part(connect=maybe(WORDS), firstByte=maybe(WORDS), request=maybe(WORDS)),
        "retry": part(
            nonIdempotent=maybe([True, False, "yes"]),
            refusedStatuses=st.lists(maybe([503, 429, 200, "503"]), max_size=3),
        ),
        "health": part(
            failures=maybe(NUMBERS),
            recheck=maybe(WORDS),
            recheckMax=maybe(WORDS),
            probe=st.fixed_dictionaries(
                {"path": maybe(["/", "ready"])},
                optional={"interval": maybe(WORDS), "timeout": maybe(WORDS)},
            ),
        ),
        "routes": st.lists(part(host=maybe(HOSTS), pathPrefix=maybe(PREFIXES)), max_size=3),
        "onClientGone": maybe(["cancel", "finish", "stop"]),
    },
)


@settings(max_examples=400, deadline=None)
@given(SPECS)
def test_the_api_server_accepts_what_the_models_accept_and_no_more(spec: dict[str, Any]) -> None:
    obj = resource(spec)
    _, wrong = RESOURCE.admit(obj)
    refused = ""
    try:
        parse_resource(obj)
    except ConfigError as error:
        refused = str(error)
    assert bool(wrong) == bool(refused), f"{wrong or refused}"


def test_a_file_has_what_a_resource_has_and_more() -> None:
    fields = {field.alias for field in PoolSpec.model_fields.values()}
    assert fields == SPEC["properties"].keys() | set(FILE_ONLY)
