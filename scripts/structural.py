"""Whether a CustomResourceDefinition is one that an API server accepts, as far as that can be told.

`problems` lists what Kubernetes' own validation would refuse. No library does:
`kubernetes-validate` lets `additionalProperties: false` through, CEL over unbounded lists, and
defaults that no object could have. The rules are those of apiextensions-apiserver, as of Kubernetes
1.33: `validateCustomResourceDefinition`, `ValidateStructural` and `ValidateDefaults`. CEL's rules
are evaluated, not compiled: of their types, it is only seen that the fields exist. What a rule may
cost is not reckoned either; all that it may touch has to be bounded.
"""

import copy
import re
from collections.abc import Iterator
from typing import Any

from scripts.validation import Schema, invalid, prune

_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
"""The one junctor that may name types, and in this order."""

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
_AT_THE_ROOT = {
    "description", "type", "required", "properties", "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
}  # fmt: skip
"""What may stand there beside a status that is a subresource, as far as it says something."""

_FORMATS = {
    "bsonobjectid", "byte", "cidr", "creditcard", "date", "date-time", "datetime", "duration",
    "email", "hexcolor", "hostname", "int32", "int64", "ipv4", "ipv6", "isbn", "isbn10", "isbn13",
    "mac", "password", "rgbcolor", "ssn", "uri", "uuid", "uuid3", "uuid4", "uuid5", "float",
    "double",
}  # fmt: skip
"""Those that are checked; others are let through, whatever the value."""

_COLUMN_TYPES = {"integer", "number", "string", "boolean", "date"}
_REASONS = {None, "FieldValueRequired", "FieldValueForbidden", "FieldValueInvalid",
            "FieldValueDuplicate"}  # fmt: skip
_DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_OF_SELF = re.compile(r"\bself\.(\w+)")
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
    if spec.get("preserveUnknownFields"):
        yield "spec.preserveUnknownFields: is true, so there can be no defaults"
    if "." not in spec["group"]:
        yield "spec.group: has no dot"
    if spec["scope"] not in {"Namespaced", "Cluster"}:
        yield f"spec.scope: {spec['scope']!r}"
    yield from _names(spec["names"])
    if sum(version["storage"] for version in spec["versions"]) != 1:
        yield "spec.versions: not exactly one is stored"
    for version in spec["versions"]:
        at = f"spec.versions[{version['name']}]"
        if not _DNS_LABEL.fullmatch(version["name"]):
            yield f"{at}: its name is no DNS label"
        for column in version.get("additionalPrinterColumns", ()):
            yield from _column(column, at)
        root = version["schema"]["openAPIV3Schema"]
        for name in version.get("subresources", {}):
            if name not in root["properties"]:
                yield f"{at}: subresource {name} is not in the schema: it would be pruned"
        wrong = [*_root(root, at), *_schema(root, at)]
        # An API server looks at defaults only if the schema is structural.
        yield from wrong or _defaults(root, at)


def _names(names: dict[str, Any]) -> Iterator[str]:
    for key in ("plural", "singular", "kind", "listKind"):
        name = names.get(key, "")
        if not _DNS_LABEL.fullmatch(name if key in {"plural", "singular"} else name.lower()):
            yield f"spec.names.{key}: {name!r} is no DNS label"
    for name in (*names.get("shortNames", ()), *names.get("categories", ())):
        if not _DNS_LABEL.fullmatch(name):
            yield f"spec.names: {name!r} is no DNS label"
    if names.get("kind") == names.get("listKind"):
        yield "spec.names: kind and listKind are the same"


def _column(column: dict[str, Any], at: str) -> Iterator[str]:
    if not column["jsonPath"].startswith("."):
        yield f"{at}: the path of column {column['name']} does not begin with a dot"
    if column["type"] not in _COLUMN_TYPES:
        yield f"{at}: column {column['name']} is of type {column['type']!r}"


def _root(root: Schema, at: str) -> Iterator[str]:
    """Check what is special about the outermost schema."""
    if root.get("type") != "object":
        yield f"{at}: the root is no object"
    for key in sorted(root.keys() - _AT_THE_ROOT):
        yield f"{at}: {key} at the root"
    metadata = root["properties"].get("metadata", {"type": "object"})
    if metadata.get("type") != "object":
        yield f"{at}: metadata is no object"
    named = metadata.get("properties", {}).keys() <= {"name", "generateName"}
    if metadata.keys() - {"type", "properties"} or not named:  # not even a description
        yield f"{at}: metadata is restricted by more than name and generateName"
    for name in ("apiVersion", "kind"):
        part = root["properties"].get(name, {"type": "string"})
        if part.get("type") != "string" or "default" in part:
            yield f"{at}: {name} is no text, or has a default"


