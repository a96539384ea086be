"""The Dockerfile, read: no daemon is here to build it."""

import json
import re
import tomllib
from importlib.metadata import distribution

from packaging.requirements import Requirement

from tests.unit.chart.helm import ROOT, container

TEXT = (ROOT / "Dockerfile").read_text()
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

Instruction = tuple[str, str]


def stages() -> list[list[Instruction]]:
    """The instructions of each stage, with continued lines joined."""
    found: list[list[Instruction]] = []
    lines = [line for line in TEXT.splitlines() if not line.startswith("#")]
    for line in re.sub(r"\s*\\\n\s*", " ", "\n".join(lines)).splitlines():
        if line:
            word, _, rest = line.partition(" ")
            if word == "FROM":
                found.append([])
            found[-1].append((word, rest))
    return found


def every(word: str, instructions: list[Instruction]) -> list[str]:
    return [rest for name, rest in instructions if name == word]


DEPENDENCIES, PACKAGE, FINAL = stages()


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(lock: str) -> dict[str, str]:
    """Names and versions in a lock file."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))


def test_one_base() -> None:
    assert every("FROM", DEPENDENCIES) == ["python:3.13-slim AS dependencies"]
    assert every("FROM", PACKAGE) == ["dependencies AS package"]
    assert every("FROM", FINAL) == ["python:3.13-slim"]
    assert "# syntax" not in TEXT  # which would be another image to pull


def test_what_runs_is_requirements_lock() -> None:
    installs = [
        command.strip()
        for stage in (DEPENDENCIES, PACKAGE, FINAL)
        for run in every("RUN", stage)
        for command in run.split("&&")
        if re.search(r"\b(install|wheel|add|get)\b", command)
    ]
    into = "pip --python /opt/leastwise/bin/python install"
    aside = "pip install --require-hashes --no-deps --only-binary :all: --no-compile"
    assert installs == [
        f"{into} --require-hashes --no-deps --only-binary :all: --no-compile -r requirements.lock",
        # In the stage's own Python, which is thrown away.
        f"{aside} -r requirements-build.lock",
        f"{aside} -r requirements.lock",
        "pip wheel --no-deps --no-build-isolation --no-index --wheel-dir . .",
        f"{into} --no-deps --no-index --no-compile --prefix /package leastwise-*.whl",
    ]
    assert "pip --python /opt/leastwise/bin/python check" in TEXT


def test_the_lock_has_the_projects_dependencies() -> None:
    wanted = {
        normal(match[0])
        for text in PROJECT["project"]["dependencies"]
        if (match := re.match(r"[\w.-]+", text))
    }
    assert wanted <= locked("requirements.lock").keys()
    pinned = locked("requirements-dev.lock")
    assert locked("requirements.lock").items() <= pinned.items()
    assert "hatchling" not in locked("requirements.lock")


def in_image(requirement: Requirement, extras: frozenset[str] = frozenset()) -> bool:
    """Whether the image needs it, on any of its platforms."""
    version = re.search(r"python:(3\.\d+)", TEXT)
    assert version is not None
    marker = requirement.marker
    return marker is None or any(
        marker.evaluate(
            {
                "python_version": version[1],
                "python_full_version": f"{version[1]}.0",
                "implementation_name": "cpython",
                "platform_python_implementation": "CPython",
                "sys_platform": "linux",
                "platform_system": "Linux",
                "os_name": "posix",
                "platform_machine": machine,
                "extra": extra,
            }
        )
        for machine in ("x86_64", "aarch64")
        for extra in (extras or {""})
    )


def test_the_image_holds_what_is_needed_and_nothing_else() -> None:
    """The lock, as the image's Python reads it, is the closure of the project's dependencies."""
    lines = re.findall(r"^([a-z0-9-]+==\S+(?: ;[^\\\n]*)?)", LOCK, re.MULTILINE)
    pinned = [Requirement(line) for line in lines]
    assert len(pinned) == len(locked("requirements.lock"))
    installed = {normal(one.name) for one in pinned if in_image(one)}
    todo = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
    needed: set[tuple[str, frozenset[str]]] = set()
    while todo:
        wanted = todo.pop()
        extras = frozenset(wanted.extras)
        if not in_image(wanted) or (normal(wanted.name), extras) in needed:
            continue
        needed.add((normal(wanted.name), extras))
        assert wanted.specifier.contains(locked("requirements.lock")[normal(wanted.name)])
        for text in distribution(wanted.name).requires or ():
            further = Requirement(text)
            if in_image(further, extras):
                further.marker = None
                todo.append(further)
    assert {name for name, _ in needed} == installed


def test_the_build_is_pinned_too() -> None:
    build = locked("requirements-build.lock")
    wanted = {re.split("[<>=]", text)[0] for text in PROJECT["build-system"]["requires"]}
    assert wanted <= build.keys()
    del build["ziglang"]  # the C compiler; elsewhere the system has one
    assert build.items() <= locked("requirements-dev.lock").items()


def test_no_host_but_the_default_one() -> None:
    for lock in ("requirements.lock", "requirements-build.lock", "requirements-tools.lock"):
        assert "://" not in (ROOT / lock).read_text()


def test_nothing_is_run_in_the_final_stage() -> None:
    assert not every("RUN", FINAL)
    assert every("COPY", FINAL) == [
        "--from=dependencies /opt/leastwise /opt/leastwise",
        "--from=package /package /opt/leastwise",
    ]


def test_the_user_is_a_number() -> None:
    (user,) = every("USER", FINAL)
    assert re.fullmatch(r"[1-9][0-9]{4}:[1-9][0-9]{4}", user)


def test_exec_form() -> None:
    (entry,) = every("ENTRYPOINT", FINAL)
    (command,) = every("CMD", FINAL)
    assert json.loads(entry) == list(PROJECT["project"]["scripts"])
    assert json.loads(command) == ["--help"]
    for component in ("balancer", "worker"):
        assert "command" not in container(component)  # only arguments


def test_ports_are_those_of_the_chart() -> None:
    (ports,) = every("EXPOSE", FINAL)
    used = {p["containerPort"] for c in ("balancer", "worker") for p in container(c)["ports"]}
    assert set(map(int, ports.split())) == used


def test_labels() -> None:
    (version,) = every("ARG", FINAL)
    assert version == f"VERSION={PROJECT['project']['version']}"
    (text,) = every("LABEL", FINAL)
    labels = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="([^"]*)"', text))
    assert labels == {
        "title": PROJECT["project"]["name"],
        "description": PROJECT["project"]["description"],
        "version": "${VERSION}",
        "licenses": PROJECT["project"]["license"],
        "base.name": "docker.io/library/python:3.13-slim",
    }


def test_the_context_is_what_is_copied() -> None:
    copied = {
        source.removeprefix("./")
        for stage in (DEPENDENCIES, PACKAGE)
        for copy in every("COPY", stage)
        for source in copy.split()[:-1]
    }
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    for source in copied:
        assert (ROOT / source).exists()
    # What hatchling wants to read.
    assert {PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]} <= copied
