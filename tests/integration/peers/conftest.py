"""What the tests of replicas on real sockets share."""

import pytest

from tests.integration.peers.rig import Api


@pytest.fixture
def api() -> Api:
    """An API server without a Lease."""
    return Api()
