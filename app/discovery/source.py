"""What stands on both sides of a list-watch: who asks the API server, and who keeps the objects.

`list_watch` is written against these; `api_source` asks over HTTP, `kubernetes` keeps slices. The
errors are those of all who ask, `leases` too.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

Object = dict[str, Any]
"""An object of the API, or an event of a watch, as its JSON reads."""


class SourceError(Exception):
    """The API server was not reached, refused, or told nonsense. The text is for people."""

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds for which the server wants to be left alone."""


class Gone(SourceError):  # noqa: N818 - as HTTP calls it
    """The version, or the page of a list, is no longer known to the server."""


class Conflict(SourceError):  # noqa: N818 - as HTTP calls it
    """The object has changed since it was read, or is there already."""


class Missing(SourceError):  # noqa: N818 - beside Gone, which is something else
    """The server says of that very object that it is not there."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list."""

    items: Sequence[Object]
    version: str
    """The resource version of the whole list: where a watch goes on."""

    token: str = ""
    """What the next page is asked with; empty after the last."""


class Source(Protocol):
    """Asks the API server. Everything raises `SourceError` and nothing else."""

    async def list_page(self, token: str) -> Page:
        """Ask for the page that `token` stands for, of the most recent state if it is empty."""

    def watch(
        self, version: str, seconds: int
    ) -> AbstractAsyncContextManager[AsyncIterator[Object]]:
        """Watch what happens after `version`; entered when the server has begun to answer.

        The iterator yields events as they are, bookmarks too, and ends when the server ended the
        watch in order. `seconds`: how long the server shall let it last.
        """


class Store(Protocol):
    """Keeps the objects. Called in the loop's thread; what it raises ends the list-watch."""

    def replace(self, objects: Sequence[Object]) -> None:
        """These are all objects."""

    def put(self, obj: Object) -> None:
        """Take in a new object, or a new state of a known one."""

    def remove(self, obj: Object) -> None:
        """Forget an object; its last state is given."""
