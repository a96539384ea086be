"""An event loop whose time stands still while anything can be done, and jumps when all wait."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits: what time it would have waited has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("everybody waits, and nothing will come")
            self.now += timeout
        return ready


class PausedLoop(asyncio.SelectorEventLoop):
    """Its time begins at 0 and is in seconds, as ever."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run_paused(main: Coroutine[Any, Any, T]) -> T:
    """Run it to its end, in no time."""
    with asyncio.Runner(loop_factory=PausedLoop) as runner:
        return runner.run(main)
