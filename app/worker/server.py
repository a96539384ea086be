"""The worker's process: its listening socket, its signals and its way out.

`run` is called by the CLI, in the main thread, and owns the process until it returns. Stdout
carries one line, the announcement that it listens; everything else goes to stderr. The signals
are ours, not uvicorn's, whose `serve()` raises them again at its end, so that a graceful exit
would be told as a death by SIGTERM.

On the first SIGTERM or SIGINT `/readyz` turns to 503 while requests are still taken for
`drain_seconds`, then the listening socket closes, what runs is finished, and the exit code is 0.
A second signal stops at once.
"""

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
import uvloop
from fastapi import FastAPI

from app.worker.api import create_app
from app.worker.journal import Journal
from app.worker.settings import WorkerSettings
from app.worker.tasks import Note, untold

EXIT_OK = 0
EXIT_NOT_STARTED = 1
EXIT_SIGNALLED = 128
"""Plus the signal's number, as a shell tells it: a second signal cut tasks short."""


def run(settings: WorkerSettings) -> int:
    """Serve until told to stop; return the process's exit code.

    0 after a graceful end, 1 if the address cannot be listened on or the journal not written, 128
    and the signal's number if a second signal cut it short.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    try:
        journal = settings.journal and Journal(settings.journal)
    except OSError as error:
        sys.stderr.write(f"cannot write {settings.journal}: {error.strerror}; give another file\n")
        return EXIT_NOT_STARTED
    try:
        listening = _bind(settings.host, settings.port)
    except OSError as error:
        sys.stderr.write(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; "
            "give another host or port\n"
        )
        return EXIT_NOT_STARTED
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings, listening, journal.note if journal else untold))


def _bind(host: str, port: int) -> socket.socket:
    """Bind without listening: until the app can answer, a connect is better refused."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        # A restarted worker takes its port back, though old connections linger in TIME_WAIT.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


async def _serve(settings: WorkerSettings, listening: socket.socket, note: Note) -> int:
    loop = asyncio.get_running_loop()
    draining = asyncio.Event()
    server = _Server(_uvicorn_config(create_app(settings, draining, note), settings))
    exit_code = EXIT_OK

    def on_signal(number: int) -> None:
        nonlocal exit_code
        if draining.is_set():
            exit_code = EXIT_SIGNALLED + number
            server.stop_now()
        else:
            draining.set()
            loop.call_later(settings.drain_seconds, server.stop)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    await server.serve(sockets=[listening])
    return exit_code


def _uvicorn_config(app: FastAPI, settings: WorkerSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        # h11 comes with uvicorn, and is strict: what is installed beside it changes nothing here.
        http="h11",
        ws="none",
        lifespan="off",
        proxy_headers=False,
        access_log=False,
        log_config=None,
        log_level="warning",
        timeout_keep_alive=settings.keep_alive_seconds,
    )


class _Server(uvicorn.Server):
    """uvicorn's server: it leaves the signals alone, announces itself, and can stop at once."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in sockets or ():
            _announce(listening)

    def stop(self) -> None:
        """Close the listening socket within 0.1 s, then return when nothing runs any more."""
        self.should_exit = True

    def stop_now(self) -> None:
        """Close everything: each handler sees its client gone, and stops as it does then."""
        self.should_exit = self.force_exit = True
        if self.started:
            for server in self.servers:
                server.close()
            for connection in tuple(self.server_state.connections):
                connection.transport.abort()


def _announce(listening: socket.socket) -> None:
    """Tell on stdout, as one line of JSON, that requests are taken; `monotonic` is in seconds."""
    host, port = listening.getsockname()[:2]
    line = {
        "event": "listening",
        "host": host,
        "port": port,
        "pid": os.getpid(),
        "monotonic": time.monotonic(),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
