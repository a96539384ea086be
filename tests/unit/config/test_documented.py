"""docs/configuration.md, and `--help`, name every variable and flag, with its default."""

from pathlib import Path

import pytest
from click import Command, Option

from app.cli import cli, operator, serve, top
from app.config.operator_settings import OperatorSettings
from app.config.settings import WITHOUT_FLAG, Settings, flag, variable

DOCUMENT = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()


OPERATOR = DOCUMENT.split("<!-- operator -->")[1].split("<!-- end of operator -->")[0]
ROLES = [
    (role, command, text, name)
    for role, command, text in (
        (Settings, serve, DOCUMENT.replace(OPERATOR, "")),
        (OperatorSettings, operator, OPERATOR),
    )
    for name in role.model_fields
]


def cells(name: str, text: str) -> list[str]:
    """The cells of the first table row that begins with the name."""
    for line in text.splitlines():
        row = [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
        if line.startswith("|") and row[0] == name:
            return row
    raise AssertionError(f"{name} is not documented")


@pytest.mark.parametrize(("role", "command", "text", "name"), ROLES)
def test_each_setting_of_a_process(
    role: type[Settings | OperatorSettings], command: Command, text: str, name: str
) -> None:
    _, said_flag, said_default, _ = cells(variable(name), text)
    default = role.model_fields[name].default
    assert said_flag == ("" if name in WITHOUT_FLAG else flag(name))
    options = {option: parameter for parameter in command.params for option in parameter.opts}
    assert (flag(name) in options) is (name not in WITHOUT_FLAG)
    if default is None or default == ():
        assert said_default in {"none", "from nofile"}
    elif isinstance(default, bool):
        assert said_default == str(default).lower()
    elif isinstance(default, float):
        assert float(said_default) == default
    else:
        assert said_default == str(default)
    if name not in WITHOUT_FLAG and default not in (None, ()):
        option = options[flag(name)]
        assert isinstance(option, Option)
        assert f"[default: {said_default}]" in (option.help or "")


@pytest.mark.parametrize("command", [*cli.commands.values()], ids=lambda command: command.name)
def test_each_flag_has_a_help_text(command: Command) -> None:
    for option in command.params:
        if isinstance(option, Option):
            assert option.help, option.name


@pytest.mark.parametrize(
    ("name", "default"), [("admin", "http://127.0.0.1:9000"), ("token_file", "none")]
)
def test_what_top_reads(name: str, default: str) -> None:
    (option,) = (option for option in top.params if option.name == name)
    part = DOCUMENT.split("## leastwise top\n")[1]
    assert isinstance(option.envvar, str)
    _, said_flag, said_default, _ = cells(option.envvar, part)
    assert said_flag == option.opts[0]
    assert said_default == default
    assert default in {option.default, "none"}
    assert cells("LEASTWISE_ADMIN_TOKEN", part)[1] == ""
