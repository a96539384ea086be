"""Pydantic's errors in our words: where, what was found, what is allowed.

Called by `loading` and `settings`. Nothing of pydantic's texts is used: what a field admits is
read from the model's own fields, so a message cannot differ from what is checked.
"""

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from app.config.fields import RULE, SaysAllowed

NOTHING = "nothing"
OR_NULL = ", or null"
_LONGEST_FOUND = 80
"""Characters of a value that are shown."""

_ORDINARY_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")

Location = tuple[str | int, ...]

Hint: TypeAlias = Any
"""A type hint at run time, for which Python has no one type."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One error of a model, before it is known where the model came from."""

    location: Location
    """Keys and indices, from the outside in."""

    found: str
    allowed: str
    of_key: bool = False
    """Whether it is the key itself that cannot be accepted, and not what it holds."""

    @property
    def path(self) -> str:
        """The location as people write it: `spec.endpoints[0]`."""
        return "".join(map(_step, self.location)).removeprefix(".")


def findings(error: ValidationError, model: type[BaseModel]) -> list[Finding]:
    """Say each error of `model` in our words, in the order of its fields."""
    return [_finding(details, model) for details in error.errors(include_url=False)]


def show(value: object) -> str:
    """Write a value as it would stand in the file, shortened; a container by its kind only."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple | set | frozenset):
        return "a list"
    text = json.dumps(value, ensure_ascii=False, default=str)
    if not text.isprintable():
        text = json.dumps(value, default=str)
    return text if len(text) <= _LONGEST_FOUND else text[:_LONGEST_FOUND] + "..."


def unknown(key: str, keys: Iterable[str], what: str = "key") -> tuple[str, str]:
    """Say what was found and what is allowed where `key` stands and only `keys` may."""
    known = {_plain(name): name for name in keys}
    nearest = difflib.get_close_matches(_plain(key), known, n=1)
    hint = f' (did you mean "{known[nearest[0]]}"?)' if nearest else ""
    return f"an unknown {what}{hint}", ", ".join(known.values())


def allowed_at(model: type[BaseModel], location: Location) -> str:
    """Say what `model` admits at `location`."""
    return _describe(*_walk(model, location))


def _finding(details: ErrorDetails, model: type[BaseModel]) -> Finding:
    location, kind = details["loc"], details["type"]
    if kind == RULE:
        context = details["ctx"]
        if context["key"] is not None:
            location = (*location[:-1], *filter(None, [context["key"]]))
        return Finding(location, context["found"], context["allowed"])
    if kind == "extra_forbidden":
        mapping = _unwrap(*_walk(model, location[:-1]))[0]
        return Finding(location, *unknown(str(location[-1]), _keys(mapping)), of_key=True)
    found = NOTHING if kind == "missing" else show(details["input"])
    return Finding(location, found, allowed_at(model, location))


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    # What is no ordinary key is quoted: it may hold dots, or a forged line of the log.
    return f".{step if _ORDINARY_KEY.fullmatch(step) else show(step)}"


def _walk(model: type[BaseModel], location: Location) -> tuple[Hint, Sequence[object]]:
    """Find what stands in `model` at `location`: its type hint and what annotates it."""
    hint: Hint = model
    metadata: Sequence[object] = ()
    for step in location:
        hint = _unwrap(hint, metadata)[0]
        if isinstance(step, int):
            hint, metadata = get_args(hint)[0], ()
        else:
            field = dict(zip(_keys(hint), hint.model_fields.values(), strict=True))[step]
            hint, metadata = field.annotation, field.metadata
    return hint, metadata


def _plain(key: str) -> str:
    """Fold what people mix up: first_byte, first-byte, FirstByte."""
    return key.lower().replace("_", "").replace("-", "")


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _unwrap(hint: Hint, metadata: Sequence[object]) -> tuple[Hint, Sequence[object], bool]:
    """Take Annotated and Optional off; tell also what annotated it and whether None is admitted."""
    nullable = False
    while True:
        origin: Hint = get_origin(hint)
        arguments = get_args(hint)
        if origin is Annotated:
            hint, metadata = arguments[0], (*metadata, *arguments[1:])
        elif origin in {Union, UnionType} and NoneType in arguments:
            rest = tuple(argument for argument in arguments if argument is not NoneType)
            hint, nullable = Union[rest], True  # noqa: UP007 - made at run time
        else:
            return hint, metadata, nullable


def _describe(hint: Hint, metadata: Sequence[object]) -> str:
    hint, metadata, nullable = _unwrap(hint, metadata)
    words = next((note.allowed for note in metadata if isinstance(note, SaysAllowed)), None)
    return (words or _describe_type(hint, metadata)) + (OR_NULL if nullable else "")


def _describe_type(hint: Hint, metadata: Sequence[object]) -> str:
    origin: Hint = get_origin(hint)
    if origin is Literal:
        return _one_of(get_args(hint))
    if origin is tuple:
        low = max((note.min_length for note in metadata if isinstance(note, MinLen)), default=0)
        high = min(note.max_length for note in metadata if isinstance(note, MaxLen))
        return f"a list of {low} to {high}, each {_describe(get_args(hint)[0], ())}"
    if hint is bool:
        return "true or false"
    if hint is int:
        return "a whole number" + _range(metadata)
    if issubclass(hint, Enum):
        return _one_of(member.value for member in hint)
    return f"a mapping with the keys {', '.join(_keys(hint))}"


def _one_of(values: Iterable[object]) -> str:
    *others, last = map(str, values)
    return f"{', '.join(others)} or {last}" if others else last


def _range(metadata: Sequence[object]) -> str:
    low = [f" from {note.ge}" for note in metadata if isinstance(note, Ge)]
    high = [f" to {note.le}" for note in metadata if isinstance(note, Le)]
    return "".join(low + (high or [" up"]))