def _schema(schema: Schema, at: str) -> Iterator[str]:
    """Check what stands outside of junctors, and all below it."""
    yield from _keys(schema, at)
    yield from _type(schema, at)
    yield from _bounds(schema, at)
    yield from _lists(schema, at)
    if schema.get("x-kubernetes-validations"):
        yield from _rules(schema, at)
    for name, part in schema.get("properties", {}).items():
        yield from _schema(part, f"{at}.{name}")
    for name in schema.get("required", ()):
        if name not in schema.get("properties", {}):
            yield f"{at}: {name} is required, and no property"
    for inner in _repeated(schema):
        yield from _schema(inner, f"{at}[]")
        if _has_rules(inner) and "maxItems" not in schema and "maxProperties" not in schema:
            yield f"{at}: a rule within, and no bound on how often it is checked"


def _repeated(schema: Schema) -> Iterator[Schema]:
    """Give the schema of a list's items, or of a map's values."""
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield schema[key]


def _has_rules(schema: Schema) -> bool:
    parts = (*schema.get("properties", {}).values(), *_repeated(schema))
    return bool(schema.get("x-kubernetes-validations")) or any(map(_has_rules, parts))


def _keys(schema: Schema, at: str) -> Iterator[str]:
    for key in sorted(schema.keys() - _KNOWN):
        yield f"{at}: {key} is not allowed"
    if "additionalProperties" in schema and "properties" in schema:
        yield f"{at}: additionalProperties beside properties"
    if schema.get("additionalProperties") is False:
        yield f"{at}: additionalProperties is false"
    if _NOT_RE2.search(schema.get("pattern", "")):
        yield f"{at}: the pattern is none of RE2"
    if "format" in schema and schema["format"] not in _FORMATS:
        yield f"{at}: nothing checks format {schema['format']!r}"
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
        parts = schema.get(junctor, ())
        if schema.get("x-kubernetes-int-or-string") and parts == _INT_OR_STRING:
            continue
        for part in parts:
            for key in sorted(part.keys() & _NOT_WITHIN_JUNCTORS):
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
    keys = schema.get("x-kubernetes-list-map-keys", [])
    if kind is not None and (kind not in {"atomic", "set", "map"} or schema["type"] != "array"):
        yield f"{at}: of list type {kind!r}, and a {schema['type']}"
    if bool(keys) != (kind == "map") or len(set(keys)) != len(keys):
        yield f"{at}: a list of type {kind!r} with the keys {keys}"
    items = schema.get("items", {})
    if kind in {"set", "map"} and items.get("nullable"):
        yield f"{at}: its items may be null"
    if kind == "set" and items.get("type") in {"object", "array", None}:
        yield f"{at}: a set of what is no scalar"
    if kind == "map":
        if items.get("type") != "object":
            yield f"{at}: a map of what is no object"
        for key in keys:
            part = items.get("properties", {}).get(key)
            if part is None:
                yield f"{at}: its key {key!r} is no field of its items"
            elif part.get("type") in {"object", "array"} or part.get("nullable"):
                yield f"{at}: its key {key} is no scalar, or may be null"
            elif "default" not in part and key not in items.get("required", ()):
                yield f"{at}: its key {key} is neither required nor has a default"


def _defaults(schema: Schema, at: str) -> Iterator[str]:
    if "default" in schema:
        yield from _default(schema, schema["default"], f"{at}.default")
    for name, part in schema.get("properties", {}).items():
        yield from _defaults(part, f"{at}.{name}")
    for inner in _repeated(schema):
        yield from _defaults(inner, f"{at}[]")


def _default(schema: Schema, value: object, at: str) -> Iterator[str]:
    """Check what the API server puts in itself, as it stands there.

    The defaults of the fields within are *not* filled in before: what is required has to be given
    by this default itself, and each rule at or below this place has to hold for it. So do
    `ValidateDefaults` and its `validate` in apiextensions-apiserver's schema/defaulting.
    """
    if value is None:
        if not schema.get("nullable"):
            yield f"{at}: null"
        return
    pruned = copy.deepcopy(value)
    unknown = [name for name in prune(pruned, schema, at) if name]
    if pruned != value:
        yield f"{at}: {', '.join(unknown) or 'a null'} would be pruned"
        return
    yield from invalid(value, schema, at)


def _rules(schema: Schema, at: str) -> Iterator[str]:
    """Check that rules are in order, and can cost no more than what is bounded lets them."""
    for rule in schema["x-kubernetes-validations"]:
        message = rule.get("message", "")
        if not rule["rule"].strip():
            yield f"{at}: an empty rule"
        if not message.strip() or {"\n", "\r"} & set(message):
            yield f"{at}: a rule without a message, or with one of several lines"
        if rule.get("reason") not in _REASONS:
            yield f"{at}: a rule with reason {rule['reason']!r}"
        if rule.keys() - {"rule", "message", "reason", "fieldPath"}:
            yield f"{at}: a rule with what is not checked here"
        path = rule.get("fieldPath", "")
        if path and path.removeprefix(".") not in schema.get("properties", {}):
            yield f"{at}: a rule blames {path}, which is no field"
        for name in _OF_SELF.findall(rule["rule"]):
            if name not in schema.get("properties", {}):
                yield f"{at}: a rule asks for {name}, which is no field"
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
