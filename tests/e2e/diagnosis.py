"""What is to be read of a real cluster after a failure, taken before anything is deleted.

Synchronous, as pytest's hooks are.
"""

import re
from pathlib import Path

from tests.e2e.kubectl import Kubectl

_LINES = 80
"""Of each file in the report: its last ones. The folder has all."""

_RELEASE = "--selector=app.kubernetes.io/instance=lb"

_LOOKS: dict[str, tuple[str, ...]] = {
    "pods": ("get", "pods", "--output=wide"),
    "workloads": ("get", "deployments,statefulsets,jobs,services,pdb", "--output=wide"),
    "lease": ("get", "leases", "--output=yaml"),
    "workerpools": ("get", "workerpools", "--output=yaml"),
    "endpointslices": ("get", "endpointslices", "--output=yaml"),
    "events": ("get", "events", "--sort-by=.metadata.creationTimestamp"),
    "pods-described": ("describe", "pods"),
    "nodes-described": ("describe", "nodes"),
    "logs": (
        "logs", _RELEASE, "--all-containers", "--prefix", "--ignore-errors", "--tail=300",
    ),
    "logs-of-ended-containers": (
        "logs", _RELEASE, "--all-containers", "--prefix", "--ignore-errors", "--tail=300",
        "--previous",
    ),
}  # fmt: skip

_SHOWN = ("pods", "lease", "events", "logs-of-ended-containers", "logs")


def diagnose(kubectl: Kubectl, folder: Path) -> str:
    """Write what a person would ask for into files of the folder; return the gist, for a report.

    Never raises `CommandError`: what cannot be had stands in its file, with why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    said = {}
    for name, command in _LOOKS.items():
        said[name] = kubectl.look(*command)
        (folder / f"{name}.txt").write_text(said[name])
    parts = [f"all of it: {folder}"]
    for name in _SHOWN:
        lines = said[name].rstrip().splitlines()
        parts.append("\n".join([f"--- {name}", *lines[-_LINES:]]))
    return "\n".join(parts)


def folder_of(test: str) -> str:
    """Return a name for a test's folder, of its id."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", test).strip("-")
