"""The CustomResourceDefinition of WorkerPool, translated from the pydantic models.

`custom_resource_definition` is what `leastwise crd` prints and applies, and what stands in the
chart's `crds/` (`make generate`; a test holds both to be the same). Called by `app.cli`.

A CRD's schema has to be *structural*, which the schemas of pydantic are not. What differs, and is
done here (an API server refuses each of the former):

- references are inlined, titles left out, `additionalProperties: false` too: the API server prunes
  unknown fields, or refuses them if it is asked to (`kubectl` asks);
- "or null" is left out: a null in the Kubernetes API stands for a field that is left out, and a
  field with a default, or that may be null, is one that is not required;
- exclusive bounds are a number and a boolean;
- a duration has one notation, the text, whose bounds are a rule in CEL; so has a default.

`endpoints` are for files alone: whoever may write a WorkerPool could have the balancer send
requests anywhere. A resource therefore has to name a Service.
"""

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import BaseModel

from app.config import durations
from app.config.durations import format_duration
from app.config.fields import NO_LIMIT
from app.config.poolstatus import PoolStatus
from app.config.workerpool import PoolSpec

GROUP, VERSION, KIND, PLURAL = "leastwise.io", "v1alpha1", "WorkerPool", "workerpools"
NAME = f"{PLURAL}.{GROUP}"

FILE_ONLY = ("endpoints",)
"""Fields of the spec that a resource does not have."""

REQUIRED = ("service",)
"""Fields of the spec that a resource has to have, and a file need not."""

Schema = dict[str, Any]

_COLUMNS: tuple[tuple[str, str, str, int, str], ...] = (
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0,
     "Accepted, resolved, and in force in the balancers"),
    ("Endpoints", "string", ".status.endpoints.summary", 0, "In rotation, of all"),
    ("In-flight", "integer", ".status.inFlight", 0, "Requests that the workers have now"),
    ("Queued", "integer", ".status.queued", 0, "Requests that wait for a slot"),
    ("Ejected", "integer", ".status.ejected", 0, "Workers taken out of rotation"),
    ("Service", "string", ".spec.service.name", 1, "Whose pods the workers are"),
    ("Observed", "date", ".status.observedAt", 1, "When the status was last written"),
    ("Age", "date", ".metadata.creationTimestamp", 0, ""),
)  # fmt: skip

_KEPT = (
    "description", "type", "x-kubernetes-int-or-string", "anyOf", "enum", "format", "pattern",
    "minLength", "maxLength", "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum",
    "minItems", "maxItems", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "default",
    "x-kubernetes-validations", "required", "properties", "items",
)  # fmt: skip
"""The keys of what is made here, in the order in which they are written."""


def custom_resource_definition() -> dict[str, Any]:
    """Make the whole object, as `kubectl apply` takes it."""
    columns = [
        {"name": name, "type": kind, "jsonPath": path}
        | ({"description": what} if what else {})
        | ({"priority": priority} if priority else {})
        for name, kind, path, priority, what in _COLUMNS
    ]
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": columns,
        "schema": {"openAPIV3Schema": _root()},
    }
    names = {
        "kind": KIND,
        "listKind": f"{KIND}List",
        "plural": PLURAL,
        "singular": KIND.lower(),
        "shortNames": ["wp"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }


def as_yaml() -> str:
    """Write the object as a file."""
    head = "# Made by `make generate` from the pool's spec, app/config/workerpool.py.\n"
    return head + yaml.safe_dump(
        custom_resource_definition(), sort_keys=False, width=100, allow_unicode=True
    )


def _root() -> Schema:
    spec = translate(PoolSpec)
    for name in FILE_ONLY:
        del spec["properties"][name]
    spec["required"] = [*spec.get("required", ()), *REQUIRED]
    return {
        "type": "object",
        "description": "A pool of workers that a leastwise balancer sends requests to.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}"},
            "kind": {"type": "string", "description": KIND},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": translate(PoolStatus),
        },
    }


def translate(model: type[BaseModel]) -> Schema:
    """Translate a model's JSON schema into a structural one."""
    schema = model.model_json_schema(by_alias=True)
    return _translate(schema, schema.get("$defs", {}))


def _translate(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    schema = _inlined(schema, definitions)
    result = _duration(schema) if _is_duration(schema) else dict(schema)
    if not result.get("x-kubernetes-int-or-string"):
        result.pop("anyOf", None)
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in schema:
            result |= {bound: schema[exclusive], exclusive: True}
    if "description" in result:
        result["description"] = " ".join(result["description"].split())
    if "items" in schema:
        result["items"] = _translate(schema["items"], definitions)
    if "properties" in schema:
        result["properties"] = {
            name: _translate(part, definitions) for name, part in schema["properties"].items()
        }
        if "default" in schema:
            result["default"] = {}  # those of its fields are applied after it
    return {key: result[key] for key in _KEPT if key in result}


def _inlined(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Put what is referred to, and what may be null, in the place of the reference.

    What stands beside the reference, a description or a default, goes before.
    """
    while True:
        if "$ref" in schema:
            named = definitions[schema["$ref"].rpartition("/")[2]]
            schema = named | {key: value for key, value in schema.items() if key != "$ref"}
            continue
        choices = [c for c in schema.get("anyOf", ()) if c.get("type") != "null"]
        if len(choices) != 1:
            return schema
        beside = {key: value for key, value in schema.items() if key != "anyOf"}
        if beside.get("default", 0) is None:
            del beside["default"]
        schema = choices[0] | beside


def _is_duration(schema: Schema) -> bool:
    return any(choice.get("pattern") == durations.PATTERN for choice in schema.get("anyOf", ()))


def _duration(schema: Schema) -> Schema:
    """Make a text of what may be a number, a text, and a word for no limit."""
    number, text, *others = schema["anyOf"]
    low, high = format_duration(number["minimum"]), format_duration(number["maximum"])
    rule = f"duration(self) >= duration('{low}') && duration(self) <= duration('{high}')"
    message = f"must be from {low} to {high}, such as {durations.NOTATION}"
    pattern = text["pattern"]
    if {"const": NO_LIMIT} in others:
        rule = f"self == '{NO_LIMIT}' || ({rule})"
        message += f", or {NO_LIMIT}"
        pattern = f"^(?:{NO_LIMIT}|{pattern.removeprefix('^').removesuffix('$')})$"
    result = {
        "type": "string",
        "minLength": text["minLength"],
        "maxLength": text["maxLength"],
        "pattern": pattern,
        "x-kubernetes-validations": [{"rule": rule, "message": message}],
    } | {key: value for key, value in schema.items() if key in {"description", "default"}}
    if "default" in result:
        default = result["default"]
        result["default"] = NO_LIMIT if default is None else format_duration(default)
    return result
