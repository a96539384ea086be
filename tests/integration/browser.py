"""A real Chromium on the dashboard of a real balancer: what a person would see, asked by a test."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, Request, async_playwright, expect

CHROMIUM = shutil.which("chromium")
IMAGES = os.environ.get("SCREENSHOTS", "")
"""Where screenshots go; none are taken if it is empty. `make screenshots` sets it."""

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium: `apt-get install chromium`"
)
SLOW = 30_000
"""Milliseconds that anything may take to be seen: a guard, far above what it takes."""


class Seen:
    """One tab, and what went wrong on it."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.strangers: list[str] = []
        """What was asked of others than the balancer."""

        self.errors: list[str] = []
        self._base = base
        page.on("request", self._requested)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _requested(self, request: Request) -> None:
        if not request.url.startswith(self._base):
            self.strangers.append(request.url)

    def worker(self, name: str) -> Any:
        """Return its row."""
        return self.page.locator(f'tr[data-worker="{name}"]')

    def event(self, kind: str, text: str) -> Any:
        """Return the events of that kind that say so."""
        return self.page.locator(f'#events li[data-kind="{kind}"]').filter(has_text=text)

    def tile(self, name: str) -> Any:
        """Return the figure of that name."""
        return self.page.locator(f'[data-tile="{name}"] dd span')

    async def is_live(self) -> None:
        """Wait until it follows the balancer."""
        await expect(self.page.locator("#status")).to_have_text("live", timeout=SLOW)

    async def accessible(self) -> None:
        """Fail on whatever axe-core finds to be in the way of somebody."""
        found = await Axe().run(self.page)
        assert found.violations_count == 0, found.generate_report()

    async def screenshot(self, name: str) -> None:
        """Take a picture for the documentation, if pictures are wanted."""
        if IMAGES:
            await self.page.screenshot(path=Path(IMAGES) / f"{name}.png", full_page=True)


@asynccontextmanager
async def tab(
    port: int, *, host: str = "127.0.0.1", live: bool = True, **context: Any
) -> AsyncIterator[Seen]:
    """Open the dashboard on an admin port; nothing may have gone wrong on it by the end."""
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"]
        )
        try:
            page = await browser.new_page(**context)
            page.set_default_timeout(SLOW)
            base = f"http://{host}:{port}/"
            seen = Seen(page, base)
            await page.goto(base)
            if live:
                await seen.is_live()
            yield seen
            assert seen.errors == []
            assert seen.strangers == []
        finally:
            await browser.close()
