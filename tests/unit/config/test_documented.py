"""docs/configuration.md names every field, variable and flag, with its default."""

from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.cli import serve
from app.config.durations import parse_duration
from app.config.settings import WITHOUT_FLAG, Settings, flag, variable
from app.config.workerpool import PoolSpec

DOCUMENT = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()


def cells(name: str) -> list[str]:
    """The cells of the table row that begins with the name."""
    for line in DOCUMENT.splitlines():
        row = [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
        if line.startswith("|") and row[0] == name:
            return row
    raise AssertionError(f"{name} is not documented")


def leaves(model: type[BaseModel], prefix: str = "") -> list[tuple[str, FieldInfo]]:
    """All fields of the spec that hold a value, by their path."""
    found = []
    for field in model.model_fields.values():
        name = f"{prefix}{field.alias}"
        kinds = [field.annotation, *get_args(field.annotation)]
        parts = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if parts and name not in {"service", "routes"}:
            found += leaves(parts[0], f"{name}.")
        else:
            found.append((name, field))
    return found


@pytest.mark.parametrize(("name", "field"), leaves(PoolSpec))
def test_each_field_of_the_pool(name: str, field: FieldInfo) -> None:
    said = cells(name)[1]
    default = field.default
    if default is None or field.is_required():
        assert said in {"", "none"}
    elif isinstance(default, bool):
        assert said == str(default).lower()
    elif isinstance(default, float):
        assert parse_duration(said) == default
    elif isinstance(default, tuple):
        assert said == "[]"
    else:
        assert said == str(getattr(default, "value", default))


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_setting_of_the_process(name: str) -> None:
    _, said_flag, said_default, _ = cells(variable(name))
    default = Settings.model_fields[name].default
    assert said_flag == ("" if name in WITHOUT_FLAG else flag(name))
    options = [option for parameter in serve.params for option in parameter.opts]
    assert (flag(name) in options) is (name not in WITHOUT_FLAG)
    if default is None or default == ():
        assert said_default in {"none", "from nofile"}
    elif isinstance(default, bool):
        assert said_default == str(default).lower()
    elif isinstance(default, float):
        assert float(said_default) == default
    elif not Settings.model_fields[name].is_required():
        assert said_default == str(default)
