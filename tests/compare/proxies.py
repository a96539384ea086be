"""The proxies that the cases are played against, each with one worker and little else configured.

What is set beyond the defaults: one worker, connections to it kept open (as leastwise does), and
timeouts of a second and a half, so that a case of a silent worker ends. Each case gets a proxy of
its own.
"""

import asyncio
import os
import re
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from shutil import which

import yaml

from app import __version__
from app.config.addresses import AddressPort
from app.config.loading import load_pool
from app.config.settings import Settings
from app.runtime.balancer import Balancer
from tests.integration.process.harness import free_port, until

_ANYWHERE = AddressPort("127.0.0.1", 0)

_NGINX = """
daemon off; {user}worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream workers {{ server {worker}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://workers;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_read_timeout 1500ms;
        }}
    }}
}}
"""

_HAPROXY = """
global
    maxconn 100
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 1500ms
frontend clients
    bind 127.0.0.1:{port}
    default_backend workers
backend workers
    server worker {worker}
"""

Start = Callable[[str, Path], AbstractAsyncContextManager[int]]
"""Starts a proxy of the worker at an address, with its files in a folder; gives its port."""


@asynccontextmanager
async def leastwise(worker: str, folder: Path) -> AsyncIterator[int]:
    """Run a balancer in this process; see at the end that nothing is left in it."""
    config = folder / "pool.yaml"
    spec = {"endpoints": [worker], "timeouts": {"firstByte": "1500ms"}}
    config.write_text(yaml.safe_dump({"spec": spec}))
    settings = Settings(config=config, listen=_ANYWHERE, admin_listen=_ANYWHERE)
    balancer = Balancer(settings, load_pool(config))
    running = asyncio.create_task(balancer.run())
    await until("the balancer is ready", lambda: running.done() or not balancer.unready())
    try:
        yield balancer.ports[0]
        pool, proxy = balancer.pool, balancer.proxy
        await until(
            "nothing runs, waits or is connected",
            lambda: not (pool.in_flight or pool.queued or proxy.downstreams),
        )
    finally:
        balancer.stop()
        await running


@asynccontextmanager
async def nginx(worker: str, folder: Path) -> AsyncIterator[int]:
    """Run nginx."""
    port = free_port()
    config = folder / "nginx.conf"
    user = "" if os.getuid() else "user root; "  # else it could not write in the folder
    config.write_text(_NGINX.format(folder=folder, worker=worker, port=port, user=user))
    async with _program(port, "nginx", "-p", str(folder), "-c", str(config), "-e", "stderr"):
        yield port


@asynccontextmanager
async def haproxy(worker: str, folder: Path) -> AsyncIterator[int]:
    """Run HAProxy."""
    port = free_port()
    config = folder / "haproxy.cfg"
    config.write_text(_HAPROXY.format(worker=worker, port=port))
    async with _program(port, "haproxy", "-db", "-q", "-f", str(config)):
        yield port


@asynccontextmanager
async def _program(port: int, *command: str) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await until(f"{command[0]} listens", lambda: _listens(process, port))
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _listens(process: asyncio.subprocess.Process, port: int) -> bool:
    assert process.returncode is None, "it has ended"
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


PROXIES: dict[str, Start] = {"leastwise": leastwise, "nginx": nginx, "HAProxy": haproxy}


def version(name: str) -> str | None:
    """Return a proxy's version; None if it is not installed."""
    if name == "leastwise":
        return __version__
    command = name.lower()
    if which(command) is None:
        return None
    told = subprocess.run([command, "-v"], capture_output=True, text=True, check=True)
    match = re.search(r"(\d+\.\d+\.\d+)", told.stdout + told.stderr)
    assert match is not None
    return match[1]
