"""A real cluster to install the chart on: one that kind makes, or the one of KUBECONFIG.

What kind makes is deleted at the end, unless it is to be kept.
"""

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.e2e.kubectl import CommandError, run

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Host:
    """The cluster, and an image of ours that its nodes have or can pull."""

    image: str
    folder: Path
    diagnostics: Path
    """The folder for what is to be read after a failure."""

    kubeconfig: Path | None = None
    """None for what kubectl finds by itself."""

    keep: bool = False
    """Whether what was made stays."""

    kept: list[str] = field(default_factory=list)
    """What a person has to know of that, at the end."""


@asynccontextmanager
async def host(
    folder: Path,
    *,
    kind: str,
    image: str | None,
    diagnostics: Path | None = None,
    keep: bool = False,
    kept: list[str] | None = None,
) -> AsyncIterator[Host]:
    """Let kind make a cluster, with the image, or take the current one. `kind`: which of them.

    `kept` is told what stays, with `keep`.
    """
    told, kept = diagnostics or folder / "diagnostics", [] if kept is None else kept
    if kind == "current":
        assert image, "--cluster=current needs --image"
        yield Host(image, folder, told, None, keep, kept)
        return
    name, built = f"leastwise-e2e-{secrets.token_hex(3)}", image or "leastwise:e2e"
    kubeconfig = folder / "kubeconfig"
    if keep:
        kept.append(f"cluster {name} of kind is kept: kind export kubeconfig --name {name}")
        kept.append(f"  to delete it: kind delete cluster --name {name}")
    here = Host(built, folder, told, kubeconfig, keep, kept)
    try:
        await _create(name, folder, kubeconfig, keep=keep)
        await _load_image(built, name, folder, build=image is None)
        yield here
    finally:
        if not keep:
            with suppress(CommandError):  # its end is no part of the test
                await run(
                    "kind", "delete", "cluster", "--name", name, "--kubeconfig", str(kubeconfig)
                )


async def _create(name: str, folder: Path, kubeconfig: Path, *, keep: bool) -> None:
    """Make a cluster as kind-config.yaml has it, without its ports on this machine."""
    config = yaml.safe_load((ROOT / "kind-config.yaml").read_text())
    for node in config.get("nodes", ()):
        node.pop("extraPortMappings", None)
    file = folder / "kind.yaml"
    file.write_text(yaml.safe_dump(config))
    await run(
        "kind", "create", "cluster", "--name", name, "--config", str(file),
        "--kubeconfig", str(kubeconfig), "--wait", "3m", *(["--retain"] if keep else []),
        limit=900,
    )  # fmt: skip


async def _load_image(image: str, cluster: str, folder: Path, *, build: bool) -> None:
    """Build the image if it is ours, and bring it to the nodes of the kind cluster."""
    if build:
        await run("docker", "build", "--tag", image, str(ROOT), limit=1200)
    try:
        await run("kind", "load", "docker-image", image, "--name", cluster, limit=600)
    except CommandError:  # as with Docker 29, whose images hold other platforms' parts by name
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, "amd64")
        archive = str(folder / "image.tar")
        platform = f"--platform=linux/{machine}"
        await run("docker", "save", platform, "--output", archive, image, limit=600)
        await run("kind", "load", "image-archive", archive, "--name", cluster, limit=600)
