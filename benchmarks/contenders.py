"""How each proxy is started: the same workers, kept connections on both sides, no access log.

The backend is one nginx with a small JSON. It listens on several loopback addresses, so that each
proxy has the same number of endpoints to choose from.
"""

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from benchmarks.machine import find, missing
from benchmarks.processes import Server, free_port

ENDPOINTS = tuple(f"127.0.0.{number}" for number in range(1, 5))
CAP = 32
"""Requests at once on an endpoint: together twice what wrk's connections can have in flight."""

NAMES = ("leastwise", "nginx", "haproxy", "aiohttp", "httpx")
"""All of them, in the order of the table; also the keys of the results."""

_NGINX = """
worker_processes 1; daemon off; pid {dir}/{name}.pid; error_log stderr warn;
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  {body}
}}
"""
_BACKEND = """
  server {{
    {listen}
    location / {{ default_type application/json; return 200 '{{"status":"DONE","in_flight":1}}'; }}
  }}
"""
_NGINX_PROXY = """
  upstream workers {{
    least_conn; {servers}
    keepalive 128; keepalive_requests 1000000000; keepalive_timeout 1h;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://workers; proxy_http_version 1.1;
      proxy_next_upstream error timeout http_503 non_idempotent;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Request-ID $request_id;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
    }}
    location /stream/ {{
      proxy_pass http://workers; proxy_http_version 1.1; proxy_set_header Connection "";
      client_max_body_size 0; proxy_request_buffering off; proxy_max_temp_file_size 0;
    }}
  }}
"""
_HAPROXY = """
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 10m
  timeout queue 10s
  timeout http-request 10s
  timeout http-keep-alive 1h
  retries 3
  retry-on conn-failure empty-response 503
  option redispatch
  option forwardfor
  option http-keep-alive
  http-reuse always
frontend clients
  bind 127.0.0.1:{port} backlog 4096
  unique-id-format %{{+X}}o%pid-%rt-%ci-%cp
  unique-id-header X-Request-ID
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  default_backend workers
backend workers
  balance leastconn
{servers}
"""


def backend(folder: Path) -> Server:
    """Return the worker that all of them proxy to."""
    port = free_port()
    listen = " ".join(f"listen {host}:{port} backlog=4096;" for host in ENDPOINTS)
    return _nginx(folder, "backend", port, _BACKEND.format(listen=listen))


def pool_spec(endpoints: list[str], **spec: object) -> dict[str, Any]:
    """Return the pool's file as the benchmarks have it: all that it can do is switched on."""
    return {
        "spec": {
            "endpoints": endpoints,
            "maxInFlight": CAP,
            "queue": {"size": 1000, "timeout": "10s"},
            "timeouts": {"firstByte": "60s", "betweenBytes": "60s", "request": "10m"},
            "retry": {"nonIdempotent": True, "refusedStatuses": [503]},
            "health": {"probe": {"path": "/", "interval": "1s", "timeout": "500ms"}},
            **spec,
        }
    }


def leastwise(
    folder: Path,
    pool: Mapping[str, Any],
    environ: Mapping[str, str] | None = None,
    name: str = "leastwise",
    program: str = "app",
) -> Server:
    """Return a balancer of ours with a pool's file; `environ` has further settings.

    `program` is the module to run: `benchmarks.plain` is the same without compiled parts.
    """
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(dict(pool)))
    port, admin = free_port(), free_port()
    command = [sys.executable, "-m", program, "serve", "--config", str(path)]
    command += ["--listen", f"127.0.0.1:{port}", "--admin-listen", f"127.0.0.1:{admin}"]
    return Server(name, [*command, "--log-level", "warning"], port, environ, admin)


def available(wanted: list[str]) -> list[str]:
    """Return which of the proxies can be had here, and say why others cannot."""
    programs = {"nginx": "nginx", "haproxy": "haproxy"}
    modules = {"aiohttp": "aiohttp", "httpx": "httpx"}
    without = missing([programs[name] for name in wanted if name in programs])
    found = []
    for name in wanted:
        if name in without:
            print(f"{name}: skipped, it is not installed")
        elif name in modules and find_spec(modules[name]) is None:
            print(f"{name}: skipped, PyPI's {name} is not installed")
        else:
            found.append(name)
    return found


def contender(name: str, folder: Path, workers: Server) -> Server:
    """Return a proxy by its name, in front of `workers`."""
    addresses = [f"{host}:{workers.port}" for host in ENDPOINTS]
    port = free_port()
    match name:
        case "leastwise":
            return leastwise(folder, pool_spec(addresses))
        case "nginx":
            servers = " ".join(f"server {address};" for address in addresses)
            return _nginx(folder, name, port, _NGINX_PROXY.format(servers=servers, port=port))
        case "haproxy":
            servers = "\n".join(
                f"  server w{n} {address} maxconn {CAP} pool-max-conn 128 check inter 1s"
                for n, address in enumerate(addresses)
            )
            path = folder / "haproxy.cfg"
            path.write_text(_HAPROXY.format(servers=servers, port=port))
            return Server(name, [find("haproxy") or "haproxy", "-f", str(path)], port)
        case "aiohttp" | "httpx":
            command = [sys.executable, "-m", "uvicorn", f"benchmarks.rivals.on_{name}:app"]
            command += ["--host", "127.0.0.1", "--port", str(port), "--no-access-log"]
            command += ["--loop", "uvloop", "--http", "httptools", "--log-level", "warning"]
            command += ["--timeout-keep-alive", "3600", "--backlog", "4096"]
            return Server(name, command, port, {"BENCH_WORKERS": ",".join(addresses)})
    raise ValueError(f"no contender is called {name!r}")


def _nginx(folder: Path, name: str, port: int, body: str) -> Server:
    home = folder / name
    home.mkdir(exist_ok=True)
    path = home / "nginx.conf"
    path.write_text(_NGINX.format(dir=home, name=name, body=body))
    return Server(name, [find("nginx") or "nginx", "-e", "stderr", "-c", str(path)], port)
