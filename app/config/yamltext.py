"""Strict YAML: text into plain values, with the line of each, and no surprise.

Called by `loading`. The scalars are YAML 1.2's, which are JSON's: `yes`, `on`, `012`, `1:30` and
`2024-01-01` are texts and not what YAML 1.1 (and so PyYAML alone) makes of them. A key that stands
twice, an alias and a tag are problems: nothing is dropped or expanded silently.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import yaml
from pydantic import JsonValue
from yaml.composer import ComposerError
from yaml.reader import ReaderError
from yaml.scanner import ScannerError

from app.config.errors import ConfigError, Problem
from app.config.explain import Finding, Location, show

MAX_DEPTH = 32

_PREFIX = "tag:yaml.org,2002:"
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False}
_BOOLEANS["FALSE"] = False
_SCALARS: dict[str, Callable[[str], JsonValue]] = {
    "null": lambda _: None,
    "bool": _BOOLEANS.__getitem__,
    "int": int,
    "float": float,
}


class _Loader(yaml.SafeLoader):
    """Composes nodes and constructs nothing: `_Reader` does that."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose as PyYAML does, but for what could grow without bound."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise ComposerError(None, None, "found an alias, which is not supported", mark)
        if self.depth == MAX_DEPTH:
            raise ComposerError(None, None, f"found more than {MAX_DEPTH} levels", mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_Loader.yaml_implicit_resolvers = {}
_INTEGER = r"[-+]?(?:0|[1-9][0-9]*)"
for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", "|".join(_BOOLEANS), list("tTfF")),
    ("int", _INTEGER, list("-+0123456789")),
    # A leading zero makes a text: YAML 1.1, 1.2 and people read 010 in three ways.
    (
        "float",
        rf"(?:{_INTEGER}\.[0-9]*|[-+]?\.[0-9]+)(?:[eE][-+]?[0-9]+)?|{_INTEGER}[eE][-+]?[0-9]+",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(_PREFIX + _kind, re.compile(rf"(?:{_pattern})\Z"), _first)


@dataclass(slots=True)
class Document:
    """One YAML document as plain values, and what was wrong with its notation."""

    source: str
    value: JsonValue = None

    problems: list[Problem] = field(default_factory=list)
    lines: dict[Location, int] = field(default_factory=dict)
    keys: dict[Location, yaml.Mark] = field(default_factory=dict)
    """Where the keys of mappings begin."""

    values: dict[Location, yaml.Mark] = field(default_factory=dict)

    def problem(self, finding: Finding) -> Problem:
        """Say where in the file the finding is: its own place, or that of what it belongs in."""
        location = finding.location
        while location not in self.lines:
            location = location[:-1]
        line = self.lines[location]
        mark = self.values[location]
        in_it = location == finding.location and not finding.of_key
        if location in self.keys and not (in_it and mark.line + 1 == line):
            mark = self.keys[location]
        column = mark.column + 1 if mark.line + 1 == line else 0
        return Problem(self.source, finding.path, finding.found, finding.allowed, line, column)


def read_document(text: str, source: str) -> Document:
    """Read the one document of `text`; `source` is the name of the file, for messages.

    Raises ConfigError if it is no YAML, empty, or more than one document. Lesser problems stand
    in the result, so that those of the content can be told together with them.
    """
    document = Document(source)
    try:
        nodes = list(_nodes(text))
        if len(nodes) > 1:
            raise ComposerError(None, None, "found a second document", nodes[1].start_mark)
        for node in nodes:
            document.value = _Reader(document).read(node, ())
    except ReaderError as error:
        what = f"found the character U+{error.character:04X}"
        before = text[: error.position].split("\n")
        raise _invalid(source, what, len(before), len(before[-1]) + 1) from None
    except yaml.MarkedYAMLError as error:
        what = ", ".join(filter(None, (error.context, error.problem)))
        mark = error.problem_mark  # counts from 0
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise _invalid(source, what, line, column) from None
    if document.value is None:
        raise ConfigError([Problem(source, "", "an empty file", "a YAML document")])
    return document


def _nodes(text: str) -> Iterator[yaml.Node]:
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is not None:
                yield node
    except (ValueError, OverflowError):  # "\UFFFFFFFF"
        what = "found an escape that is no character"
        raise ScannerError(None, None, what, loader.get_mark()) from None


class _Reader:
    """Makes values of nodes, and notes lines and problems in the document."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def read(self, node: yaml.Node, location: Location) -> JsonValue:
        self._document.lines[location] = node.start_mark.line + 1
        self._document.values[location] = node.start_mark
        if isinstance(node, yaml.MappingNode) and node.tag == _PREFIX + "map":
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode) and node.tag == _PREFIX + "seq":
            return [self.read(item, (*location, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        raise _unsupported(node, f"the tag {_tag(node)}")

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, JsonValue]:
        values: dict[str, JsonValue] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _unsupported(key_node, "a key that is no text")
            key = str(key_node.value)
            place = (*location, key)
            first = self._document.lines[place] if key in values else None
            values[key] = self.read(value_node, place)
            self._document.lines[place] = key_node.start_mark.line + 1
            self._document.keys[place] = key_node.start_mark
            if first is not None:
                allowed = f"each key once (first in line {first})"
                finding = Finding(place, "the key a second time", allowed, of_key=True)
                self._document.problems.append(self._document.problem(finding))
        return values


def _scalar(node: yaml.ScalarNode) -> JsonValue:
    value = str(node.value)
    kind = node.tag.removeprefix(_PREFIX)
    if kind == "str":
        return value
    try:
        return _SCALARS[kind](value)
    except (KeyError, ValueError):
        # No such kind, or a tag of another kind, or more digits than int() takes.
        raise _unsupported(node, f"{show(value)} as {_tag(node)}") from None


def _tag(node: yaml.Node) -> str:
    return show(str(node.tag).replace(_PREFIX, "!!"))


def _unsupported(node: yaml.Node, what: str) -> ComposerError:
    return ComposerError(None, None, f"found {what}, which is not supported", node.start_mark)


def _invalid(source: str, what: str, line: int, column: int) -> ConfigError:
    found = f"invalid YAML in line {line}, column {column} ({what})"
    return ConfigError([Problem(source, "", found, "one plain YAML document", line, column)])
