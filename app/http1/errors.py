"""What is wrong with a message."""


class ProtocolError(Exception):
    """The peer sent what is not HTTP/1.1, or not clearly so.

    `status` is what a client is answered; from a worker every protocol error is a 502.
    """

    def __init__(self, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
