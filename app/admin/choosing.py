"""Which of several pools is meant, and each in a few figures, so that people can choose.

Called by all routes that show one pool, and by the dashboard's feed, which tells of the others too.
"""

from collections.abc import Sequence
from typing import TypedDict, TypeVar

from fastapi.responses import JSONResponse

from app.admin.view import Watched

P = TypeVar("P", bound=Watched)


class Brief(TypedDict):
    """One pool in a few figures."""

    name: str
    in_flight: int
    """Requests at workers, of all replicas where that is known."""

    queued: int
    """Requests that wait, likewise."""

    rotation: int
    """Workers that get new requests."""

    workers: int


class WhichPoolError(Exception):
    """None of the pools is meant: several and none was named, or no such one. Answered with 404."""

    def __init__(self, asked: str, pools: Sequence[Watched]) -> None:
        super().__init__(asked)
        self.asked = asked
        self.pools = briefs(pools)


def briefs(pools: Sequence[Watched]) -> list[Brief]:
    """Say of each pool what it is like, by name."""
    return sorted((_brief(each) for each in pools), key=lambda brief: brief["name"])


def choose(asked: str, pools: Sequence[P]) -> P:
    """Return the pool of that name; without one the only pool. Raises `WhichPoolError`."""
    found = [each for each in pools if asked in {"", each.pool.name}]
    if len(found) != 1:
        raise WhichPoolError(asked, pools)
    return found[0]


def answer(error: WhichPoolError) -> JSONResponse:
    """Say which pools there are."""
    names = ", ".join(brief["name"] for brief in error.pools) or "none"
    missing = f"there is no pool {error.asked}; " if error.asked else ""
    detail = f"{missing}add ?pool=NAME; the pools here: {names}"
    headers = {"Cache-Control": "no-store"}
    return JSONResponse({"detail": detail, "pools": error.pools}, 404, headers)


def _brief(watched: Watched) -> Brief:
    pool = watched.pool
    in_flight, queued = watched.load()
    return Brief(
        name=pool.name,
        in_flight=in_flight,
        queued=queued,
        rotation=len(pool.rotation),
        workers=len(pool.endpoints),
    )
