"""A link to one side of the protocol: it notes what is said there."""

from collections.abc import Sequence

from app.balancing.endpoint import Endpoint, EndpointSpec
from app.peers.messages import ForgetNames, Message, NameEndpoint, NamePool
from app.peers.names import Named, Names


class Said:
    """A `Link`; `heard` returns what was said since, `meant` without the names."""

    def __init__(self) -> None:
        self.heard_at = 0.0
        self.closed = False
        self.named = Named()
        self._said: list[Message] = []

    def send(self, message: Message) -> None:
        assert not self.closed
        self._said.append(message)

    def close(self) -> None:
        self.closed = True

    def heard(self) -> list[Message]:
        said, self._said = self._said, []
        for message in said:
            if isinstance(message, NamePool | NameEndpoint | ForgetNames):
                self.named.take(message)
        return said

    def meant(self) -> Sequence[Message]:
        names = NamePool | NameEndpoint | ForgetNames
        return [message for message in self.heard() if not isinstance(message, names)]

    def names(self) -> Names:
        return Names(self)

    @staticmethod
    def endpoint(identity: str, host: str = "10.0.0.1") -> Endpoint:
        return Endpoint(EndpointSpec(identity, host, 80, identity))
