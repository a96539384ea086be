"""What an API server does with an object of a custom resource: prune, default, validate.

From the CRD that the chart ships. As in Kubernetes: unknown fields are dropped (or refused, if the
client asks for strict validation, as `kubectl` does), a null where none may stand is a field left
out, defaults are filled in from the outside to the inside, and then schema and CEL rules are
checked. When the CRD itself is created, each of its defaults is checked as it stands there, with no
others filled in. Messages name the field. What a rule may cost is not simulated; see
`scripts.structural`.
"""

import copy
from typing import Any

from scripts.structural import problems
from scripts.validation import Object, Schema, invalid, prune


class CustomResource:
    """The stored version of one CRD. Raises ValueError if an API server would not store the CRD."""

    def __init__(self, crd: Object) -> None:
        wrong = problems(crd)
        if wrong:
            name = crd["metadata"]["name"]
            raise ValueError(f'CustomResourceDefinition "{name}" is invalid: {"; ".join(wrong)}')
        spec = crd["spec"]
        version = next(version for version in spec["versions"] if version["storage"])
        self.kind: str = spec["names"]["kind"]
        self.plural: str = spec["names"]["plural"]
        self.has_status = "status" in version.get("subresources", {})
        self._schema: Schema = version["schema"]["openAPIV3Schema"]

    def admit(self, obj: Object, *, strict: bool = False) -> tuple[Object, list[str]]:
        """Return the object as it would be stored, and what is wrong with it."""
        obj = copy.deepcopy(obj)
        dropped = [name for name in prune(obj, self._schema, "") if name]
        wrong = [f'strict decoding error: unknown field "{n}"' for n in dropped] if strict else []
        _default(obj, self._schema)
        return obj, wrong + list(invalid(obj, self._schema, ""))


def _default(value: Any, schema: Schema) -> None:
    if isinstance(value, list):
        for item in value:
            _default(item, schema.get("items", {}))
    if not isinstance(value, dict):
        return
    for name, part in schema.get("properties", {}).items():
        if name not in value and "default" in part:
            value[name] = copy.deepcopy(part["default"])
        if name in value:
            _default(value[name], part)
