"""The ways to the Kubernetes API, each with a real connection: a pod's account, a kubeconfig."""

import base64
import datetime as dt
import json
import pwd
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.discovery.api_requests import Resource
from app.discovery.api_source import ApiSource
from app.discovery.credentials import connect
from app.discovery.source import SourceError
from tests.unit.discovery.api import CERTIFICATES, Api, kubeconfig, serving

SLICES = Resource("discovery.k8s.io", "v1", "endpointslices")


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No kubeconfig, no pod, and a home of our own."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@asynccontextmanager
async def source_of(file: Path | None, account: Path | None = None) -> AsyncIterator[ApiSource]:
    reach = partial(connect, file, account) if account else partial(connect, file)
    source = ApiSource(SLICES, reach)
    try:
        yield source
    finally:
        await source.close()


async def complaint(file: Path | None, account: Path | None = None) -> str:
    async with source_of(file, account) as source:
        with pytest.raises(SourceError) as caught:
            await source.list_page("")
    return str(caught.value)


# --- in a pod


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """The files that the kubelet mounts."""
    directory = tmp_path / "serviceaccount"
    directory.mkdir()
    (directory / "token").write_text("first")
    (directory / "ca.crt").write_bytes((CERTIFICATES / "ca.crt").read_bytes())
    (directory / "namespace").write_text("inference")
    return directory


def be_in_a_pod(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(urlsplit(api.url).port))


async def test_in_a_pod(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tls=True) as api, source_of(None, account) as source:
        be_in_a_pod(api, monkeypatch)
        await source.list_page("")
        [request] = api.requests
        assert request.headers["Authorization"] == "Bearer first"
        assert request.match_info["namespace"] == "inference"


async def test_without_the_file_of_the_namespace(
    account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (account / "namespace").unlink()
    async with serving(tls=True) as api, source_of(None, account) as source:
        be_in_a_pod(api, monkeypatch)
        await source.list_page("")
        assert api.requests[0].match_info["namespace"] == "default"


async def test_the_library_reads_the_token_again_by_itself(
    account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kubernetes_asyncio.config import incluster_config

    monkeypatch.setattr(incluster_config, "TOKEN_REFRESH_PERIOD", dt.timedelta(0))
    async with serving(tls=True) as api, source_of(None, account) as source:
        be_in_a_pod(api, monkeypatch)
        await source.list_page("")
        (account / "token").write_text("second")
        await source.list_page("")
        assert [r.headers["Authorization"] for r in api.requests] == [
            "Bearer first",
            "Bearer second",
        ]


async def test_a_rotated_token_is_found_within_its_minute_by_the_refusal(
    account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tls=True) as api, source_of(None, account) as source:
        be_in_a_pod(api, monkeypatch)
        await source.list_page("")
        (account / "token").write_text("second")
        api.tokens = {"second"}
        await source.list_page("")
        assert [r.headers["Authorization"][7:] for r in api.requests[1:]] == ["first", "second"]


async def test_a_pod_without_a_token(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (account / "token").unlink()
    async with serving(tls=True) as api:
        be_in_a_pod(api, monkeypatch)
        assert await complaint(None, account) == (
            "no credentials for the Kubernetes API in the pod's service account: "
            "Service token file does not exist."
        )


async def test_an_authority_that_did_not_sign(
    account: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (account / "ca.crt").write_bytes((CERTIFICATES / "client.crt").read_bytes())
    async with serving(tls=True) as api, source_of(None, account) as source:
        be_in_a_pod(api, monkeypatch)
        with pytest.raises(SourceError, match="CERTIFICATE_VERIFY_FAILED"):
            await source.list_page("")
        assert api.requests == []
        # Once it is mended, the next try reads it.
        (account / "ca.crt").write_bytes((CERTIFICATES / "ca.crt").read_bytes())
        await source.list_page("")


async def test_the_servers_name_is_verified(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tls=True) as api:
        be_in_a_pod(api, monkeypatch)
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "localhost")
        assert "CERTIFICATE_VERIFY_FAILED" in await complaint(None, account)


# --- with a kubeconfig


def data(name: str) -> str:
    return base64.b64encode((CERTIFICATES / name).read_bytes()).decode()


async def test_certificates_in_a_kubeconfig(tmp_path: Path) -> None:
    user = {"client-certificate-data": data("client.crt"), "client-key-data": data("client.key")}
    async with serving(tls=True, client_ca=True) as api:
        there = {"certificate-authority-data": data("ca.crt")}
        async with source_of(kubeconfig(tmp_path / "c", api.url, user=user, **there)) as source:
            await source.list_page("")
        [request] = api.requests
        assert request.match_info["namespace"] == "shop"


async def test_certificates_beside_a_kubeconfig(tmp_path: Path) -> None:
    for name in ("ca.crt", "client.crt", "client.key"):
        (tmp_path / name).write_bytes((CERTIFICATES / name).read_bytes())
    user = {"client-certificate": "client.crt", "client-key": "client.key"}
    async with serving(tls=True, client_ca=True) as api:
        there = {"certificate-authority": "ca.crt"}
        async with source_of(kubeconfig(tmp_path / "c", api.url, user=user, **there)) as source:
            await source.list_page("")
        assert len(api.requests) == 1


async def test_a_server_that_is_not_verified(tmp_path: Path) -> None:
    async with serving(tls=True) as api:
        there: dict[str, Any] = {"insecure-skip-tls-verify": True}
        async with source_of(kubeconfig(tmp_path / "c", api.url, **there)) as source:
            await source.list_page("")


async def test_a_token_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    async with serving() as api:
        file = kubeconfig(tmp_path / "c", api.url, user={"tokenFile": str(tmp_path / "token")})
        async with source_of(file) as source:
            await source.list_page("")
        assert api.requests[0].headers["Authorization"] == "Bearer secret"


async def test_an_exec_plugin(tmp_path: Path) -> None:
    said = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "from-a-plugin"},
    }
    plugin = {
        "apiVersion": said["apiVersion"],
        "command": sys.executable,
        "args": ["-c", f"print({json.dumps(json.dumps(said))})"],
    }
    async with serving() as api:
        async with source_of(kubeconfig(tmp_path / "c", api.url, user={"exec": plugin})) as source:
            await source.list_page("")
        assert api.requests[0].headers["Authorization"] == "Bearer from-a-plugin"


async def test_an_exec_plugin_that_fails(tmp_path: Path) -> None:
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", "raise SystemExit('log in first')"],
    }
    file = kubeconfig(tmp_path / "c", "http://127.0.0.1:1", user={"exec": plugin})
    told = f"no credentials for the Kubernetes API in {file}: exec: process returned 1. log in "
    assert (await complaint(file)).startswith(told)


