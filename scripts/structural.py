"""Whether a CustomResourceDefinition is one that an API server accepts, as far as that can be told.

`problems` lists what Kubernetes' own validation would refuse. No library does:
`kubernetes-validate` lets `additionalProperties: false` through, and CEL over unbounded lists. The
rules are those of "structural schemas" in the documentation of Kubernetes, and of what CEL may
cost.
"""

import re
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

_TYPES = ["object", "array", "string", "integer", "number", "boolean"]
_KNOWN = {
    "additionalProperties", "allOf", "anyOf", "default", "description", "enum", "example",
    "exclusiveMaximum", "exclusiveMinimum", "externalDocs", "format", "items", "maxItems",
    "maxLength", "maxProperties", "maximum", "minItems", "minLength", "minProperties", "minimum",
    "multipleOf", "not", "nullable", "oneOf", "pattern", "properties", "required", "type",
    "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string", "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type", "x-kubernetes-map-type", "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
}  # fmt: skip
"""Keys of a schema that `kubectl apply` takes; it refuses others as unknown fields."""

_NOT_WITHIN_JUNCTORS = {
    "additionalProperties", "default", "description", "nullable", "type",
    "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations",
}  # fmt: skip
_BOUND = {"string": "maxLength", "array": "maxItems"}
_NOT_RE2 = re.compile(r"\(\?(?:<?[=!]|>|P=)|(?:[*+?}]\+)|\\[1-9]")
"""Look-around, atomic groups, back references, possessive quantifiers."""


def problems(crd: dict[str, Any]) -> list[str]:
    """List what an API server would refuse; each names the place."""
    return list(_problems(crd))


def _problems(crd: dict[str, Any]) -> Iterator[str]:
    spec = crd["spec"]
    if crd["metadata"]["name"] != f"{spec['names']['plural']}.{spec['group']}":
        yield "metadata.name: is not plural.group"
    if sum(version["storage"] for version in spec["versions"]) != 1:
        yield "spec.versions: not exactly one is stored"
    for version in spec["versions"]:
        at = f"spec.versions[{version['name']}]"
        for column in version.get("additionalPrinterColumns", ()):
            if not column["jsonPath"].startswith("."):
                yield f"{at}: the path of column {column['name']} does not begin with a dot"
        root = version["schema"]["openAPIV3Schema"]
        if root.get("type") != "object":
            yield f"{at}: the root is no object"
        if set(root["properties"].get("metadata", {})) - {"type", "description"}:
            yield f"{at}: metadata is restricted by more than name and generateName"
        for name in version.get("subresources", {}):
            if name not in root["properties"]:
                yield f"{at}: subresource {name} is not in the schema: it would be pruned"
        yield from _schema(root, at)


