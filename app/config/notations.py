"""How settings are written, in variables and flags: the types of their fields.

Those of both processes, `settings` and `operator_settings`. Each says what it admits.
"""

from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr

from app.config.addresses import AddressPort
from app.config.explain import show
from app.config.fields import Allowed, Duration, HostPort, Token, broken_rule

_NETWORKS_ALLOWED = "networks such as 10.0.0.0/8 or fd00::/8, with commas between, no host bits set"
_SWITCH_ALLOWED = "true or false"
_ADDRESS_ALLOWED = "the pod's IP address, without brackets"


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _switch(value: object) -> object:
    """Read the two words; pydantic would take "yes", "on" and others, too."""
    if not isinstance(value, str):
        return value
    words = {"true": True, "false": False}
    if value.lower() not in words:
        raise broken_rule(show(value), _SWITCH_ALLOWED)
    return words[value.lower()]


def _networks(value: object) -> object:
    """Read a comma-separated text; anything else is pydantic's to judge."""
    if not isinstance(value, str):
        return value
    networks = []
    for text in filter(None, (part.strip() for part in value.split(","))):
        try:
            networks.append(ip_network(text))
        except ValueError:
            raise broken_rule(show(text), _NETWORKS_ALLOWED) from None
    return tuple(networks)


def _address(value: object) -> object:
    """Read an address as the kubelet writes it; anything else is pydantic's to judge."""
    if not isinstance(value, str):
        return value
    try:
        return ip_address(value)
    except ValueError:
        raise broken_rule(show(value), _ADDRESS_ALLOWED) from None


Listen = Annotated[AddressPort, HostPort(lowest_port=0)]
Delay = Annotated[float, Duration(0, 86_400, bare_text=True)]
Timeout = Annotated[float, Duration(0.1, 86_400, bare_text=True)]
PoolPath = Annotated[Path, Allowed("the path of the pool's YAML file")]
Namespace = Annotated[
    str,
    Field(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"),
    Allowed("a namespace's name: up to 63 of a-z 0-9 -, beginning and ending with a-z 0-9"),
]
BalancerName = Annotated[
    str,
    Field(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"),
    Allowed("a balancer's name: up to 63 of a-z 0-9 -, beginning and ending with a-z 0-9"),
]
LeaseName = Annotated[
    str,
    Field(
        max_length=253,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    ),
    Allowed("a Lease's name: up to 253 of a-z 0-9 - ., beginning and ending with a-z 0-9"),
]
SecretPath = Annotated[Path, Allowed("the path of a file that holds the replicas' secret")]
PodName = Annotated[str, Field(min_length=1, max_length=253), Allowed("the pod's name")]
PodUid = Annotated[str, Field(min_length=1, max_length=128), Allowed("the pod's UID")]
PodIp = Annotated[IPv4Address | IPv6Address, BeforeValidator(_address), Allowed(_ADDRESS_ALLOWED)]
KubeconfigPath = Annotated[Path, Allowed("the path of a kubeconfig file")]
Family = Annotated[Literal["ipv4", "ipv6"], BeforeValidator(_lower)]
Networks = Annotated[
    tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_networks), Allowed(_NETWORKS_ALLOWED)
]
AdminToken = Annotated[SecretStr, Token()]
TokenPath = Annotated[Path, Allowed("the path of a file that holds the admin token")]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)]
LogFormat = Annotated[Literal["text", "json"], BeforeValidator(_lower)]
Switch = Annotated[bool, BeforeValidator(_switch), Allowed(_SWITCH_ALLOWED)]
