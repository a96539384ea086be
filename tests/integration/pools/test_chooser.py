"""Several pools in a real browser and in a terminal: which one is looked at, and how to choose."""

import asyncio
import re
import sys
from pathlib import Path

from playwright.async_api import expect

from tests.integration.browser import SLOW, Seen, needs_chromium, tab
from tests.integration.pools.rig import Rig, Worker, running
from tests.integration.waiting import eventually


async def serve(rig: Rig, *names: str) -> dict[str, Worker]:
    workers = {}
    for name in names:
        workers[name] = await rig.worker(name)
        await rig.apply(name, routes=[{"host": name}])
    await rig.serves(*names)
    return workers


async def shows(seen: Seen, pool: str) -> None:
    """Wait until the page is about that pool, and says so everywhere."""
    page = seen.page
    await expect(page.locator("#pool")).to_have_text(f"pool {pool}", timeout=SLOW)
    await expect(page.locator("#table tbody tr")).to_have_count(1)
    await expect(seen.worker(f"{pool}-0")).to_be_visible()
    await expect(page).to_have_title(re.compile(rf"· {pool} ·"))
    current = page.locator('#pools a[aria-current="page"]')
    await expect(current).to_contain_text(pool)


@needs_chromium
async def test_who_opens_it_chooses_by_keyboard_and_can_change(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        workers = await serve(rig, "embed", "rest")
        async with tab(rig.balancer.ports[1], live=False) as seen:
            page = seen.page
            await expect(page.get_by_role("alert")).to_have_text("Choose a pool.", timeout=SLOW)
            await expect(page.locator("#workers")).to_be_hidden()
            nav = page.get_by_role("navigation", name="Pools")
            await expect(nav.get_by_role("link")).to_have_count(2)
            embed = nav.get_by_role("link", name=re.compile("^embed 0 in flight, 1 of 1 workers$"))
            await seen.accessible()
            await page.keyboard.press("Tab")  # to the workers
            await page.keyboard.press("Tab")  # the theme
            await page.keyboard.press("Tab")
            await expect(embed).to_be_focused()
            await page.keyboard.press("Enter")
            await seen.is_live()
            await shows(seen, "embed")
            await expect(page.locator("#choose")).to_be_hidden()
            await seen.accessible()
            held = asyncio.create_task(rig.get("/hold", host="rest"))
            rest = nav.get_by_role("link", name=re.compile("^rest 1 in flight"))
            await expect(rest).to_be_visible(timeout=SLOW)  # it is told of the other one too
            await rest.press("Enter")
            await seen.is_live()
            await shows(seen, "rest")
            assert page.url.endswith("/?pool=rest")
            assert await page.locator("#json").get_attribute("href") is not None
            await page.locator("#json").click()
            await expect(page.locator("body")).to_contain_text('"pool":"rest"')
            await page.go_back()
            await seen.is_live()
            await shows(seen, "rest")
            workers["rest"].release.set()
            assert (await held).status_code == 200


@needs_chromium
async def test_one_pool_alone_needs_no_choice_and_a_second_offers_one(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        await serve(rig, "embed")
        async with tab(rig.balancer.ports[1]) as seen:
            page = seen.page
            await expect(page.locator("#pool")).to_have_text("pool embed")
            await expect(page.locator("#pools")).to_be_hidden()
            await rig.worker("rest")
            await rig.apply("rest", routes=[{"host": "rest"}])
            await expect(page.locator("#pools a")).to_have_count(2, timeout=SLOW)
            await shows(seen, "embed")
            await page.reload()  # its address says which one by now
            await seen.is_live()
            await shows(seen, "embed")
            await rig.delete("embed")
            gone = "There is no pool embed. Choose a pool."
            await expect(page.locator("#choose")).to_have_text(gone, timeout=SLOW)
            await expect(page.locator("#pools a")).to_have_count(1)
            await page.locator("#pools a").click()
            await seen.is_live()
            await expect(seen.worker("rest-0")).to_be_visible()


@needs_chromium
async def test_trouble_elsewhere_is_seen_on_a_phone(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        names = [f"a-pool-with-a-rather-long-name-{n:02}" for n in range(12)]
        workers = await serve(rig, *names)
        small = {"width": 375, "height": 740}
        async with tab(
            rig.balancer.ports[1], live=False, viewport=small, color_scheme="dark"
        ) as seen:
            page = seen.page
            await page.locator("#pools a").first.click()
            await seen.is_live()
            await shows(seen, names[0])
            assert await page.evaluate("document.documentElement.scrollWidth") <= small["width"]
            box = await page.locator("#pools").bounding_box()
            assert box is not None
            assert box["height"] < small["height"] / 2  # what it is about is seen, too
            await rig.apply(names[5], routes=[{"host": names[5]}], maxInFlight=1)
            pool = rig.balancer.pools.served[5].pool
            await eventually(lambda: pool.policy.max_in_flight == 1)
            held = [asyncio.create_task(rig.get("/hold", host=names[5])) for _ in range(3)]
            link = page.locator(f'#pools li[data-pool="{names[5]}"]')
            await expect(link).to_have_class("trouble", timeout=SLOW)
            await expect(link).to_contain_text("1 in flight, 2 waiting, 1 of 1 workers")
            workers[names[5]].release.set()
            await asyncio.gather(*held)
            await expect(link).not_to_have_class("trouble", timeout=SLOW)
            await seen.accessible()


async def test_top_lists_the_pools_and_shows_the_one_that_is_named(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        await serve(rig, "embed", "rest")
        code, told = await top(rig)
        assert code == 1
        assert "there are several pools: name one by --pool" in told
        assert re.search(r"^embed +0 +0 +1 of 1$", told, re.MULTILINE)
        assert re.search(r"^rest +0 +0 +1 of 1$", told, re.MULTILINE)
        code, told = await top(rig, "--pool=rest")
        assert code == 0
        assert "pool rest" in told


async def top(rig: Rig, *flags: str) -> tuple[int | None, str]:
    """Run `leastwise top --once`; return its exit code and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app", "top", "--once",
        f"--admin=http://127.0.0.1:{rig.balancer.ports[1]}", *flags,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(30):
        written, _ = await process.communicate()
    return process.returncode, written.decode()
