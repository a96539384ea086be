"""`leastwise crd --apply`: brings the CRD on the API server to this version.

Helm installs what stands in a chart's `crds/`, and never upgrades it; the chart's opt-in Job calls
this before an upgrade. Server-side apply, with force: whoever applied the CRD before, its schema
has to be the one that this version writes. It asks for no more than `get` and `patch` on this CRD.
"""

import asyncio
import sys
from pathlib import Path

from app.config.crd import NAME, custom_resource_definition
from app.discovery.credentials import connect
from app.discovery.source import SourceError
from app.operator.writing import ApiWriter, WriteError

PATH = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{NAME}"
_APPLY = "application/apply-patch+yaml"


def apply_crd(kubeconfig: Path | None) -> int:
    """Apply the CRD; return the process's exit code."""
    try:
        asyncio.run(_apply(kubeconfig))
    except (SourceError, WriteError) as error:
        sys.stderr.write(f"leastwise: cannot apply {NAME}: {error}\n")
        return 1
    sys.stdout.write(f"{NAME} applied\n")
    return 0


async def _apply(kubeconfig: Path | None) -> None:
    writer = ApiWriter(lambda: connect(kubeconfig), "", "")
    path = f"{PATH}?fieldManager=leastwise&force=true"
    try:
        await writer.request("PATCH", path, custom_resource_definition(), _APPLY)
    finally:
        await writer.close()
