"""What an API server finds wrong with a value, by the structural schema that it has to fit.

`prune` drops unknown fields, `invalid` checks schema and CEL rules. Neither fills in a default: an
API server does that before it checks an object, and does not before it checks a default itself.
Messages name the field. What a rule may cost is not reckoned; see `scripts.structural`.
"""

import re
from collections.abc import Iterator
from typing import Any

import cel

Object = dict[str, Any]
Value = Any  # of JSON: what it is, the schema says
Schema = dict[str, Any]

_KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


def prune(value: Value, schema: Schema, at: str) -> Iterator[str]:
    """Drop unknown fields of `value`, and nulls where none may stand; yield the former's names."""
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from prune(item, schema.get("items", {}), f"{at}[{i}]")
    if not isinstance(value, dict) or "properties" not in schema:
        return
    if not at:
        schema = schema | {"properties": schema["properties"] | {"metadata": {}}}
    for name in list(value):
        here = f"{at}.{name}" if at else name
        if name not in schema["properties"]:
            del value[name]
            yield here
        elif value[name] is None and not schema["properties"][name].get("nullable"):
            del value[name]
        else:
            yield from prune(value[name], schema["properties"][name], here)


def invalid(value: Value, schema: Schema, at: str) -> Iterator[str]:
    """Say all that is wrong with `value`, which stands at `at`."""
    kind = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        kind = "integer" if isinstance(value, int) else "string"
    if kind and (
        not isinstance(value, _KINDS[kind]) or isinstance(value, bool) > (kind == "boolean")
    ):
        yield f"{at}: Invalid value: {type(value).__name__}: must be of type {kind}"
        return
    yield from _out_of_bounds(value, schema, at)
    if isinstance(value, dict):
        yield from _invalid_fields(value, schema, at)
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from invalid(item, schema.get("items", {}), f"{at}[{i}]")
        yield from _twice(value, schema, at)
    yield from _broken_rules(value, schema, at)


def _invalid_fields(value: Object, schema: Schema, at: str) -> Iterator[str]:
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{at}.{name}: Required value".removeprefix(".")
    for name, part in schema.get("properties", {}).items():
        if name in value and name != "metadata":
            yield from invalid(value[name], part, f"{at}.{name}".removeprefix("."))


def _broken_rules(value: Value, schema: Schema, at: str) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", ()):
        place = at + rule.get("fieldPath", "")
        said = rule.get("message") or rule["rule"]
        try:
            holds = cel.evaluate(rule["rule"], {"self": value})
        except KeyError as error:  # the server names neither the path nor what is there
            yield f"{at}: Invalid value: no such key: {error.args[0]} evaluating rule: {said}"
        except (RuntimeError, TypeError, ValueError) as error:
            yield f"{at}: Invalid value: {error} evaluating rule: {said}"
        else:
            if holds is not True:
                yield f"{place}: Invalid value: {value!r}: {said}"


def _out_of_bounds(value: Value, schema: Schema, at: str) -> Iterator[str]:
    said = f"{at}: Invalid value: {value!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: Unsupported value: {value!r}: supported values: {schema['enum']}"
    if isinstance(value, str):
        if len(value) > schema.get("maxLength", len(value)):
            yield f"{at}: Too long: may not be more than {schema['maxLength']} bytes"
        if len(value) < schema.get("minLength", 0):
            yield f"{said}: should be at least {schema['minLength']} chars long"
        if not re.search(schema.get("pattern", ""), value):
            yield f"{said}: should match '{schema['pattern']}'"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        if value < low or (value == low and schema.get("exclusiveMinimum")):
            yield f"{said}: should be greater than or equal to {low}"
        if value > high or (value == high and schema.get("exclusiveMaximum")):
            yield f"{said}: should be less than or equal to {high}"
    elif isinstance(value, list) and not (
        schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
    ):
        yield f"{at}: Too many: {len(value)}: must have at most {schema.get('maxItems')} items"


def _twice(value: list[Any], schema: Schema, at: str) -> Iterator[str]:
    """Find what stands twice in a set, or under the same keys in a map."""
    kind = schema.get("x-kubernetes-list-type")
    if kind not in {"set", "map"}:
        return
    keys = schema.get("x-kubernetes-list-map-keys", ())
    seen = []
    for i, item in enumerate(value):
        key = [item.get(name) for name in keys] if kind == "map" else item
        if key in seen:
            yield f"{at}[{i}]: Duplicate value: {key!r}"
        seen.append(key)
