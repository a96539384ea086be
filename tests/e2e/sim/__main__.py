"""The process: `python -m tests.e2e.sim DIRECTORY`, ended by the end of its stdin.

Prints one line of JSON with the control port's URL and the kubeconfig's path. The control port
takes `POST /operation` with a JSON object of arguments, and answers with the JSON result.
"""

import asyncio
import inspect
import json
import os
import sys
from pathlib import Path

import uvloop
from aiohttp import web

from tests.e2e.sim.cluster import OPERATIONS, Cluster


def _control(cluster: Cluster) -> web.Application:
    async def operate(request: web.Request) -> web.Response:
        operation = request.match_info["operation"]
        if operation not in OPERATIONS:
            raise web.HTTPNotFound
        try:
            result = getattr(cluster, operation)(**await request.json())
            if inspect.isawaitable(result):
                result = await result
        except Exception as error:  # the test is to see what is wrong
            return web.json_response(f"{type(error).__name__}: {error}", status=500)
        return web.json_response(result)

    app = web.Application()
    app.router.add_post("/{operation}", operate)
    return app


async def _end_of_stdin() -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    os.set_blocking(0, False)

    def readable() -> None:
        if not os.read(0, 1024):
            ended.set()

    loop.add_reader(0, readable)
    await ended.wait()
    loop.remove_reader(0)


async def main(folder: Path) -> None:
    """Simulate until stdin ends."""
    cluster = Cluster(folder)
    await cluster.start()
    runner = web.AppRunner(_control(cluster), shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        control = f"http://127.0.0.1:{runner.addresses[0][1]}"
        line = {"control": control, "kubeconfig": str(cluster.kubeconfig)}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        await _end_of_stdin()
    finally:
        await cluster.stop()
        await runner.cleanup()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loops:
        loops.run(main(Path(sys.argv[1])))
