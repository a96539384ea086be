"""What people see of several replicas: the dashboard of one of them while the arbiter is killed."""

import re
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

import pytest
from playwright.async_api import expect

from tests.e2e.interface import until
from tests.e2e.simulated import SimulatedCluster
from tests.integration.browser import SLOW, Seen, needs_chromium, tab

pytestmark = [pytest.mark.sim_only, needs_chromium]


@pytest.fixture
async def cluster(tmp_path: Any) -> Any:
    async with SimulatedCluster.started(tmp_path) as cluster:
        await cluster.install(balancers=2, peers=True, refusing=False)
        await until("both replicas are ready", cluster.settled)
        yield cluster


async def arbiter(cluster: SimulatedCluster) -> str:
    async def agreed() -> str:
        named = {(view["replicas"] or {}).get("arbiter") for view in await cluster.views()}
        return named.pop() or "" if len(named) == 1 else ""

    return await until("the replicas agree on who decides", agreed)


def part(seen: Seen, pod: str) -> Any:
    return seen.page.locator(f'#replicas tr[data-replica="{pod}"] .chip')


async def heard(seen: Seen, first: str, other: str) -> None:
    """What a screen reader finds: a region of that name, with a table that it can read."""
    table = seen.page.get_by_role("region", name="Replicas").get_by_role("table")
    await expect(table.get_by_role("columnheader")).to_have_text(
        ["replica", "part", "holds", "waiting"]
    )
    assert set(await table.get_by_role("rowheader").all_inner_texts()) == {first, other}
    row = table.get_by_role("row").filter(has=seen.page.get_by_role("rowheader", name=first))
    await expect(row.get_by_role("cell").first).to_have_text("decides for all")


async def test_who_decides_and_what_each_holds(cluster: SimulatedCluster) -> None:
    first = await arbiter(cluster)
    balancers = await cluster.pods("lb")
    other = next(name for name in balancers if name != first)
    host = balancers[other].address
    port = int(cluster.targets()[0].rpartition(":")[2]) + 1  # the same for all, as in a cluster
    async with tab(port, host=host) as seen, cluster.load(24) as load:
        await expect(part(seen, first)).to_have_text("decides for all")
        await expect(part(seen, other)).to_have_text("asks for each slot")
        in_flight = seen.page.locator('tr[data-worker="worker-1"] .load span')
        await expect(in_flight).to_have_text("4 of 4", timeout=SLOW)  # of both replicas together
        held = seen.page.locator(f'#replicas tr[data-replica="{first}"] td').nth(1)
        await expect(held).to_have_text(re.compile("^[1-9]"), timeout=SLOW)
        # The charts and the tiles of what is under way are of both, the counts of this one.
        await expect(seen.tile("in flight")).to_have_text("20", timeout=SLOW)
        chart = seen.page.locator("figcaption").first
        await expect(chart).to_contain_text(re.compile("in flight 20.*slots 20"), timeout=SLOW)
        for own in await seen.page.locator(".own").all():
            await expect(own).to_have_text(re.compile("of this replica"))
            assert await own.is_visible()
        failed = seen.page.locator('[data-tile="failed"] small')
        await expect(failed).to_have_text("last 10 min, of this replica")
        await seen.accessible()
        await heard(seen, first, other)
        await seen.screenshot("dashboard-replicas")
        await cluster.signal(first, SIGKILL)
        await expect(part(seen, other)).to_have_text("decides for all", timeout=SLOW)
        # The killed process is told beside the one that the kubelet starts in its place, until what
        # it had is known to be over.
        await expect(part(seen, first)).to_have_text(["asks for each slot"], timeout=SLOW)
        await expect(seen.page.locator("#troubles")).to_be_hidden(timeout=SLOW)
        await expect(held).to_have_text(re.compile("^[1-9]"), timeout=SLOW)
        await cluster.signal(first, SIGSTOP)
        alert = seen.page.get_by_role("alert")  # read out at once, whatever one is reading
        await expect(alert).to_contain_text(f"{first} is not heard any more", timeout=SLOW)
        await cluster.signal(first, SIGCONT)
        await expect(alert).to_be_hidden(timeout=SLOW)
        await load.stop()
