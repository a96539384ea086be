"""How many connections the process can hold: what the limit of open files allows."""

import resource

from app.probing.prober import MAX_SOCKETS

RESERVE = 96 + MAX_SOCKETS
"""Open files kept for everything but clients and workers: the checks and probes at their most, and
what the log, the event loop, the Kubernetes API, look-ups of names and the admin port need."""

_ENOUGH = 1 << 20
"""More open files than this are asked for by nobody; "unlimited" is taken for it."""


def raise_open_files() -> int:
    """Raise the soft limit of open files to the hard one; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else hard
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return min(soft, _ENOUGH) if soft != resource.RLIM_INFINITY else _ENOUGH
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def most_connections(open_files: int, wanted: int | None) -> int:
    """Return how many clients may be connected at once.

    Each may need a connection to a worker, so half of the files are theirs. `wanted` is the
    configured number; a greater one than the files allow is cut down to that.
    """
    possible = max(1, (open_files - RESERVE) // 2)
    return possible if wanted is None else min(wanted, possible)


def most_worker_connections(open_files: int, clients: int) -> int:
    """Return how many connections to workers there may be at once, those that are idle included.

    All that the clients leave, so that no client lacks one; beyond that an idle one has to go
    before another is opened.
    """
    return max(clients, open_files - RESERVE - clients)
