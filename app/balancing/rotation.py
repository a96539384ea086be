"""The rotation: the endpoints that new requests may go to.

A part of `Pool`, which writes the facts (membership, health) into an endpoint and then calls
`follow`. In rotation are the primary endpoints; only if there are none, the other usable ones,
which are terminating. The picker has those of the rotation that are not withheld.
"""

from app.balancing.endpoint import Endpoint, Phase
from app.balancing.observers import PoolObserver
from app.balancing.picker import Picker


class Rotation:
    """Keeps rotation and picker in line with the endpoints' facts, and tells the observers."""

    def __init__(
        self, everyone: dict[str, Endpoint], picker: Picker, observers: list[PoolObserver]
    ) -> None:
        self.endpoints: set[Endpoint] = set()
        """Those in rotation."""

        self._everyone = everyone
        self._picker = picker
        self._observers = observers
        self._primaries: set[Endpoint] = set()
        self._paused: set[Endpoint] = set()

    def follow(self, endpoint: Endpoint, before: Phase | None, now: float) -> None:
        """Take in that the endpoint's facts have changed; `before` is the phase that it had."""
        were_primaries = bool(self._primaries)
        if endpoint.primary:
            self._primaries.add(endpoint)
        else:
            self._primaries.discard(endpoint)
        if bool(self._primaries) != were_primaries:  # the terminating ones step in, or back
            for other in self._everyone.values():
                self._place(other)
        self._place(endpoint)  # also one that has just been taken off `everyone`
        if endpoint.phase is not before:
            for observer in self._observers:
                observer.phase_changed(endpoint, before, now)

    def pause(self, endpoint: Endpoint, now: float, seconds: float) -> None:
        """Give the endpoint nothing for so long; a longer pause that runs goes on."""
        before = endpoint.phase
        until = now + seconds
        endpoint.resume_at = max(until, endpoint.resume_at or until)
        self._paused.add(endpoint)
        self.follow(endpoint, before, now)

    def resume(self, now: float) -> bool:
        """End the pauses that are over; return whether there were any."""
        resumed = [e for e in self._paused if e.resume_at is not None and e.resume_at <= now]
        for endpoint in resumed:
            before = endpoint.phase
            self.forget_pause(endpoint)
            self.follow(endpoint, before, now)
        return bool(resumed)

    def forget_pause(self, endpoint: Endpoint) -> None:
        """Drop the endpoint's pause; `follow` is to be called after it."""
        self._paused.discard(endpoint)
        endpoint.resume_at = None

    def _place(self, endpoint: Endpoint) -> None:
        """Put one endpoint into the rotation and the picker, or take it out of them."""
        if endpoint.primary or (endpoint.usable and not self._primaries):
            self.endpoints.add(endpoint)
        else:
            self.endpoints.discard(endpoint)
        pickable = endpoint in self.endpoints and not endpoint.withheld
        if pickable and endpoint not in self._picker:
            self._picker.add(endpoint)
        elif not pickable and endpoint in self._picker:
            self._picker.remove(endpoint)
