"""The way to the Kubernetes API: a client with its credentials, and the namespace that is ours.

Called by `api_source`, again whenever a connection failed or the credentials were refused: then
everything is read anew, so that what was rotated or renewed (a token, a client certificate, the
cluster's CA, what an exec plugin says) is found without more ado. In a pod the library reads the
token again at most every minute by itself.

In this order: the given kubeconfig, that of KUBECONFIG, the pod's service account,
~/.kube/config. Of a kubeconfig the current context counts.

kubernetes_asyncio is imported here when it is needed, in a thread: it takes most of a second, and
a balancer with listed endpoints should not pay for it, nor one that is turned to a Service while
it has requests to serve.
"""

import asyncio
import gc
import os
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from app import __version__
from app.discovery.source import SourceError

if TYPE_CHECKING:
    from kubernetes_asyncio.client import ApiClient, Configuration

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod has the credentials of its service account, and its namespace."""

_DEFAULT_NAMESPACE = "default"


@dataclass(frozen=True, slots=True)
class Access:
    """A client that may be used until it is closed. Of one event loop."""

    client: "ApiClient"
    namespace: str
    """That of the pod, or of the kubeconfig's context."""


async def connect(kubeconfig: Path | None, service_account: Path = SERVICE_ACCOUNT) -> Access:
    """Read the credentials, and make a client of them. Nothing is asked of the API server.

    Raises `SourceError`.
    """
    await asyncio.to_thread(_load_library)
    from kubernetes_asyncio.client import ApiClient, Configuration  # noqa: PLC0415

    configuration = Configuration()
    # Python 3.13 demands of certificates what many clusters' lack (an authority key identifier),
    # and Go does not. The chain and the host's name are verified all the same.
    configuration.disable_strict_ssl_verification = True
    files = _find_kubeconfig(kubeconfig)
    try:
        if files:
            namespace = await _read_kubeconfig(configuration, files)
        else:
            namespace = _read_service_account(configuration, service_account)
        client = ApiClient(configuration)
    except Exception as error:  # the library's own, and whatever an odd file makes it raise
        where = files or "the pod's service account"
        reason = str(error) or type(error).__name__
        raise SourceError(f"no credentials for the Kubernetes API in {where}: {reason}") from error
    client.user_agent = f"leastwise/{__version__}"
    return Access(client, namespace)


@cache
def _load_library() -> None:
    import_module("kubernetes_asyncio.config")
    # Its 45,000 objects make each full garbage collection 10 ms longer, in which no request is
    # served. They stay for good, as all modules do: the collector need not look at them.
    gc.freeze()


def _find_kubeconfig(given: Path | None) -> str:
    """Return the name of the kubeconfig, or of several with colons between; empty in a pod."""
    names = str(given or os.environ.get("KUBECONFIG", ""))
    if names:
        if not any(_expanded(name).exists() for name in names.split(os.pathsep) if name):
            raise SourceError(f"no such kubeconfig: {names}")
        return names
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return ""
    home = _expanded("~/.kube/config")
    if home.exists():
        return str(home)
    raise SourceError(
        "no way to the Kubernetes API: this is no pod, and there is no kubeconfig; "
        "name one with --kubeconfig, LEASTWISE_KUBECONFIG or KUBECONFIG"
    )


def _expanded(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # no HOME, and a user of whom the image knows nothing, as a pod's may be
        return Path(name)


def _read_service_account(configuration: "Configuration", directory: Path) -> str:
    from kubernetes_asyncio.config import load_incluster_config  # noqa: PLC0415

    load_incluster_config(  # type: ignore[no-untyped-call]
        configuration,
        token_filename=str(directory / "token"),
        cert_filename=str(directory / "ca.crt"),
    )
    try:
        return (directory / "namespace").read_text().strip() or _DEFAULT_NAMESPACE
    except OSError:
        return _DEFAULT_NAMESPACE


async def _read_kubeconfig(configuration: "Configuration", files: str) -> str:
    from kubernetes_asyncio.config import load_kube_config  # noqa: PLC0415

    loader = await load_kube_config(config_file=files, client_configuration=configuration)
    token = configuration.api_key.get("BearerToken")
    if token:  # a file of a token may end with a newline, which no header may hold
        configuration.api_key["BearerToken"] = token.strip()
    context = (loader.current_context or {}).get("context") or {}
    return str(context.get("namespace") or _DEFAULT_NAMESPACE)
