"""The command line: one program, its roles by subcommand.

Each setting of `serve` is a flag and a `LEASTWISE_*` variable, and the flag wins; a secret is a
variable only.
"""

import os
import signal
import sys
from pathlib import Path

import click

from app import __version__
from app.config.errors import ConfigError

EXIT_MISUSED = 2
"""A flag, a variable or a file was wrong."""

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="leastwise")
def cli() -> None:
    """Balance HTTP requests over a pool of workers, each to the least loaded.

    A hard cap per worker, a queue for what does not fit, and no request lost when a worker dies.

    \b
    Try it:      leastwise demo
    Run it:      leastwise check pool.yaml && leastwise serve --config pool.yaml
    Look at it:  leastwise top, or http://127.0.0.1:9000 in a browser

    \b
    Exit codes: 0 well ended; 1 failed (could not start, a second signal, a missed criterion,
    nobody there); 2 a flag, a variable or a file was wrong; 130 and 143 interrupted: demo, worker
    after a second signal, and others by a SIGTERM before they have begun.
    """


@cli.command()
@click.option("--config", metavar="FILE",
              help="The pool's YAML file, followed live. Either this or --balancer.")  # fmt: skip
@click.option("--balancer", metavar="NAME",
              help="This balancer's name: it serves the WorkerPools of its namespace whose "
                   "spec.balancer is NAME, or is left out.")  # fmt: skip
@click.option("--listen", metavar="HOST:PORT", help="Data port.  [default: 0.0.0.0:8000]")
@click.option("--admin-listen", metavar="HOST:PORT", help="Admin port.  [default: 127.0.0.1:9000]")
@click.option("--admin-token-file", metavar="FILE",
              help="A file with the token that readers of the admin port must bring.  "
                   "[default: none is asked for]")  # fmt: skip
@click.option("--drain-delay", metavar="SECONDS",
              help="After SIGTERM, go on accepting connections for so long.  "
                   "[default: 0]")  # fmt: skip
@click.option("--drain-timeout", metavar="SECONDS",
              help="After the drain delay, let running requests end for so long.  "
                   "[default: 660]")  # fmt: skip
@click.option("--client-header-timeout", metavar="SECONDS",
              help="For a client to send a whole request head.  [default: 10]")  # fmt: skip
@click.option("--client-body-timeout", metavar="SECONDS",
              help="For a client's pause within a body, either way.  [default: 30]")  # fmt: skip
@click.option("--client-idle-timeout", metavar="SECONDS",
              help="How long an idle client connection is kept.  [default: 620]")  # fmt: skip
@click.option("--max-header-bytes", metavar="BYTES", type=int,
              help="Longest request head.  [default: 32768]")  # fmt: skip
@click.option("--max-headers", metavar="N", type=int,
              help="Most fields in a request head.  [default: 128]")  # fmt: skip
@click.option("--max-target-bytes", metavar="BYTES", type=int,
              help="Longest path and query of a request.  [default: 16384]")  # fmt: skip
@click.option("--max-body-bytes", metavar="BYTES", type=int,
              help="Longest request body.  [default: no limit]")  # fmt: skip
@click.option("--max-connections", metavar="N", type=int,
              help="Most clients at once.  "
                   "[default: what the limit of open files allows]")  # fmt: skip
@click.option("--replay-memory-bytes", metavar="BYTES", type=int,
              help="Most memory for request bodies kept for a retry, of all requests together.  "
                   "[default: 268435456]")  # fmt: skip
@click.option("--trusted-networks", metavar="CIDR,...",
              help="Clients whose X-Forwarded-* and Forwarded are kept.  "
                   "[default: none]")  # fmt: skip
@click.option("--namespace", metavar="NAME",
              help="Where the pool's Service, or the WorkerPools, are.  [default: the pod's own, "
                   "or the kubeconfig's]")  # fmt: skip
@click.option("--kubeconfig", metavar="FILE",
              help="How to reach the Kubernetes API.  [default: $KUBECONFIG, the pod's service "
                   "account, ~/.kube/config]")  # fmt: skip
@click.option("--watch-timeout", metavar="SECONDS",
              help="Begin a watch of the Kubernetes API anew after so long without a word from "
                   "it.  [default: 75]")  # fmt: skip
@click.option("--preferred-family", metavar="FAMILY",
              help="Which address of a pod with both is used: ipv4 or ipv6.  "
                   "[default: ipv4]")  # fmt: skip
@click.option("--peers", metavar="LEASE",
              help="Act as one with the other replicas: the name of the Kubernetes Lease by which "
                   "they find each other.  [default: this one is alone]")  # fmt: skip
@click.option("--peer-listen", metavar="HOST:PORT",
              help="Port where the replicas talk to each other, with --peers.  "
                   "[default: 0.0.0.0:9001]")  # fmt: skip
@click.option("--peer-secret-file", metavar="FILE",
              help="A file with the secret that all replicas share; "
                   "required with --peers.")  # fmt: skip
