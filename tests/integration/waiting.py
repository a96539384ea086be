"""How the tests on real sockets wait: for the thing itself."""

import asyncio
from collections.abc import Callable

LIMIT = 20.0
"""Seconds that anything may take: a guard, far above what it takes."""


async def eventually(predicate: Callable[[], object], what: str = "") -> None:
    """Wait until `predicate` is true."""
    try:
        async with asyncio.timeout(LIMIT):
            while not predicate():
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"not within {LIMIT:g} s: {what or predicate}") from None
