"""`leastwise check` and the other small commands: what they print, and their exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.cli import cli
from app.config.checking import check


def checked(path: Path, text: str) -> Result:
    path.write_text(text)
    return CliRunner().invoke(cli, ["check", str(path)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pool.yaml"


BAD = """\
spec:
  endpoints: ["10.0.0.5:8080", nonsense]
  maxInFligt: 4
  queue: {size: -1}
  retry:
    onTimeout: "yes"
    onTimeout: true
  health:
    probe: {interval: 2s}
"""

SAID = """\
{path}:2:32: spec.endpoints[1]: found "nonsense", allowed: host:port, with a port from 1 to 65535
     2 |   endpoints: ["10.0.0.5:8080", nonsense]
       |                                ^^^^^^^^
{path}:3:3: spec.maxInFligt: found an unknown key (did you mean "maxInFlight"?), allowed: balancer
     3 |   maxInFligt: 4
       |   ^^^^^^^^^^
{path}:4:17: spec.queue.size: found -1, allowed: a whole number from 0 to 1000000
     4 |   queue: {size: -1}
       |                 ^^
{path}:7:5: spec.retry.onTimeout: found the key a second time, allowed: each key once
     7 |     onTimeout: true
       |     ^^^^^^^^^
{path}:9:5: spec.health.probe.path: found nothing, allowed:
     9 |     probe: {interval: 2s}
       |     ^^^^^
"""


def test_each_problem_is_shown_in_its_line(path: Path) -> None:
    result = checked(path, BAD)
    assert result.exit_code == 2
    said, wanted = result.stdout.splitlines(), SAID.replace("{path}", str(path)).splitlines()
    assert len(said) == len(wanted)
    for line, beginning in zip(said, wanted, strict=True):
        assert line.startswith(beginning)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("spec: {endpoints: [a:1]", ":1:24: found invalid YAML"),
        ("spec:\n  queue:\n\tsize: 1\n", ":3:1: found invalid YAML"),
        ("spec: &a {endpoints: *a}", ":1:22: found invalid YAML"),
        ("", ": found an empty file"),
        ("[a]", ":1:1: found a list"),
        ("spec:\n  endpoints:\n    - 5", ":3:7: spec.endpoints[0]: found 5"),
        ("spec:\n  timeouts:\n    request:\n      soon\n", ":3:5: spec.timeouts.request: found"),
    ],
)
def test_places(path: Path, text: str, place: str) -> None:
    result = checked(path, text)
    assert result.exit_code == 2
    assert any(line.startswith(f"{path}{place}") for line in result.stdout.splitlines())


def test_a_file_that_is_not_there(path: Path) -> None:
    result = CliRunner().invoke(cli, ["check", str(path)])
    assert result.exit_code == 2
    assert result.stdout == (
        f"{path}: found no such file, allowed: a readable YAML file with one WorkerPool\n"
    )


def test_a_good_file(path: Path) -> None:
    result = checked(
        path,
        "metadata: {name: demo}\nspec:\n  endpoints: [a:1, b:2]\n  maxInFlight: 4\n"
        "  health: {probe: {path: /readyz}}\n",
    )
    assert result.exit_code == 0
    assert result.stdout == (
        f'{path}: a valid pool, "demo": 2 endpoints, at most 4 requests each at once,'
        " up to 1000 wait for up to 1m\n"
    )


def test_hints(path: Path) -> None:
    result = checked(
        path,
        "spec:\n  service: {name: model, port: http}\n  queue: {timeout: 20m}\n",
    )
    assert result.exit_code == 0
    first, *hints = result.stdout.splitlines()
    assert "the pods of Service model, any number requests each" in first
    assert [hint.split()[0:3] for hint in hints] == [
        ["hint:", "without", "maxInFlight"],
        ["hint:", "without", "health.probe"],
        ["hint:", "a", "request"],
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_the_file_holds_it_is_explained(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    good, lines = check(path)
    assert not good
    assert lines
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_for_each_shell(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert "_LEASTWISE_COMPLETE" in result.stdout


def test_a_shell_is_told_commands_and_flags() -> None:
    def completed(words: str, position: int) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", "from app.cli import main; main()"],
            env=os.environ
            | {
                "_LEASTWISE_COMPLETE": "bash_complete",
                "COMP_WORDS": words,
                "COMP_CWORD": str(position),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert completed("leastwise ", 1) == sorted(cli.commands)
    assert "--once" in completed("leastwise top --o", 2)


def test_help_reads_well() -> None:
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    assert "Exit codes: 0 well ended" in result.stdout
    assert all(len(line) <= 100 for line in result.stdout.splitlines())
    for name, command in cli.commands.items():
        said = CliRunner().invoke(cli, [name, "--help"])
        assert said.exit_code == 0
        assert command.help
        assert "\\b" not in said.stdout
        assert "\b" not in said.stdout
