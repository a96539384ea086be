"""What kopf is given: credentials, and how strict it is about certificates."""

import ssl
from pathlib import Path

import aiohttp
import pytest

from app.discovery.credentials import connect
from app.operator.watching import connection_of
from tests.unit.discovery.api import CERTIFICATES, PATH, serving


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make contexts as Python does from 3.13 on, whichever this is."""
    usual = ssl.create_default_context

    def create(*args: object, **kwargs: object) -> ssl.SSLContext:
        context = usual(*args, **kwargs)  # type: ignore[arg-type]
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", create)


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a pod, with the files that the kubelet mounts."""
    (tmp_path / "token").write_text("secret")
    (tmp_path / "ca.crt").write_bytes((CERTIFICATES / "ca.crt").read_bytes())
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    return tmp_path


@pytest.mark.usefixtures("strict")
async def test_certificates_that_lack_what_go_does_not_ask_for(
    account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests' own are such ones, as those of many clusters are."""
    async with serving(tls=True) as api:
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", api.url.rpartition(":")[2])
        access = await connect(None, account)
        connection = connection_of(access)
        await access.client.close()
        assert connection.server == api.url
        url = f"{api.url}{PATH.format(namespace='default')}?limit=1"
        headers = connection.as_http_headers()
        assert headers == {"Authorization": "Bearer secret"}
        async with aiohttp.ClientSession(headers=headers) as session:
            async with session.get(url, ssl=connection.as_ssl_context()) as answer:
                assert answer.status == 200
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await session.get(url, ssl=ssl.create_default_context(cafile=connection.ca_path))


async def test_the_chain_is_verified_all_the_same(account: Path) -> None:
    access = await connect(None, account)
    context = connection_of(access).as_ssl_context()
    await access.client.close()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
