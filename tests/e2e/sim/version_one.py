"""A balancer of an older release: of the replicas' protocol it speaks the first version only.

Run in place of `app`, as `python -m tests.e2e.sim.version_one serve ...`.
"""

from unittest.mock import patch

from app.cli import main
from app.peers import wire

VERSIONS = (1, 1)

if __name__ == "__main__":
    with patch.object(wire, "VERSIONS", VERSIONS):
        main()
