import pytest

from tests.e2e.choosing import choose_cluster

HERE = {"KUBECONFIG": "/somewhere"}


@pytest.mark.parametrize(
    ("option", "image", "environment", "installed", "chosen"),
    [
        (None, None, {}, set(), "sim"),
        (None, None, {}, {"docker"}, "sim"),
        (None, None, {}, {"kind"}, "sim"),
        (None, None, {}, {"kind", "docker"}, "kind"),
        (None, "a:b", {}, {"kind", "docker"}, "kind"),
        (None, "a:b", HERE, {"kind", "docker"}, "current"),
        (None, "a:b", HERE, set(), "current"),
        (None, None, HERE, set(), "sim"),
        (None, None, HERE, {"kind", "docker"}, "kind"),
        (None, "a:b", {"KUBECONFIG": ""}, set(), "sim"),
        ("sim", "a:b", HERE, {"kind", "docker"}, "sim"),
        ("kind", "a:b", HERE, set(), "kind"),
        ("current", "a:b", {}, set(), "current"),
    ],
)
def test_what_is_chosen(
    option: str | None,
    image: str | None,
    environment: dict[str, str],
    installed: set[str],
    chosen: str,
) -> None:
    def which(name: str) -> str | None:
        return f"/bin/{name}" if name in installed else None

    assert choose_cluster(option, image, environment, which) == chosen
