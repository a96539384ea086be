"""What pydantic needs to read our notations: annotations for the fields of both models.

Each knows how to read a value, its JSON schema, and, as `allowed`, the words that `explain` uses
for what it admits, so that a bound stands in one place only.
"""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, SecretStr
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from app.config import addresses, durations
from app.config.addresses import AddressPort
from app.config.durations import format_duration, parse_duration

RULE = "leastwise_rule"
"""The type of pydantic errors that carry our own words."""

NO_LIMIT = "none"
"""How a text says that there is no limit."""

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_TOKEN_LOW, _TOKEN_HIGH = 16, 4096

_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


@runtime_checkable
class SaysAllowed(Protocol):
    """An annotation that can say what its field admits."""

    @property
    def allowed(self) -> str:
        """What is admitted, to stand after "allowed: "."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """The words for a field whose bounds do not speak for themselves, such as a pattern."""

    allowed: str


@dataclass(frozen=True, slots=True)
class Duration:
    """Annotates a float that is a duration in seconds between two bounds, both admitted."""

    low: float
    high: float
    bare_text: bool = False
    """Whether "5" means 5 s: in the environment, where a number cannot be told from text."""

    @property
    def allowed(self) -> str:
        """Bounds and notation."""
        return f"a duration from {self.bounds}, in seconds or such as {durations.NOTATION}"

    @property
    def bounds(self) -> str:
        """The bounds, as people write durations."""
        return f"{format_duration(self.low)} to {format_duration(self.high)}"

    def seconds(self, value: object) -> float:
        """Read a number of seconds or a text; raises ValueError."""
        if isinstance(value, str):
            bare = self.bare_text and _NUMBER.fullmatch(value)
            value = float(value) if bare else parse_duration(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(value)  # noqa: TRY004 - pydantic wants a ValueError
        if not self.low <= value <= self.high:  # as NaN never is
            raise ValueError(value)
        return float(value)

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Read as `seconds` does, all in one step, so that an error shows what was written."""
        return core_schema.no_info_plain_validator_function(self.seconds)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe both notations. The bounds of the text are a rule's business."""
        text = {
            "type": "string",
            "pattern": durations.PATTERN,
            "minLength": 2,
            "maxLength": durations.MAX_LENGTH,
        }
        number = {"type": "number", "minimum": self.low, "maximum": self.high}
        return {"anyOf": [number, text]}


@dataclass(frozen=True, slots=True)
class Limit(Duration):
    """Annotates a `float | None` that is a duration, or None for no limit.

    "none" says the same as null, where null cannot be said: in the Kubernetes API, a null stands
    for a field that is left out, and so for its default.
    """

    @property
    def allowed(self) -> str:
        """Bounds, notation, and the word for no limit."""
        return (
            f"a duration from {self.bounds}, in seconds or such as {durations.NOTATION}, "
            f"or {NO_LIMIT}"
        )

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Read a duration, null or the word."""

        def read(value: object) -> float | None:
            return None if value is None or value == NO_LIMIT else self.seconds(value)

        return core_schema.no_info_plain_validator_function(read)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe all four notations."""
        number_and_text = Duration.__get_pydantic_json_schema__(self, schema, handler)["anyOf"]
        return {"anyOf": [*number_and_text, {"const": NO_LIMIT}, {"type": "null"}]}


@dataclass(frozen=True, slots=True)
class HostPort:
    """Annotates an `AddressPort` that is written as `host:port`."""

    lowest_port: int = 1

    @property
    def allowed(self) -> str:
        """The notation."""
        return addresses.describe_address(self.lowest_port)

    def parse(self, value: object) -> AddressPort:
        """Read a text; an AddressPort stays what it is. Raises ValueError."""
        if isinstance(value, AddressPort):
            return value
        if not isinstance(value, str):
            raise ValueError(value)  # noqa: TRY004 - pydantic wants a ValueError
        return AddressPort.parse(value, lowest_port=self.lowest_port)

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Read as `parse` does; written out as text again."""
        return core_schema.no_info_plain_validator_function(
            self.parse, serialization=core_schema.to_string_ser_schema()
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe a text; its inside is what no pattern describes well."""
        return {"type": "string", "minLength": len("a:1"), "maxLength": addresses.MAX_LENGTH}


@dataclass(frozen=True, slots=True)
class Token:
    """Annotates a secret that a reader of the admin port has to bring. No error ever shows it."""

    @property
    def allowed(self) -> str:
        """Length and characters."""
        return (
            f"a token of {_TOKEN_LOW} to {_TOKEN_HIGH} of a-z A-Z 0-9 - . _ ~ + /, with = at the"
            " end only"
        )

    def parse(self, value: object) -> SecretStr:
        """Read a text; a SecretStr is read the same way. Raises a rule's error."""
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        found = broken_token(text) if isinstance(text, str) else "no text"
        if found is not None:
            raise broken_rule(found, self.allowed)
        return SecretStr(str(text))

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Read as `parse` does, all in one step: pydantic's own error would show the secret."""
        return core_schema.no_info_plain_validator_function(self.parse)


def broken_token(text: str) -> str | None:
    """Say what is wrong with a bearer token (RFC 6750, section 2.1), without showing it."""
    if not _TOKEN_LOW <= len(text) <= _TOKEN_HIGH:
        return f"a token of {len(text)} characters"
    return None if _TOKEN.fullmatch(text) else "a token with other characters"


def broken_rule(found: str, allowed: str, *, key: str | None = None) -> PydanticCustomError:
    """Make the error of a rule in our own words, to be raised in a validator.

    `key` names the field as the file does, where its default may be at fault: there pydantic has
    its name in Python only. An empty key blames the mapping around the field.
    """
    context: dict[str, Any] = {"found": found, "allowed": allowed, "key": key}
    return PydanticCustomError(RULE, "{allowed}", context)


def default_or(value: float, default: float) -> str:
    """Write a duration that broke a rule, which its reader may not have written."""
    return format_duration(value) + (" (the default)" if value == default else "")


def each_once(values: tuple[object, ...] | None) -> tuple[object, ...] | None:
    """Refuse a list in which something stands twice."""
    twice = [value for value, times in Counter(values or ()).items() if times > 1]
    if twice:
        raise broken_rule(f"{', '.join(map(str, twice))} more than once", "each once")
    return values
