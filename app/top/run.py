"""Runs `leastwise top`: once for a script, or until Ctrl-C for a person. Called by the CLI."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress

from rich.console import Console
from rich.live import Live

from app.top.feed import FeedError, Picture, WhichPoolError, messages
from app.top.screen import draw, draw_pools

Token = Callable[[], str | None]
"""What tells the admin token, if there is one: asked at each connection, since it may change."""

_PIPED = 160
"""Columns where there is no terminal."""

EXIT_SHOWN, EXIT_FAILED = 0, 1
_RETRY = 1.0
"""Seconds between two tries to come back."""


def once(admin: str, token: Token, pool: str, *, output: str, order: str) -> int:
    """Print how things stand now, as a table or as JSON; return the exit code."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPED)
    try:
        picture = asyncio.run(_first(admin, token, pool))
    except FeedError as error:
        return _failed(error)
    if output == "json":
        print(json.dumps(picture.as_json(), indent=2))  # noqa: T201 - for a script
    else:
        console.print(draw(picture, order, console.width))
    return EXIT_SHOWN


def live(admin: str, token: Token, pool: str, *, order: str) -> int:
    """Show it until Ctrl-C; return the exit code. A balancer that goes is waited for."""
    console = Console()
    with suppress(KeyboardInterrupt):
        return asyncio.run(_follow(console, admin, token, pool, order))
    return EXIT_SHOWN


async def _first(admin: str, token: Token, pool: str) -> Picture:
    picture = Picture()
    feed = messages(admin, token(), pool)
    async for message in feed:
        picture.take(message)
        return picture
    raise FeedError(f"{admin} tells nothing")


async def _follow(console: Console, admin: str, token: Token, pool: str, order: str) -> int:
    picture = Picture()
    with Live(console=console, auto_refresh=False, screen=True) as screen:

        def show(lost: str = "") -> None:
            screen.update(draw(picture, order, console.width, console.height, lost), refresh=True)

        while True:
            try:
                async for message in messages(admin, token(), pool):
                    picture.take(message)
                    show()
            except FeedError as error:
                if not picture.pool:  # it never began: say why, and leave
                    screen.stop()
                    return _failed(error)
                show(f"{error}, trying again")
            else:
                show("the balancer has ended, trying again")
            await asyncio.sleep(_RETRY)


def _failed(error: FeedError) -> int:
    """Say why nothing is shown, and what there is to choose from; return the exit code."""
    console = Console(stderr=True)
    console.print(f"leastwise: {error}", markup=False, soft_wrap=True)
    if isinstance(error, WhichPoolError) and error.pools:
        console.print(draw_pools(error.pools))
    return EXIT_FAILED
