"""Sees to it that no process of the demo outlives it, even if the demo is killed with SIGKILL.

Run as `python -m app.demo.warden` in a process group of its own, which all other processes of the
demo then join. It waits for the end of its stdin, a pipe whose other end only the demo holds, so
that the kernel closes it however the demo ends. Then it kills the whole group, itself included:
stopped processes die of SIGKILL too, and the group's number cannot have passed to strangers while
the warden is in it.
"""

import os
import signal
import sys


def main() -> None:
    """Wait for the end of stdin, then kill the process group."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
