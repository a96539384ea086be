"""Why a request got no slot, and what a caller did wrong. Raised or handed over by `Pool`."""


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not an error of ours
    """A request gets no slot. Answered 503 with Retry-After."""


class QueueFull(Refusal):
    """Every slot is taken and as many requests wait as `queue.size` allows."""


class QueueTimeout(Refusal):
    """The request waited as long as it may, and every slot stayed taken."""


class NoEndpoint(Refusal):
    """The request waited as long as it may, and no endpoint is in rotation."""


class LeaseReleasedError(RuntimeError):
    """A lease was released a second time: a bug of the caller, since counts would drift."""
