"""Which cluster the scenarios run on."""

import shutil
from collections.abc import Callable, Mapping


def choose_cluster(
    option: str | None,
    image: str | None,
    environment: Mapping[str, str],
    which: Callable[[str], str | None] = shutil.which,
) -> str:
    """Return "sim", "kind" or "current": what `--cluster` says, else what there is.

    An image without a KUBECONFIG is for kind, and a KUBECONFIG without an image is no offer to use
    that cluster.
    """
    if option:
        return option
    if environment.get("KUBECONFIG") and image:
        return "current"
    return "kind" if which("kind") and which("docker") else "sim"
