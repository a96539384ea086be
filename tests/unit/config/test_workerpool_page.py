"""docs/workerpool.md: every field with its default, an example, and what a change of it does."""

from typing import Any

import pytest
import yaml

from app.config.crd import custom_resource_definition
from app.config.resource import parse_resource
from scripts.workerpool_page import WORDS, fields

ROOT = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
FIELDS = {path for path, _, _ in fields(ROOT["properties"]["spec"])}


def test_there_are_words_for_each_field_and_for_no_other() -> None:
    assert WORDS.keys() == FIELDS


@pytest.mark.parametrize("path", sorted(WORDS))
def test_each_example_can_be_used(path: str) -> None:
    value = yaml.safe_load(WORDS[path][0].strip("`"))
    spec = {
        "service": {"name": "w", "port": 1},
        "health": {"probe": {"path": "/", "interval": "5s"}},
    }
    at: dict[str, Any] = spec
    *parents, name = path.split(".")
    for parent in parents:
        if parent.endswith("[]"):
            at[parent[:-2]] = [{}]
            at = at[parent[:-2]][0]
        else:
            at = at.setdefault(parent, {})
    at[name] = value
    parse_resource({"metadata": {"name": "p"}, "spec": spec})