async def test_kubeconfigs_of_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as api, source_of(None) as source:
        file = kubeconfig(tmp_path / "c", api.url, user={"token": "secret"})
        monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'missing'}:{file}")
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
        await source.list_page("")
        assert len(api.requests) == 1


async def test_the_kubeconfig_at_home(tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    async with serving() as api, source_of(None) as source:
        kubeconfig(tmp_path / ".kube" / "config", api.url)
        await source.list_page("")
        assert api.requests[0].match_info["namespace"] == "shop"


async def test_the_given_kubeconfig_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    async with serving() as api, source_of(kubeconfig(tmp_path / "c", api.url)) as source:
        await source.list_page("")


async def test_no_way_at_all() -> None:
    assert (await complaint(None)).startswith("no way to the Kubernetes API: this is no pod")


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a user without HOME, and without an entry among the users, as a pod's may be."""
    monkeypatch.delenv("HOME")

    def unknown(_uid: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(RuntimeError):
        Path.home()


@pytest.mark.usefixtures("homeless")
async def test_in_a_pod_without_a_home(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tls=True) as api, source_of(None, account) as source:
        be_in_a_pod(api, monkeypatch)
        await source.list_page("")
        assert api.requests[0].match_info["namespace"] == "inference"


@pytest.mark.usefixtures("homeless")
async def test_no_way_and_no_home() -> None:
    assert (await complaint(None)).startswith("no way to the Kubernetes API: this is no pod")
    assert await complaint(Path("~/c")) == "no such kubeconfig: ~/c"


async def test_a_kubeconfig_that_is_missing(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert await complaint(missing) == f"no such kubeconfig: {missing}"


@pytest.mark.parametrize(
    "content", ["", "[]", "{", "a: [", "current-context: x", "\0", '{"contexts": 5}']
)
async def test_a_kubeconfig_that_is_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / "c"
    file.write_text(content)
    told = await complaint(file)
    assert told.startswith(f"no credentials for the Kubernetes API in {file}: ")
    assert len(told) > len(f"no credentials for the Kubernetes API in {file}: ")


async def test_a_context_without_a_namespace(tmp_path: Path) -> None:
    async with serving() as api:
        file = kubeconfig(tmp_path / "c", api.url)
        content: dict[str, Any] = json.loads(file.read_text())
        del content["contexts"][1]["context"]["namespace"]
        file.write_text(json.dumps(content))
        async with source_of(file) as source:
            await source.list_page("")
        assert api.requests[0].match_info["namespace"] == "default"


def test_listed_endpoints_do_not_pay_for_the_library() -> None:
    code = (
        "import sys, app.runtime.serve; "
        "print({'kubernetes_asyncio', 'aiohttp'} & sys.modules.keys() or 'none')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "none\n"
