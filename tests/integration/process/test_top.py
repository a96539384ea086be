"""`leastwise top` in a real terminal, while its balancer goes and comes back."""

import asyncio
import fcntl
import os
import pty
import signal
import struct
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.integration.process.harness import Programs, free_port, until

ROWS, COLUMNS = 30, 120


class Terminal:
    """A process that believes a person looks at it; `text` is all that it has written."""

    def __init__(self, process: asyncio.subprocess.Process, master: int) -> None:
        self.process = process
        self.text = ""
        self._master = master

    def says(self, words: str) -> bool:
        """Read what has come; tell whether the words stand in it. What was read is then gone."""
        with suppress(BlockingIOError, OSError):
            while data := os.read(self._master, 65536):
                self.text += data.decode(errors="replace")
        found = words in self.text
        if found:
            self.text = ""
        return found


@contextmanager
def terminal_pair() -> Iterator[tuple[int, int]]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    os.set_blocking(master, False)
    try:
        yield master, slave
    finally:
        os.close(master)
        with suppress(OSError):
            os.close(slave)


async def test_it_follows_a_balancer_that_goes_and_comes_back(programs: Programs) -> None:
    workers = await programs.workers(2, task_seconds=0.05)
    spec = {"endpoints": [worker.address for worker in workers], "maxInFlight": 4}
    ports = {"listen": f"127.0.0.1:{free_port()}", "admin_listen": f"127.0.0.1:{free_port()}"}
    balancer = await programs.balancer(spec, **ports)
    with terminal_pair() as (master, slave):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-m", "app", "top",
            f"--admin=http://127.0.0.1:{balancer.admin_port}",
            stdin=slave, stdout=slave, stderr=slave, env=os.environ | {"TERM": "xterm"},
        )  # fmt: skip
        terminal = Terminal(process, master)
        try:
            await until("it is live", lambda: terminal.says("● live"))
            await until("the workers are there", lambda: terminal.says(workers[1].address))
            await balancer.kill()
            await until("it waits", lambda: terminal.says("trying again"))
            await programs.balancer(spec, **ports)
            await until("it is live again", lambda: terminal.says("● live"))
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(30):
                assert await process.wait() == 0
            assert "Traceback" not in terminal.text
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_without_a_balancer_it_says_so_and_leaves() -> None:
    with terminal_pair() as (master, slave):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app", "top", "--admin=http://127.0.0.1:1",
            stdin=slave, stdout=slave, stderr=slave, env=os.environ | {"TERM": "xterm"},
        )  # fmt: skip
        async with asyncio.timeout(30):
            assert await process.wait() == 1
        terminal = Terminal(process, master)
        await until("it said why", lambda: terminal.says("no balancer answers at"))
