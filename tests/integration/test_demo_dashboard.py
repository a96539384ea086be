"""The whole scenario in a real browser: what a person sees who opens the demo's dashboard."""

import re
from datetime import datetime
from pathlib import Path

from playwright.async_api import Locator, expect

from tests.integration.browser import SLOW, needs_chromium, tab
from tests.integration.process.harness import until
from tests.integration.test_demo import LIMIT, demo


@needs_chromium
async def test_a_person_follows_the_scenario(tmp_path: Path) -> None:
    with demo(tmp_path, "--speed", "12") as (process, _, said):
        await until(
            "the demo says where its dashboard is",
            lambda: "\n" in said.read_text(),
            limit=LIMIT,
        )
        address = re.match(r"Dashboard: http://127\.0\.0\.1:(\d+)/", said.read_text())
        assert address is not None
        async with tab(int(address[1]), viewport={"width": 1180, "height": 900}) as seen:
            rows = seen.page.locator("#table tbody tr")
            await expect(rows).to_have_count(5)
            for number in range(1, 6):
                await expect(seen.worker(f"worker{number}")).to_contain_text(
                    re.compile("[0-4] of 4")
                )
            victim = seen.worker("worker1")
            await expect(seen.event("ejected", "worker1")).to_have_count(1, timeout=SLOW)
            await expect(victim.locator(".chip")).to_have_text("ejected")
            await expect(victim).to_contain_text("0 of 4")
            others = seen.worker("worker2").locator(".load span")
            await expect(others).to_have_text("4 of 4", timeout=SLOW)  # they do its work as well
            await seen.screenshot("dashboard")
            await expect(seen.event("back", "worker1")).to_have_count(1, timeout=SLOW)
            out, back = seen.event("ejected", "worker1"), seen.event("back", "worker1")
            told = re.search(r"back after ([\d.]+) s", await back.inner_text())
            assert told is not None
            away = (await moment(back) - await moment(out)).total_seconds()
            assert away > 5  # the scenario's 100 s, twelve times as fast, and its start
            assert abs(float(told[1]) - away) < 1  # as the time line says itself
            await expect(victim.locator(".chip")).to_have_text("ready")
            await expect(victim.locator(".load span")).to_have_text(
                re.compile("[1-4] of 4"), timeout=SLOW
            )
            await expect(seen.tile("failed")).to_have_text("0")
            assert int(await seen.tile("sent again").inner_text()) >= 1
            assert await seen.page.locator("line.mark.ejected").count() == 3  # one a chart
            status = seen.page.get_by_role("status")
            await expect(status).to_have_text("no connection, trying again …", timeout=60_000)
            ended = sum(await figures(seen.page.locator("tr td:nth-child(5)")))
            assert ended >= 250  # each request, and those that were sent again
        await until("the demo ends", lambda: process.poll() is not None, pause=0.1)


async def moment(event: Locator) -> datetime:
    at = await event.locator("time").get_attribute("datetime")
    assert at is not None
    return datetime.fromisoformat(at)


async def figures(cells: Locator) -> list[int]:
    return [int(text.replace(",", "")) for text in await cells.all_inner_texts()]
