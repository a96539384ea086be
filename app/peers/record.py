"""What stands in the Lease: who decides, in which term, and all replicas that may hold slots.

The Lease is written by compare-and-swap only, so that there is one arbiter in a term, and whoever
becomes it knows of every replica that may have been given something before. A replica stands here
before its first request.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

MEMBERS = "leastwise.io/members"
"""The annotation that holds the replicas."""

LEFT = "leastwise.io/left-with"
"""The annotation that holds what an arbiter that was cut off still holds."""

MOST_HELD = 100_000
"""Most slots of one endpoint that are believed."""

EXPIRY = 3.0
"""Seconds without a sign of the arbiter after which another takes its place."""


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

    left_with: Mapping[str, Mapping[str, int]] | None = None
    """While nobody decides since the arbiter found itself cut off: what that one still holds, slots
    by pool and endpoint. It has promised to use no others of its term."""

    left_by: str = ""
    """The id of that one."""

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
        return replace(self, holder=holder, term=term, left_with=None, left_by="")

    def left(self, held: Mapping[str, Mapping[str, int]]) -> "Record":
        """Let nobody decide for the moment; the holder tells what it still holds."""
        return replace(self, holder="", left_with=held, left_by=self.holder)


def read(lease: Mapping[str, Any]) -> tuple[Record, str]:
    """Return what a Lease says, and its version. Raises `RecordError`."""
    try:
        metadata, spec = lease["metadata"], lease.get("spec") or {}
        annotations = metadata.get("annotations") or {}
        term, holder = int(spec.get("leaseTransitions") or 0), spec.get("holderIdentity") or ""
        # A holder without members is somebody else's: then there has to be a list.
        listed = json.loads(annotations[MEMBERS] if holder else annotations.get(MEMBERS) or "[]")
        members = tuple(
            Member(str(m["id"]), str(m["pod"]), str(m["uid"]), str(m["address"])) for m in listed
        )
        by, held = "", None
        if LEFT in annotations:
            left = json.loads(annotations[LEFT])
            by, held = str(left["by"]), _held(left["held"])
        return Record(term, str(holder), members, held, by), str(metadata["resourceVersion"])
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise RecordError(
            f"the Lease holds what no balancer wrote ({error!r}): delete it"
        ) from error


def _held(said: dict[Any, Any]) -> dict[str, dict[str, int]]:
    """Read slots by pool and endpoint."""
    held = {str(pool): dict(slots) for pool, slots in said.items()}
    for slots in held.values():
        for identity, number in slots.items():
            if type(number) is not int or not 0 <= number <= MOST_HELD:
                raise ValueError(f"{number!r} slots of {identity}")
    return held


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
    annotations[MEMBERS] = json.dumps(listed, separators=(",", ":"))
    annotations.pop(LEFT, None)
    if record.left_by:
        left = {"by": record.left_by, "held": record.left_with}
        annotations[LEFT] = json.dumps(left, separators=(",", ":"))
    metadata["annotations"] = annotations
    spec = dict(base.get("spec") or {})
    stamp = f"{now:%Y-%m-%dT%H:%M:%S.%fZ}"
    if spec.get("leaseTransitions") != record.term or "acquireTime" not in spec:
        spec["acquireTime"] = stamp
    spec |= {
        "holderIdentity": record.holder,
        "leaseDurationSeconds": int(EXPIRY),
        "leaseTransitions": record.term,
        "renewTime": stamp,
    }
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": spec,
    }