@click.option("--pod-name", metavar="NAME", help="This pod's name; required with --peers.")
@click.option("--pod-uid", metavar="UID", help="This pod's UID; required with --peers.")
@click.option("--pod-ip", metavar="ADDRESS", help="This pod's address; required with --peers.")
@click.option("--log-level", metavar="LEVEL",
              help="debug, info, warning or error.  [default: info]")  # fmt: skip
@click.option("--log-format", metavar="FORMAT", help="text or json.  [default: text]")
@click.option("--access-log", metavar="BOOL", help="Log a line for each request.  [default: false]")
@click.option("--access-log-rate", metavar="N", type=int,
              help="Most lines of the access log a second, and as many again of requests that "
                   "failed.  [default: 100]")  # fmt: skip
@click.option("--access-log-query", metavar="BOOL",
              help="Log paths with their query, where secrets may stand.  "
                   "[default: false]")  # fmt: skip
@click.option("--metrics", metavar="BOOL", help="Count requests as they end.  [default: true]")
@click.option("--tracing", metavar="BOOL", help="Spans by OpenTelemetry.  [default: false]")
@click.option("--timing-headers", metavar="BOOL",
              help="Server-Timing, X-Leastwise-Worker and X-Leastwise-Attempts on answers.  "
                   "[default: true]")  # fmt: skip
