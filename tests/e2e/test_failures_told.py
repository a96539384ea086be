"""What pytest's report has of a real cluster, on which a scenario failed."""

import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.real_host import ROOT

FAILING = """
import pytest

from tests.e2e.conftest import *
from tests.e2e.conftest import _KEPT
from tests.e2e.kubectl import Kubectl
from tests.e2e.real import RealCluster
from tests.e2e.real_host import Host


@pytest.fixture
def installed(request):
    folder = request.config.getoption("--diagnostics")
    request.config.stash[_KEPT].append("this is kept")
    return RealCluster(Kubectl("a-namespace", None), Host("a:b", folder, folder))


@pytest.fixture(scope="session")
def broken():
    error = AssertionError("it was not installed")
    error.add_note("all of it: there\\nwhat is long")
    raise error
"""
SCENARIOS = """
def test_fails(installed):
    assert not "well"


def test_passes(installed):
    pass


def test_needs(broken):
    pass


def test_needs_it_too(broken):
    pass
"""
KUBECTL = """#!/bin/sh
echo "kubectl was asked: $*"
"""


def test_a_failure_is_told_with_what_kubectl_says(tmp_path: Path) -> None:
    programs, told = tmp_path / "programs", tmp_path / "told"
    programs.mkdir()
    (programs / "kubectl").write_text(KUBECTL)
    (programs / "kubectl").chmod(0o755)
    (tmp_path / "conftest.py").write_text(FAILING)
    (tmp_path / "test_scenarios.py").write_text(SCENARIOS)
    command = [
        sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path),
        "--diagnostics", str(told), str(tmp_path),
    ]  # fmt: skip
    environment = os.environ | {"PATH": str(programs)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed, 2 errors" in done.stdout
    assert "namespace a-namespace" in done.stdout
    assert "kubectl was asked: --namespace a-namespace get pods --output=wide" in done.stdout
    (folder,) = told.iterdir()  # of the one that failed
    assert folder.name == "test_fails-call"
    assert f"all of it: {folder}" in done.stdout
    assert "describe pods" in (folder / "pods-described.txt").read_text()
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines.count(["E", "all", "of", "it:", "there"]) == 2
    assert lines.count(["E", "what", "is", "long"]) == 1
    assert "this is kept" in done.stdout.splitlines()
