"""The settings of `leastwise operator`: flags over `LEASTWISE_*` variables over defaults."""

from collections.abc import Mapping

from pydantic_settings import BaseSettings, SettingsConfigDict

from app.config.addresses import AddressPort
from app.config.notations import (
    AdminToken,
    BalancerName,
    KubeconfigPath,
    Listen,
    LogFormat,
    LogLevel,
    Namespace,
    TokenPath,
)
from app.config.settings import PREFIX, load


class OperatorSettings(BaseSettings):
    """How the operator runs. An empty variable is as good as none."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        enable_decoding=False,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    balancer: BalancerName | None = None
    """The balancer whose pools' status it writes; unset for all pools of the namespace."""

    namespace: Namespace | None = None
    """Where the WorkerPools are; unset for the pod's namespace, or that of the kubeconfig's
    context."""

    kubeconfig: KubeconfigPath | None = None
    """How to reach the Kubernetes API; unset for KUBECONFIG, then the pod's service account, then
    ~/.kube/config."""

    admin_token: AdminToken | None = None
    """What the balancers' admin ports want, if they want something; by variable alone."""

    admin_token_file: TokenPath | None = None
    """The file that holds it, such as a mounted Secret; either this or the variable."""

    liveness_listen: Listen = AddressPort("0.0.0.0", 9001)  # noqa: S104 - the kubelet asks there
    """Where /healthz is answered."""

    log_level: LogLevel = "info"
    """The least that is logged."""

    log_format: LogFormat = "text"
    """For people, or for machines."""


def load_operator_settings(flags: Mapping[str, object] | None = None) -> OperatorSettings:
    """Read the settings of this process; `flags` as for `load_settings`. Raises ConfigError."""
    return load(OperatorSettings, flags)
