"""What stands in the Lease: who decides, in which term, and all replicas that may hold slots.

The Lease is written by compare-and-swap only, so that there is one arbiter in a term, and whoever
becomes it knows of every replica that may have been given something before. A replica stands here
before its first request.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import ceil, isfinite
from typing import Any

MEMBERS = "leastwise.io/members"
"""The annotation that holds the replicas."""

YIELDED_WITH = "leastwise.io/yielded-with"
"""The annotation that holds the books of an arbiter that was cut off, and its term.

A build that does not know it leaves it where it is: so the term says whether it still counts."""

MOST_HELD = 100_000
"""Most slots of one endpoint that are believed."""

MOST_SECONDS = 1_000_000_000
"""Longest time that is believed."""

MOST_BOOKS = 128 * 1024
"""Bytes of books that are written: all annotations of an object have 256 KiB together."""

MOST_TERM = 2**31 - 2
"""The highest term that is believed: the Lease has 31 bits, and another has to come after it."""

EXPIRY = 3.0
"""Seconds without a sign of the arbiter after which another takes its place."""


Held = Mapping[str, Mapping[str, tuple[int | None, ...]]]
"""Slots, by pool and endpoint: the seconds, rounded up, after which each is free; None if nothing
limits it."""


class RecordError(ValueError):
    """The Lease holds what no replica wrote; the message says what."""


@dataclass(frozen=True, slots=True)
class Member:
    """One replica, from the start of its process to its end."""

    id: str
    """Made anew at each start."""

    pod: str
    """The pod's name."""

    uid: str
    """The pod's UID: two processes of one pod are one after the other."""

    address: str
    """host:port where others reach it."""


@dataclass(frozen=True, slots=True)
class Record:
    """The Lease's content."""

    term: int
    holder: str
    """The id of the arbiter; empty if it has stepped down without a successor."""

    members: tuple[Member, ...]
    """In the order in which they joined."""

    yielded_with: Mapping[str, Held] | None = None
    """While nobody decides since the arbiter found itself cut off: its books, by the ids of the
    members that it knows about, itself among them. It has promised to give nothing more."""

    renewed: str = field(default="", compare=False)
    """When the arbiter last wrote it, by the arbiter's own clock: a text that changes as long as it
    lives. What is written with an empty one is the arbiter's word, and gets a new one."""

    def member(self, member_id: str) -> Member | None:
        """Return the member of that id."""
        return next((member for member in self.members if member.id == member_id), None)

    def joined_by(self, member: Member) -> "Record":
        """Add a member. An older process of the same pod is dead then, but its slots may not be."""
        return replace(self, members=(*self.members, member))

    @property
    def outlived(self) -> frozenset[str]:
        """The ids of members whose pod has a newer process."""
        latest = {member.uid: member.id for member in self.members}
        return frozenset(m.id for m in self.members if latest[m.uid] != m.id)

    def without(self, ids: frozenset[str]) -> "Record":
        """Take those members out."""
        return replace(self, members=tuple(m for m in self.members if m.id not in ids))

    def held_by(self, holder: str, term: int) -> "Record":
        """Let another decide."""
        return replace(self, holder=holder, term=term, renewed="", yielded_with=None)

    def yielded(self, books: Mapping[str, Held]) -> "Record":
        """Let nobody decide for the moment; the holder leaves its books."""
        return replace(self, holder="", renewed="", yielded_with=books)


def read(lease: Mapping[str, Any]) -> tuple[Record, str]:
    """Return what a Lease says, and its version. Raises `RecordError`."""
    try:
        metadata, spec = lease["metadata"], lease.get("spec") or {}
        annotations = metadata.get("annotations") or {}
        term, holder = _read_term(spec), spec.get("holderIdentity") or ""
        # A holder without members is somebody else's: then there has to be a list.
        listed = json.loads(annotations[MEMBERS] if holder else annotations.get(MEMBERS) or "[]")
        members = tuple(
            Member(str(m["id"]), str(m["pod"]), str(m["uid"]), str(m["address"])) for m in listed
        )
        books = None
        if YIELDED_WITH in annotations and not holder:
            said = json.loads(annotations[YIELDED_WITH])
            if said.get("term") == term:  # else another has decided since
                books = {str(member): _read_held(held) for member, held in said["books"].items()}
        renewed = str(spec.get("renewTime") or "")
        record = Record(term, str(holder), members, books, renewed)
        return record, str(metadata["resourceVersion"])
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise RecordError(
            f"the Lease holds what no balancer wrote ({error!r}): delete it"
        ) from error


def sum_up(slots: Iterable[tuple[str, str, float]], now: float) -> Held:
    """Put slots together, each said as its pool, its endpoint, and when it is free at the latest.

    What is past that time is left out: another may have it already.
    """
    found: dict[str, dict[str, tuple[int | None, ...]]] = {}
    for pool, endpoint, until in slots:
        if until > now:
            seconds = ceil(until - now) if isfinite(until) else None
            at = found.setdefault(pool, {})
            at[endpoint] = (*at.get(endpoint, ()), seconds)
    return found


def _read_term(spec: Mapping[str, Any]) -> int:
    term = int(spec.get("leaseTransitions") or 0)
    if not 0 <= term <= MOST_TERM:
        raise ValueError(f"a term of {term}")
    return term


def _read_held(said: dict[Any, Any]) -> Held:
    held = {
        str(pool): {str(endpoint): tuple(times) for endpoint, times in slots.items()}
        for pool, slots in said.items()
    }
    for slots in held.values():
        for endpoint, times in slots.items():
            good = all(t is None or (type(t) is int and 0 <= t <= MOST_SECONDS) for t in times)
            if not good or len(times) > MOST_HELD:
                raise ValueError(f"what is held of {endpoint}")
    return held


def _write_books(books: Mapping[str, Held], term: int) -> str:
    """Write what there is place for: of whom nothing is said, nothing is known."""
    written: dict[str, Held] = {}
    said = {"term": term, "books": written}
    length = len(_compact(said))
    for member, held in books.items():
        length += len(_compact({member: held}))
        if length <= MOST_BOOKS:
            written[member] = held
    return _compact(said)


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def write(
    record: Record, name: str, now: datetime, base: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the Lease as it is to be; `base` is the state that was read, None if there is none."""
    base = base or {}
    metadata = dict(base.get("metadata") or {"name": name})
    metadata.pop("managedFields", None)
    listed = [
        {"id": m.id, "pod": m.pod, "uid": m.uid, "address": m.address} for m in record.members
    ]
    annotations = dict(metadata.get("annotations") or {})
    annotations[MEMBERS] = _compact(listed)
    annotations.pop(YIELDED_WITH, None)
    if record.yielded_with is not None:
        annotations[YIELDED_WITH] = _write_books(record.yielded_with, record.term)
    metadata["annotations"] = annotations
    spec = dict(base.get("spec") or {})
    stamp = f"{now:%Y-%m-%dT%H:%M:%S.%fZ}"
    if spec.get("leaseTransitions") != record.term or "acquireTime" not in spec:
        spec["acquireTime"] = stamp
    spec |= {
        "holderIdentity": record.holder,
        "leaseDurationSeconds": int(EXPIRY),
        "leaseTransitions": record.term,
        "renewTime": record.renewed or stamp,
    }
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": spec,
    }
