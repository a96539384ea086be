"""Follows the pool's file: what changes in it is told, what is wrong with it is told once.

Called by `app.runtime`. The pool in force stays in force until a good one takes its place.

Why the file is read again and again, and not watched with inotify: on Kubernetes it comes from a
ConfigMap, a directory of symlinks of which the kubelet swaps one. An inotify watch of the file
follows the old inode and never fires again, network and overlay file systems send no events at
all, and a lost event is lost for good. Why its bytes are compared, and not its times: two writes
within one tick of the file system's clock, of the same length, differ in nothing else. A read a
second of a small file that is in the page cache costs some 50 microseconds, in a thread.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from app.config.errors import ConfigError
from app.config.loading import parse_pool, read_pool_file
from app.config.workerpool import WorkerPool


class PoolFile:
    """The file at `path`, and what of it is in force. Not for two threads at once."""

    def __init__(self, path: Path, in_force: WorkerPool | None = None) -> None:
        self.path = path
        self.in_force = in_force
        self.complaint: ConfigError | None = None
        """Why the file as it stands is not in force; None if it is."""

        self._seen: bytes | str | None = None
        """The content that was last judged, or the reason why there was none."""

    def check(self) -> WorkerPool | None:
        """Look at the file now.

        Returns the pool if it differs from the one in force, which it thereby becomes; None if
        there is nothing new. Raises ConfigError if the file cannot be accepted, once for each
        content and each reason why there is none.
        """
        content: bytes | None = None
        try:
            content = read_pool_file(self.path)
            if content == self._seen:
                return None
            pool = parse_pool(content, str(self.path))
        except ConfigError as error:
            seen = str(error) if content is None else content
            if seen == self._seen:
                return None
            self._seen, self.complaint = seen, error
            raise
        self._seen, self.complaint = content, None
        if pool == self.in_force:
            return None
        self.in_force = pool
        return pool


async def watch_pool(
    path: Path,
    *,
    on_change: Callable[[WorkerPool], None],
    on_error: Callable[[ConfigError], None],
    interval: float = 1.0,
    in_force: WorkerPool | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Follow the file until cancelled, looking at it every `interval` seconds, at once first.

    `in_force` is the pool that the caller has already: `on_change` hears of what differs from it.
    Both callbacks run in the event loop.
    """
    file = PoolFile(path, in_force)
    while True:
        try:
            # In a thread: a file system may hang, and requests should not.
            pool = await asyncio.to_thread(file.check)
        except ConfigError as error:
            on_error(error)
        else:
            if pool is not None:
                on_change(pool)
        await sleep(interval)
