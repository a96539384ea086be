"""A simulated cluster: an API server with faults on demand, and a kubelet that runs processes.

Run as `python -m tests.e2e.sim DIRECTORY`; `tests.e2e.simulated` starts and drives it.
"""