def _schema(schema: Schema, at: str) -> Iterator[str]:
    """Check what stands outside of junctors, and all below it."""
    yield from _keys(schema, at)
    yield from _type(schema, at)
    yield from _bounds(schema, at)
    yield from _lists(schema, at)
    if "default" in schema:
        yield from _default(schema, schema["default"], f"{at}.default")
    if schema.get("x-kubernetes-validations"):
        yield from _rules(schema, at)
    for name, part in schema.get("properties", {}).items():
        yield from _schema(part, f"{at}.{name}")
    for name in schema.get("required", ()):
        if name not in schema.get("properties", {}):
            yield f"{at}: {name} is required, and no property"
    if isinstance(schema.get("items"), dict):
        yield from _schema(schema["items"], f"{at}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _schema(schema["additionalProperties"], f"{at}{{}}")


def _keys(schema: Schema, at: str) -> Iterator[str]:
    for key in sorted(schema.keys() - _KNOWN):
        yield f"{at}: {key} is not allowed"
    if "additionalProperties" in schema and "properties" in schema:
        yield f"{at}: additionalProperties beside properties"
    if schema.get("additionalProperties") is False:
        yield f"{at}: additionalProperties is false"
    if _NOT_RE2.search(schema.get("pattern", "")):
        yield f"{at}: the pattern is none of RE2"
    if "null" in schema.get("enum", ()) or None in schema.get("enum", ()):
        yield f"{at}: null in an enum"


def _type(schema: Schema, at: str) -> Iterator[str]:
    free = schema.get("x-kubernetes-int-or-string") or schema.get(
        "x-kubernetes-preserve-unknown-fields"
    )
    if schema.get("x-kubernetes-int-or-string") and "type" in schema:
        yield f"{at}: a type beside int-or-string"
    if not free and schema.get("type") not in _TYPES:
        yield f"{at}: its type is {schema.get('type')!r}"
    for junctor in ("allOf", "anyOf", "oneOf"):
        for part in schema.get(junctor, ()):
            allowed = {"type"} if schema.get("x-kubernetes-int-or-string") else set()
            for key in sorted(part.keys() & _NOT_WITHIN_JUNCTORS - allowed):
                yield f"{at}: {key} within {junctor}"


def _bounds(schema: Schema, at: str) -> Iterator[str]:
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in schema and not isinstance(schema[exclusive], bool):
            yield f"{at}: {exclusive} is no boolean"
        if schema.get(exclusive) and bound not in schema:
            yield f"{at}: {exclusive} without {bound}"


def _lists(schema: Schema, at: str) -> Iterator[str]:
    if schema.get("type") == "array" and "items" not in schema:
        yield f"{at}: a list without items"
    kind = schema.get("x-kubernetes-list-type")
    items = schema.get("items", {})
    if kind == "set" and items.get("type") in {"object", "array", None}:
        yield f"{at}: a set of what is no scalar"
    if kind == "map":
        for key in schema.get("x-kubernetes-list-map-keys", [""]):
            part = items.get("properties", {}).get(key)
            if part is None:
                yield f"{at}: its key {key!r} is no field of its items"
            elif "default" not in part and key not in items.get("required", ()):
                yield f"{at}: its key {key} is neither required nor has a default"


def _default(schema: Schema, value: object, at: str) -> Iterator[str]:
    """Check what the API server puts in itself."""
    if value is None and not schema.get("nullable"):
        yield f"{at}: null"
        return
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}
    kind = kinds.get(str(schema.get("type")))
    if kind is not None and (
        not isinstance(value, kind) or isinstance(value, bool) != (kind is bool)
    ):
        yield f"{at}: {value!r} is not of type {schema['type']}"
    if isinstance(value, str):
        if "enum" in schema and value not in schema["enum"]:
            yield f"{at}: {value!r} is not in the enum"
        if not re.search(schema.get("pattern", ""), value):
            yield f"{at}: {value!r} does not match the pattern"
    if isinstance(value, dict):
        parts = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value and "default" not in parts[name]:
                yield f"{at}: {name} is required"
        for name in value.keys() - parts.keys():
            yield f"{at}: {name} would be pruned"


def _rules(schema: Schema, at: str) -> Iterator[str]:
    """Check that no rule can cost too much: all that it may touch is bounded."""
    for rule in schema["x-kubernetes-validations"]:
        if not rule.get("message"):
            yield f"{at}: a rule without a message"
        path = rule.get("fieldPath", "")
        if path and path.removeprefix(".") not in schema.get("properties", {}):
            yield f"{at}: a rule blames {path}, which is no field"
    yield from _unbounded(schema, at)


def _unbounded(schema: Schema, at: str) -> Iterator[str]:
    bound = _BOUND.get(str(schema.get("type")))
    if bound is not None and bound not in schema and "enum" not in schema:
        yield f"{at}: no {bound}, and a rule may touch it"
    if "additionalProperties" in schema and "maxProperties" not in schema:
        yield f"{at}: no maxProperties, and a rule may touch it"
    for name, part in schema.get("properties", {}).items():
        yield from _unbounded(part, f"{at}.{name}")
    if "items" in schema:
        yield from _unbounded(schema["items"], f"{at}[]")
