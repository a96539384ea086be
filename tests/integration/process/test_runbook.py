"""docs/runbook.md: the walk "why did this request take 17 s", done with its own commands.

Ten times as fast: the work takes 1.5 s. There are two balancers, as in the default installation,
and the request came to the second one, which is not the one that `deployment/lb` stands for.
`kubectl` is a stand-in that reads the balancers' logs from their files and runs what it is to run
in a pod here; the rest is as a person would type it.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from playwright.async_api import expect

from tests.integration.browser import CHROMIUM, SLOW, tab
from tests.integration.process.client import Connection, check, compute
from tests.integration.process.harness import Balancer, Programs, Worker

RUNBOOK = Path(__file__).parents[3] / "docs" / "runbook.md"
TASK = 1.5
IDENTIFIER = "why-17-s"
KEYED = "Idempotency-Key: yes"
KUBECTL = """\
#!/bin/sh
log() { sed "s|^|$2|" "$LOGS/$1.stderr"; }
case "$*" in
  "logs -l app.kubernetes.io/instance=lb,app.kubernetes.io/component=balancer --prefix --tail=-1")
    for pod in $PODS; do log "$pod" "[pod/$pod/balancer] "; done ;;
  "logs deployment/lb") log "${PODS%% *}" ;;
  "exec deployment/lb -- "* | "exec pod/"*)
    pod=${2#pod/}; [ "$2" = deployment/lb ] && pod=${PODS%% *}
    shift 3
    LEASTWISE_ADMIN=$(cat "$LOGS/$pod.admin") exec "$@" ;;
  *) echo "not known here: kubectl $*" >&2; exit 1 ;;
esac
"""


def commands() -> list[str]:
    """The commands of the first walk, in their order."""
    text = RUNBOOK.read_text()
    walk = text.split("## Why did this request take 17 s?")[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", walk, re.DOTALL)


class Shell:
    """A person's shell, in a folder of its own."""

    def __init__(self, folder: Path, pods: list[Balancer], forwarded: Balancer) -> None:
        self._folder = folder
        self._admin = f"127.0.0.1:{forwarded.admin_port}"
        for pod in pods:
            (folder / f"{pod.name}.admin").write_text(f"http://127.0.0.1:{pod.admin_port}")
        tools = folder / "tools"
        tools.mkdir()
        self._write(tools / "kubectl", KUBECTL)
        self._write(tools / "leastwise", f'#!/bin/sh\nexec {sys.executable} -m app "$@"\n')
        self._environment = os.environ | {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "LOGS": str(folder),
            "PODS": " ".join(pod.name for pod in pods),
        }

    def run(self, command: str) -> str:
        done = subprocess.run(
            ["sh", "-c", command.replace("localhost:9000", self._admin)],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)


async def test_why_did_this_request_take_so_long(programs: Programs) -> None:
    workers = await programs.workers(2, task_seconds=TASK, max_in_flight=1)
    spec = {"endpoints": [worker.address for worker in workers], "maxInFlight": 1}
    another = await programs.balancer(spec, access_log="true")
    balancer = await programs.balancer(spec, access_log="true")
    others = [await Connection.open(balancer.port) for _ in workers]
    for other in others:
        other.send(compute("other", KEYED))
    await balancer.sees("two running", lambda view: view["in_flight"] == 2)
    await workers[0].kill()  # its task is sent again, and waits for the other worker, as ours does
    await balancer.sees("one waiting", lambda view: view["queued"] == 1)
    async with await Connection.open(balancer.port) as ours:
        answer = await ours.ask(compute("ours", KEYED, f"X-Request-ID: {IDENTIFIER}"))
    check(answer, "ours")
    for other in others:
        check(await other.answer(), "other")
        other.close()
    head = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
    (programs.folder / "answer.txt").write_text(head)
    shell = Shell(programs.folder, [another, balancer], forwarded=balancer)
    ask, find, look, minutes, count = commands()
    the_answer_tells(await in_thread(shell, ask))
    pod = the_log_tells(await in_thread(shell, find))
    assert pod == f"pod/{balancer.name}"
    look, minutes = (said.replace("deployment/lb", pod) for said in (look, minutes))
    found = await in_thread(shell, look)
    assert re.search(rf"{re.escape(workers[0].address)}: \w+ -> ejected \(", found)
    if CHROMIUM:
        await the_dashboard_tells(balancer, workers[0])
    await in_thread(shell, minutes)
    rows = json.loads((programs.folder / "minutes.json").read_text())["last_minutes"]
    assert max(row["queued"] for row in rows) == 2
    assert {row["slots"] for row in rows} >= {1}
    figures = dict(line.rsplit(" ", 1) for line in (await in_thread(shell, count)).splitlines())
    assert figures['leastwise_slots{pool="test"}'] == "1.0"
    assert float(figures['leastwise_request_queue_seconds_sum{pool="test"}']) > TASK
    assert sum(float(n) for name, n in figures.items() if "ejections" in name) == 1


async def in_thread(shell: Shell, command: str) -> str:
    return await asyncio.to_thread(shell.run, command)


def the_answer_tells(said: str) -> None:
    assert "x-leastwise-attempts: 1" in said.lower()
    timing = dict(re.findall(r"(\w+);dur=([\d.]+)", said))
    assert float(timing["queue"]) > 1000 * TASK  # it waited: that is where the time went
    assert float(timing["worker"]) > 1000 * TASK * 0.9
    assert float(timing["queue"]) > float(timing["worker"]) * 0.9


def the_log_tells(said: str) -> str:
    """Return the pod that had the request, as the log's prefix names it."""
    (line,) = said.splitlines()
    prefix, _, told = line.partition(" ")
    fields: dict[str, Any] = json.loads(told)
    assert (fields["request_id"], fields["ending"], fields["attempts"]) == (IDENTIFIER, "--", 1)
    phases = {name: fields[name] for name in ("queue", "connect", "first_byte", "body")}
    assert max(phases, key=lambda name: phases[name]) == "queue"
    assert sum(phases.values()) <= fields["total"] + 0.001
    return prefix.strip("[]").rpartition("/")[0]


async def the_dashboard_tells(balancer: Balancer, gone: Worker) -> None:
    async with tab(balancer.admin_port) as seen:
        chart = seen.page.locator("figure").filter(has_text="Requests at workers and waiting")
        await expect(chart.locator("line.mark.ejected")).to_have_count(1, timeout=SLOW)
        await expect(seen.event("ejected", gone.address)).to_contain_text(
            re.compile("connection|check failed")
        )


def test_every_command_of_the_runbook_is_a_command() -> None:
    """The others need a cluster: what can be seen without is that a shell can read them."""
    blocks = re.findall(r"```sh\n(.*?)```", RUNBOOK.read_text(), re.DOTALL)
    assert len(blocks) >= 8
    for block in blocks:
        done = subprocess.run(["sh", "-n", "-c", block], check=False, capture_output=True)
        assert done.returncode == 0, done.stderr