def serve(**flags: str | int | None) -> None:
    """Run the balancer.

    Each flag can be given as a variable: LEASTWISE_ADMIN_LISTEN for --admin-listen. The admin
    token itself is a variable only, LEASTWISE_ADMIN_TOKEN: a flag can be read by everybody on the
    machine.
    """
    from app.config.settings import load_settings  # noqa: PLC0415 - so that --help is quick
    from app.runtime.serve import serve as run  # noqa: PLC0415

    sys.exit(run(load_settings(flags)))


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Check a pool's FILE, and explain each thing that is wrong with it.

    Nothing is run and nobody is asked: names are not looked up, workers are not called. Exits 2 if
    the file cannot be accepted.
    """
    from app.config import checking  # noqa: PLC0415

    good, lines = checking.check(file)
    for line in lines:
        click.echo(line)
    sys.exit(0 if good else EXIT_MISUSED)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands and flags.

    \b
      bash: eval "$(leastwise completion bash)"   in ~/.bashrc
      zsh:  eval "$(leastwise completion zsh)"    in ~/.zshrc
      fish: leastwise completion fish | source    in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class  # noqa: PLC0415

    found = get_completion_class(shell)
    if found is None:
        raise AssertionError(shell)
    click.echo(found(cli, {}, "leastwise", "_LEASTWISE_COMPLETE").source())


@cli.command()
@click.option("--balancer", metavar="NAME", help="Whose pools' status is written.  [default: all]")
@click.option("--namespace", metavar="NAME",
              help="Where the WorkerPools are.  "
                   "[default: the pod's own, or the kubeconfig's]")  # fmt: skip
@click.option("--kubeconfig", metavar="FILE",
              help="How to reach the Kubernetes API.  [default: $KUBECONFIG, the pod's service "
                   "account, ~/.kube/config]")  # fmt: skip
@click.option("--admin-token-file", metavar="FILE",
              help="A file with the token that the balancers' admin ports ask for.  "
                   "[default: none]")  # fmt: skip
@click.option("--liveness-listen", metavar="HOST:PORT",
              help="Where /healthz is answered.  [default: 0.0.0.0:9001]")  # fmt: skip
@click.option("--log-level", metavar="LEVEL",
              help="debug, info, warning or error.  [default: info]")  # fmt: skip
@click.option("--log-format", metavar="FORMAT", help="text or json.  [default: text]")
def operator(**flags: str | None) -> None:
    """Run the operator: it writes the status of WorkerPools, and Events.

    Requests do not need it. Each flag can be given as a variable: LEASTWISE_BALANCER for
    --balancer.
    """
    from app.config.operator_settings import load_operator_settings  # noqa: PLC0415
    from app.operator.process import run  # noqa: PLC0415
    from app.runtime.serve import set_up_log  # noqa: PLC0415

    settings = load_operator_settings(flags)
    set_up_log(settings.log_level, settings.log_format)
    sys.exit(run(settings))


@cli.command()
@click.option("--apply", is_flag=True, help="Send it to the API server (server-side apply).")
@click.option("--kubeconfig", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              help="How to reach the Kubernetes API.")  # fmt: skip
def crd(*, apply: bool, kubeconfig: Path | None) -> None:
    """Print the CustomResourceDefinition of WorkerPool, or apply it."""
    if not apply:
        from app.config.crd import as_yaml  # noqa: PLC0415

        click.echo(as_yaml(), nl=False)
        return
    from app.operator.installing import apply_crd  # noqa: PLC0415

    sys.exit(apply_crd(kubeconfig))


@cli.command()
@click.option("--host", default="0.0.0.0", show_default=True,  # noqa: S104 - as a pod's worker does
              help="The address to listen on.")  # fmt: skip
@click.option("--port", type=int, default=8080, show_default=True,
              help="The port to listen on; 0 takes any free one.")  # fmt: skip
@click.option("--task-seconds", type=float, default=15.0, show_default=True,
              help="How long a task takes whose request does not say it.")  # fmt: skip
@click.option("--max-in-flight", type=int,
              help="Refuse more tasks than this with 503.  [default: no limit]")  # fmt: skip
@click.option("--history", type=int, default=1000, show_default=True,
              help="Ended tasks kept, to be looked up.")  # fmt: skip
@click.option("--name", help="How it calls itself.  [default: the hostname]")
@click.option("--drain-seconds", type=float, default=1.0, show_default=True,
              help="After SIGTERM, go on taking tasks for so long, not ready.")  # fmt: skip
@click.option("--keep-alive-seconds", type=int, default=5, show_default=True,
              help="How long an idle connection is kept.")  # fmt: skip
@click.option("--journal", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              help="Append each change of its count to this file.  [default: none]")  # fmt: skip
def worker(**flags: str | float | Path | None) -> None:
    """Run the reference worker of the scenario.

    It has no variables. SIGTERM or SIGINT: it finishes what runs and exits 0. A second signal: it
    stops at once, with 128 and the signal's number. It exits 1 if it cannot listen, 2 for a wrong
    flag.
    """
    from app.worker.server import run  # noqa: PLC0415
    from app.worker.settings import WorkerSettings  # noqa: PLC0415

    given = {name: value for name, value in flags.items() if value is not None}
    try:
        settings = WorkerSettings(**given)  # type: ignore[arg-type] # click has seen to the types
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    sys.exit(run(settings))


@cli.command()
@click.option("--speed", type=click.FloatRange(0.1, 50), default=10.0, show_default=True,
              help="Divide all times of the scenario by this.")  # fmt: skip
@click.option("--fault", type=click.Choice(["kill", "hang"]), default="kill", show_default=True,
              help="What happens to worker1 at 100 s.")  # fmt: skip
@click.option("--report-dir", type=click.Path(path_type=Path, file_okay=False),
              default=Path("demo-report"), show_default=True,
              help="Where report, picture and demo.json go.")  # fmt: skip
def demo(speed: float, fault: str, report_dir: Path) -> None:
    """Run the kill-and-restart scenario on this machine.

    Five workers, a task of 15 s each second; worker1 dies at 100 s and is back at 200 s. Exits 0
    if no request was lost and every criterion was met, 1 if not, 130 after Ctrl-C and 143 after
    SIGTERM.
    """
    try:
        from app.demo.run import run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} is missing: the demo needs `pip install leastwise[demo]`"
        ) from error
    sys.exit(run(speed=speed, fault=fault, report_dir=report_dir))


@cli.command()
@click.option("--admin", metavar="URL", default="http://127.0.0.1:9000", show_default=True,
              envvar="LEASTWISE_ADMIN", show_envvar=True,
              help="The balancer's admin port.")  # fmt: skip
@click.option("--token-file", metavar="FILE", envvar="LEASTWISE_ADMIN_TOKEN_FILE",
              show_envvar=True, type=click.Path(path_type=Path, dir_okay=False),
              help="A file with the token that it asks for.  [default: the token in "
                   "LEASTWISE_ADMIN_TOKEN, or none]")  # fmt: skip
@click.option("--pool", default="", metavar="NAME",
              help="Which pool.  [default: the only one]")  # fmt: skip
@click.option("--once", is_flag=True, help="Print how things stand, and end.")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True,
              help="With --once.")  # fmt: skip
@click.option("--sort", "order", type=click.Choice(["trouble", "name", "load", "latency"]),
              default="trouble", show_default=True, help="Which workers come first.")  # fmt: skip
def top(
    admin: str, token_file: Path | None, pool: str, output: str, order: str, *, once: bool
) -> None:
    """Show who works on what, live.

    \b
    On Kubernetes, of one balancer pod:
      kubectl port-forward deployment/lb 9000:9000 &
      leastwise top
    or in the pod itself, which has the token if one is asked for:
      kubectl exec -it deployment/lb -- leastwise top
    """
    if output == "json" and not once:
        raise click.UsageError("--output json needs --once")
    if not once and not sys.stdout.isatty():
        raise click.UsageError("this is no terminal: give --once")
    from app.config.tokens import token_at  # noqa: PLC0415 - so that --help is quick
    from app.top import run  # noqa: PLC0415

    token = token_at(token_file)
    if once:
        sys.exit(run.once(admin, token, pool, output=output, order=order))
    sys.exit(run.live(admin, token, pool, order=order))


def main() -> None:
    """Run the program; the console script."""
    # PID 1 of a container gets no SIGTERM as long as it handles none, and the roles do so only
    # after a second of imports. No exception: some of what is imported would make another of it.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    try:
        cli(prog_name="leastwise")
    except ConfigError as error:
        click.echo(f"leastwise: {error}", err=True)
        sys.exit(EXIT_MISUSED)
