"""leastwise: a least-connections HTTP balancer for pools of Kubernetes worker pods."""

from importlib.metadata import version

__version__ = version("leastwise")
