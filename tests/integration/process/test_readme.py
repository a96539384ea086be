"""README.md: the commands of "Run it", as they are pasted, on free ports of this machine."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.integration.process.harness import LIMIT, free_port

README = (Path(__file__).parents[3] / "README.md").read_text()
INSTALL = "make venv && . .venv/bin/activate "


def test_what_is_pasted_runs(tmp_path: Path) -> None:
    section = README.split("## Run it\n")[1]
    (block, *_) = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    install, _, commands = block.partition("\n")
    assert install.startswith(INSTALL)  # that is what this test's own environment was made by
    ports = {port: str(free_port()) for port in ("8000", "8081", "8082", "9000")}
    commands = re.sub(r"(?<=[: ])(8000|808[12]|9000)\b", lambda port: ports[port[0]], commands)
    leastwise = tmp_path / "leastwise"
    leastwise.write_text(f'#!/bin/sh\nexec {sys.executable} -m app "$@"\n')
    leastwise.chmod(0o755)
    # The defaults, said otherwise: the ports may be taken here.
    here = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "LEASTWISE_LISTEN": f"127.0.0.1:{ports['8000']}",
        "LEASTWISE_ADMIN_LISTEN": f"127.0.0.1:{ports['9000']}",
        "LEASTWISE_ADMIN": f"http://127.0.0.1:{ports['9000']}",
    }
    log = tmp_path / "log"
    with log.open("w") as written:
        shell = subprocess.Popen(
            ["sh", "-ec", commands],
            cwd=tmp_path,
            env=os.environ | here,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            assert shell.wait(LIMIT) == 0, log.read_text()
        finally:
            os.killpg(shell.pid, signal.SIGKILL)
    said = log.read_text()
    (answer,) = re.findall(r'\{"uuid".*?\}', said)
    assert (json.loads(answer)["payload"], json.loads(answer)["status"]) == ("x", "DONE")
    assert said.count('"in_rotation":true') == 2
    assert "2 of 2 workers in rotation" in said
