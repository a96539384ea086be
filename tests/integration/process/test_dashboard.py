"""The dashboard in a real browser, while workers are killed and the balancer is started anew."""

import re
import signal
from typing import Any

from playwright.async_api import expect

from tests.integration.browser import SLOW, Seen, needs_chromium, tab
from tests.integration.process.harness import Balancer, Programs, Worker, free_port, until
from tests.integration.process.load import Load

pytestmark = needs_chromium

CAP = 4
TOKEN = "0123456789abcdef0123456789abcdef"
KEYED = "Idempotency-Key: yes"


def pool(workers: list[Worker], **more: Any) -> dict[str, Any]:
    return {"endpoints": [worker.address for worker in workers], "maxInFlight": CAP} | more


async def phase(seen: Seen, worker: Worker, wanted: str) -> None:
    await expect(seen.worker(worker.address).locator(".chip")).to_have_text(wanted, timeout=SLOW)


async def draws(seen: Seen) -> None:
    """Wait until the first chart has a line."""
    await expect(seen.page.locator("svg.chart path").first).to_have_attribute(
        "d", re.compile(r"^M[\d.]+ [\d.]+.*L"), timeout=SLOW
    )


async def test_what_a_person_sees_of_a_kill_and_a_restart(programs: Programs) -> None:
    workers = await programs.workers(5, task_seconds=0.2, max_in_flight=CAP)
    ports = {"listen": f"127.0.0.1:{free_port()}", "admin_listen": f"127.0.0.1:{free_port()}"}
    balancer = await programs.balancer(pool(workers), **ports)
    async with tab(balancer.admin_port) as seen, Load(balancer.port, 12, KEYED) as load:
        await load.more(30)
        await before_the_kill(seen, workers)
        await the_kill(seen, workers[0], programs)
        await the_return(seen, workers[0])
        await everybody_dies(seen, workers, programs)
        assert load.failures == []
        await a_reload(seen, workers)
    async with tab(balancer.admin_port) as seen:
        await the_balancer_starts_anew(seen, balancer, programs, workers, ports)


async def before_the_kill(seen: Seen, workers: list[Worker]) -> None:
    for worker in workers:
        await phase(seen, worker, "ready")
        load = seen.worker(worker.address).locator(".load span")
        await expect(load).to_have_text(re.compile(r"^[0-4] of 4$"))
    await expect(seen.tile("workers in rotation")).to_have_text("5")
    await expect(seen.tile("in flight")).to_have_text(re.compile(r"^(9|1[0-2])$"), timeout=SLOW)
    meter = seen.worker(workers[0].address).get_by_role("meter")
    await expect(meter).to_have_attribute("aria-valuemax", "4")
    await expect(seen.page.locator("#troubles")).to_be_hidden()
    await draws(seen)


async def the_kill(seen: Seen, worker: Worker, programs: Programs) -> None:
    await worker.kill()
    await phase(seen, worker, "ejected")
    row = seen.worker(worker.address)
    await expect(row).to_contain_text(re.compile("connection|check failed"))
    await expect(row).to_contain_text(", for ")  # it says since when
    await expect(seen.event("ejected", worker.address)).to_have_count(1)
    await expect(seen.tile("workers in rotation")).to_have_text("4")
    await expect(seen.page.get_by_role("log")).to_contain_text(f"{worker.address} ejected")
    await seen.page.locator("#phase").select_option("trouble")
    await expect(seen.page.locator("#table tbody tr")).to_have_count(1)
    await seen.page.locator("#phase").select_option("")
    await seen.screenshot("dashboard")
    await programs.again(worker, task_seconds=0.2, max_in_flight=CAP)


async def the_return(seen: Seen, worker: Worker) -> None:
    await phase(seen, worker, "ready")
    back = seen.event("back", worker.address)
    await expect(back).to_have_text(re.compile(r"back after [\d.]+ (ms|s)$"))
    await expect(seen.tile("workers in rotation")).to_have_text("5")
    load = seen.worker(worker.address).locator(".load span")
    await expect(load).to_have_text(re.compile("^[1-4] of 4$"), timeout=SLOW)  # it works again


async def everybody_dies(seen: Seen, workers: list[Worker], programs: Programs) -> None:
    for worker in workers:
        # The first one's process is another by now: it goes by its address.
        for program in programs.living(worker.address):
            await program.kill()
    await expect(seen.page.get_by_role("alert")).to_contain_text("No worker is in rotation")
    await expect(seen.tile("waiting")).to_have_text("12", timeout=SLOW)
    for worker in workers:
        await programs.again(worker, task_seconds=0.2, max_in_flight=CAP)
    await expect(seen.page.locator("#troubles")).to_be_hidden(timeout=SLOW)
    await expect(seen.tile("waiting")).to_have_text("0", timeout=SLOW)
    for worker in workers:
        await phase(seen, worker, "ready")


