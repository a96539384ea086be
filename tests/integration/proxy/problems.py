"""What every answer of ours must be: a problem document (RFC 9457) with Proxy-Status (RFC 9209)."""

import json
import re

from tests.integration.proxy.wire import Response

ERRORS = frozenset(
    {"connection_refused", "connection_terminated", "connection_timeout", "destination_unavailable"}
    | {"connection_write_timeout", "http_protocol_error", "http_request_denied"}
    | {"http_request_error", "http_response_timeout", "proxy_internal_error"}
)
"""Of RFC 9209, section 2.3."""


def check(answer: Response, status: int, error: str) -> None:
    """See that it is a whole problem document of ours."""
    assert answer.status == status
    assert answer.get(b"content-type") == b"application/problem+json"
    said = re.fullmatch(rb"leastwise; error=([a-z_]+)", answer.get(b"proxy-status") or b"")
    assert said is not None
    assert said[1].decode() == error
    assert error in ERRORS
    problem = json.loads(answer.body)
    assert problem["status"] == status
    assert problem["title"].encode() == answer.reason
    assert problem["detail"]
    assert problem["request_id"].encode() == answer.get(b"x-request-id")
    assert answer.get(b"cache-control") == b"no-store"
    assert (answer.get(b"retry-after") is not None) == (status == 503)
    if status == 503:
        assert int(answer.get(b"retry-after") or b"") > 0
