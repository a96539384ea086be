"""The protocol cases against leastwise: what `make compare` also plays against others."""

from collections.abc import AsyncIterator

import pytest

from app.runtime import balancer as runtime
from tests.compare.__main__ import play_all
from tests.compare.cases import Case, cases, varnishtest
from tests.compare.proxies import leastwise
from tests.integration.proxy.harness import NoAdmin

CASES = cases()

pytestmark = pytest.mark.skipif(
    not varnishtest(), reason="varnishtest is missing: apt-get install varnish"
)


@pytest.fixture(scope="module")
async def failures() -> AsyncIterator[dict[str, str]]:
    """Play them all, a few at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "create_app", lambda view: None)
        patch.setattr(runtime, "AdminServer", NoAdmin)
        yield await play_all(leastwise, CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_leastwise_passes(case: Case, failures: dict[str, str]) -> None:
    assert not failures[case.name], f"{case.title}\n{case.outcome}\n{failures[case.name]}"