async def a_reload(seen: Seen, workers: list[Worker]) -> None:
    """All that happened is still there: the balancer keeps it."""
    events = await seen.page.locator("#events li").count()
    await seen.page.reload()
    await seen.is_live()
    await draws(seen)
    await expect(seen.page.locator("#events li")).to_have_count(events)
    await expect(seen.event("ejected", workers[0].address)).to_have_count(2)


async def the_balancer_starts_anew(
    seen: Seen,
    balancer: Balancer,
    programs: Programs,
    workers: list[Worker],
    ports: dict[str, str],
) -> None:
    await draws(seen)
    await balancer.kill()
    status = seen.page.get_by_role("status")
    await expect(status).to_have_text("no connection, trying again …")
    await phase(seen, workers[0], "ready")  # what was seen last stays, and looks old
    assert await seen.page.locator("body").get_attribute("class") == "stale"
    second = await programs.balancer(pool(workers), **ports)
    await seen.is_live()
    await expect(seen.event("balancer", "started")).to_have_count(2)
    await expect(seen.event("ejected", workers[0].address)).to_have_count(2)  # the page remembers
    await expect(seen.page.locator("#table tbody tr")).to_have_count(5)
    async with Load(second.port, 8, KEYED) as load:
        await load.more(8)
        await expect(seen.tile("in flight")).to_have_text(re.compile("^[1-8]$"), timeout=SLOW)
    second.signal(signal.SIGTERM)
    await expect(seen.event("balancer", "stopping")).to_have_count(1)
    assert await second.end() == 0  # who watches does not hold it up
    await until("the page has noticed", lambda: seen.page.locator(".stale").count())


async def test_five_hundred_workers_on_a_small_screen(programs: Programs) -> None:
    endpoints = [f"127.9.{n // 250}.{n % 250 + 1}:9" for n in range(500)]
    balancer = await programs.balancer({"endpoints": endpoints, "maxInFlight": CAP})
    small = {"width": 375, "height": 740}
    async with tab(balancer.admin_port, viewport=small, color_scheme="dark") as seen:
        page = seen.page
        rows = page.locator("#table tbody tr")
        await expect(rows).to_have_count(500)
        await expect(page.locator("#map i")).to_have_count(500)
        await expect(seen.event("joined", "500 workers: new -> ready")).to_have_count(1)
        assert await page.evaluate("document.documentElement.scrollWidth") <= small["width"]
        await page.locator("#find").fill("127.9.1.17")
        await expect(rows).to_have_count(11)  # .17, and .170 to .179
        await seen.accessible()
        await seen.screenshot("dashboard-phone")


async def test_by_keyboard_and_for_everybody(programs: Programs) -> None:
    workers = await programs.workers(2, task_seconds=0.05)
    balancer = await programs.balancer(pool(workers))
    async with tab(balancer.admin_port, color_scheme="light") as seen:
        page = seen.page
        await draws(seen)
        await seen.accessible()
        await page.keyboard.press("Tab")
        await expect(page.get_by_text("To the workers")).to_be_focused()
        await page.keyboard.press("/")
        await expect(page.get_by_label("Find")).to_be_focused()
        await page.keyboard.type(workers[0].address)
        await expect(page.locator("#table tbody tr")).to_have_count(1)
        chart = page.get_by_role("img").first
        await chart.focus()
        await page.keyboard.press("ArrowLeft")
        await expect(page.get_by_role("log")).to_contain_text("in flight")
        light = await background(seen)
        await page.get_by_role("button", name="Theme: system").press("Enter")  # light
        assert await background(seen) == light
        await page.get_by_role("button", name="Theme: light").press("Enter")
        dark = await background(seen)
        assert dark != light
        await seen.accessible()
        await page.reload()
        assert await background(seen) == dark  # it is remembered
        await seen.is_live()
        await seen.screenshot("dashboard-dark")


async def test_it_asks_for_the_token_that_the_port_wants(programs: Programs) -> None:
    workers = await programs.workers(1, task_seconds=0.05)
    programs.environment["LEASTWISE_ADMIN_TOKEN"] = TOKEN
    balancer = await programs.balancer(pool(workers))
    async with tab(balancer.admin_port, live=False) as seen:
        page = seen.page
        await expect(page.get_by_role("dialog")).to_be_visible()
        await expect(page.locator("#table tbody tr")).to_have_count(0)
        await page.locator("#token").fill("not this one, but as long as a token has to be")
        await page.get_by_role("button", name="Go on").click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        await page.locator("#token").fill(TOKEN)
        await page.keyboard.press("Enter")
        await seen.is_live()
        await phase(seen, workers[0], "ready")
        await page.reload()
        await seen.is_live()  # it is remembered in this tab
        await expect(page.get_by_role("dialog")).to_be_hidden()


async def background(seen: Seen) -> str:
    colour: str = await seen.page.evaluate(
        "getComputedStyle(document.documentElement).backgroundColor"
    )
    return colour
