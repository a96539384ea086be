"""What a proxied request costs: leastwise and nginx side by side, saturated.

One backend (nginx with a small JSON), one load (wrk, 64 connections, POST with a small body), the
proxies in turns. CPU time is read from /proc, of the proxy's process alone. Absolute numbers vary
by machine; the ratio is what counts.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import sleep

ROUNDS = 3
SECONDS = 4
RESULTS = Path(__file__).parent / "results" / "proxy.json"
_TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")

_NGINX = """
worker_processes 1; daemon off; pid {dir}/{name}.pid; error_log {dir}/{name}.err;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 1h;
  client_body_temp_path {dir}; proxy_temp_path {dir};
  {body}
}}
"""
_BACKEND = """
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location / {{ default_type application/json; return 200 '{{"status":"DONE"}}'; }} }}
"""
_PROXY = """
  upstream workers {{ least_conn; server 127.0.0.1:{backend}; keepalive 128;
                      keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://workers; proxy_http_version 1.1;
      proxy_set_header Connection ""; proxy_set_header X-Request-ID $request_id;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}
"""
_POOL = """
spec:
  endpoints: ["127.0.0.1:{backend}"]
  maxInFlight: 100
  retry: {{nonIdempotent: true, refusedStatuses: [503]}}
"""
_LOAD = """
wrk.method = "POST"
wrk.body = '{"payload":"x"}'
wrk.headers["Content-Type"] = "application/json"
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@contextmanager
def running(command: list[str], port: int) -> Iterator[int]:
    """Run a server until the end of the block; give the pid that does the work."""
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            while process.poll() is None:
                with socket.socket() as sock:
                    if sock.connect_ex(("127.0.0.1", port)) == 0:
                        break
                sleep(0.02)
            else:
                raise RuntimeError(f"{command[0]} did not start")
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            yield int(children[0]) if children else process.pid
        finally:
            process.terminate()


def cpu_us(pid: int) -> tuple[float, float]:
    """Return the user and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) * _TICK_US, int(fields[12]) * _TICK_US


def measure(port: int, pid: int, script: Path) -> dict[str, float]:
    """Load one proxy; return its CPU per request and what wrk saw."""
    before = cpu_us(pid)
    command = ["wrk", "-t1", "-c64", f"-d{SECONDS}s", "--latency", "-s", str(script)]
    url = f"http://127.0.0.1:{port}/compute"
    out = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    after = cpu_us(pid)
    found = re.search(r"(\d+) requests in ([\d.]+)s", out)
    if found is None or "Non-2xx" in out or "Socket errors" in out:
        raise RuntimeError(out)
    requests = int(found[1])
    return {
        "user": (after[0] - before[0]) / requests,
        "system": (after[1] - before[1]) / requests,
        "rate": requests / float(found[2]),
    }


def main() -> None:
    missing = [name for name in ("nginx", "wrk") if shutil.which(name) is None]
    if missing:
        print(f"proxy: skipped, {' and '.join(missing)} missing (Debian: nginx-light, wrk)")
        return
    backend, nginx, leastwise, admin = (free_port() for _ in range(4))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "load.lua").write_text(_LOAD)
        (folder / "pool.yaml").write_text(_POOL.format(backend=backend))
        for server, body in {
            "backend": _BACKEND.format(port=backend),
            "proxy": _PROXY.format(backend=backend, port=nginx),
        }.items():
            config = _NGINX.format(dir=folder, name=server, body=body)
            (folder / f"{server}.conf").write_text(config)
        serve = [sys.executable, "-m", "app", "serve", "--config", str(folder / "pool.yaml")]
        serve += ["--listen", f"127.0.0.1:{leastwise}", "--admin-listen", f"127.0.0.1:{admin}"]
        with (
            running(["nginx", "-c", str(folder / "backend.conf")], backend),
            running(["nginx", "-c", str(folder / "proxy.conf")], nginx) as nginx_pid,
            running(serve, leastwise) as leastwise_pid,
        ):
            rounds: dict[str, list[dict[str, float]]] = {"nginx": [], "leastwise": []}
            for _ in range(ROUNDS):
                rounds["nginx"].append(measure(nginx, nginx_pid, folder / "load.lua"))
                rounds["leastwise"].append(measure(leastwise, leastwise_pid, folder / "load.lua"))
    report({who: {k: median(r[k] for r in rs) for k in rs[0]} for who, rs in rounds.items()})


def report(medians: dict[str, dict[str, float]]) -> None:
    """Print the table and keep the JSON."""
    base = medians["nginx"]["user"] + medians["nginx"]["system"]
    print(f"proxy: CPU per request, 64 connections, saturated, median of {ROUNDS}")
    for who, m in medians.items():
        total = m["user"] + m["system"]
        print(
            f"  {who:<10} {total:6.1f} µs (user {m['user']:.1f}, system {m['system']:.1f})"
            f" {total / base:5.2f}× nginx, {m['rate']:8.0f} requests/s"
        )
    RESULTS.parent.mkdir(exist_ok=True)
    cpu = {who: round(m["user"] + m["system"], 2) for who, m in medians.items()}
    rates = {who: round(m["rate"]) for who, m in medians.items()}
    RESULTS.write_text(
        json.dumps({"cpu_us_per_request": cpu, "requests_per_second": rates}, indent=2) + "\n"
    )
