"""Render manifests/ from the chart, for those who do not use Helm.

`make manifests` writes them; with `--check` (a test) nothing is written, and the exit code is 1 if
they differ from what the chart makes. What only Helm needs (its labels, the test) is left out. They
are for one replica, on its own: several want a secret, which no file that all can read may hold.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
HELM = ROOT / ".tools" / "bin" / "helm"
CHART = ROOT / "charts" / "lb"
FOLDER = ROOT / "manifests"

OPTIONS = ("--set=crd.enabled=false", "--set=peers.enabled=false,replicas=1")
"""So that one `kubectl apply` does it."""

HEAD = """\
# Made from charts/lb by `make manifests`: change it there.
# Everything is in namespace "default"; docs/kubernetes.md says how to take another one.
"""

_SOURCE = re.compile(r"^# Source: lb/templates/(?P<template>\S+)\n", re.MULTILINE)
_HELMS_OWN = re.compile(r"^ *(?:helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n", re.MULTILINE)


def main(arguments: list[str]) -> int:
    """Write or check; return the exit code."""
    differ = []
    for name, text in render().items():
        path = FOLDER / name
        if path.exists() and path.read_text() == text:
            continue
        if "--check" in arguments:
            differ.append(name)
        else:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(text)
    if differ:
        print(f"manifests/ is not what the chart makes ({', '.join(differ)}): run `make manifests`")
    return 1 if differ else 0


def render() -> dict[str, str]:
    """Return the files' contents by name."""
    files = {"balancer.yaml": HEAD, "worker.yaml": HEAD}
    for template, document in documents():
        name = "worker.yaml" if template == "worker.yaml" else "balancer.yaml"
        files[name] += f"---\n{document}\n"
    return files


def documents() -> Iterator[tuple[str, str]]:
    """Yield each object's template and text, as Helm orders them."""
    command = ["template", "lb", str(CHART), "--namespace", "default", "--no-hooks"]
    command += ["--skip-crds", *OPTIONS]
    done = subprocess.run([str(HELM), *command], check=True, capture_output=True, text=True)
    for document in re.split(r"^---\n", done.stdout, flags=re.MULTILINE):
        source = _SOURCE.match(document)
        if source:
            yield source["template"], _HELMS_OWN.sub("", document[source.end() :]).strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
