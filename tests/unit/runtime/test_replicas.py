"""How the API's troubles reach the replicas."""

from typing import Any

import pytest

from app.discovery.source import Conflict, SourceError
from app.peers.store import ConflictError, StoreError
from app.runtime.replicas import _Store


class Failing:
    """A `LeaseApi` of which every call fails."""

    def __init__(self, error: SourceError) -> None:
        self._error = error

    async def read(self) -> None:
        raise self._error


async def told(error: SourceError) -> StoreError:
    api: Any = Failing(error)
    with pytest.raises(StoreError) as caught:
        await _Store(api).read()
    return caught.value


async def test_what_the_api_asks_for_is_passed_on() -> None:
    error = await told(SourceError("too many requests", retry_after=5.0))
    assert (str(error), error.retry_after) == ("too many requests", 5.0)


async def test_a_conflict_is_one() -> None:
    error = await told(Conflict("it was changed"))
    assert (type(error), str(error)) == (ConflictError, "it was changed")
