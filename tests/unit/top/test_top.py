"""`leastwise top` against an admin port: what it prints, and what it says when it cannot."""

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from rich.console import Console

from app.admin.stream import Feed
from app.balancing.health import Sign
from app.cli import EXIT_MISUSED, cli, main
from app.peers.view import Standing
from app.top import run
from app.top.feed import FeedError, Picture, messages
from app.top.screen import draw, duration
from tests.unit.admin.test_replicas import seen
from tests.unit.admin.views import View
from tests.unit.telemetry.requests_made import Ended


def picture(view: View) -> Picture:
    taken = Picture()
    taken.take(json.loads(json.dumps(Feed(view).everything())))
    return taken


def text(taken: Picture, width: int = 120, **more: Any) -> str:
    written = io.StringIO()
    order = more.pop("order", "trouble")
    Console(width=width, file=written).print(draw(taken, order, width, **more))
    return written.getvalue()


@pytest.fixture
def busy() -> View:
    view = View(workers=3)
    view.pool.observe(view.pool.endpoints["worker-2"], Sign.CHECK_FAILED, 1.0, "refused")
    view.telemetry.requests.ended(Ended(worker="worker-1"))
    view.telemetry.history.take()
    view.reasons = ["stopping"]
    return view


def test_it_shows_who_decides_and_what_each_replica_holds(busy: View) -> None:
    busy.standing = Standing("b.2", "following", 7, 0.0, seen(busy.pool))
    lines = text(picture(busy), 160).splitlines()
    assert "6 of 8 in flight  5 waiting" in lines[1]  # of all replicas
    assert lines[2].rstrip() == (
        "lb-a decides, term 7; held: 1 by lb-a, 2 by lb-b (dead), 1 by lb-b, 0 by lb-c (silent), "
        "2 for the silent"
    )
    assert "4 of 4" in next(line for line in lines if line.startswith("worker-1"))
    busy.standing = Standing("b.2", "seeking", 7, 0.0, None)
    assert "no replica decides: requests wait" in text(picture(busy), 160)


def test_it_shows_workers_troubles_and_events(busy: View) -> None:
    lines = text(picture(busy), 160).splitlines()
    assert lines[0].startswith("● live")
    assert "pool demo  0 of 8 in flight  0 waiting  2 of 3 workers in rotation" in lines[1]
    assert "half within 16.2 s" in lines[1]
    assert "⚠ Not ready: stopping." in lines
    workers = [line.split()[0] for line in lines if line.startswith("worker-")]
    assert workers == ["worker-2", "worker-1", "worker-3"]  # trouble first
    (out,) = (line for line in lines if line.startswith("worker-2"))
    assert "0 of 4" in out
    assert "✕ ejected check failed: refused" in out
    assert "15.0 s" in next(line for line in lines if line.startswith("worker-1"))
    assert "ejected  worker-2: ready -> ejected (check failed: refused)" in text(picture(busy))


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_it_fits_its_terminal(busy: View, width: int) -> None:
    lines = text(picture(busy), width).splitlines()
    assert max(map(len, lines)) <= width
    assert "✕ ejected" in "\n".join(lines)


def test_five_hundred_workers_do_not_fill_more_than_the_screen() -> None:
    told = text(picture(View(workers=500)), height=40)
    assert len(told.splitlines()) <= 40
    assert "more" in told


@pytest.mark.parametrize(
    ("order", "first"), [("name", "worker-1"), ("load", "worker-3"), ("latency", "worker-1")]
)
def test_orders(busy: View, order: str, first: str) -> None:
    taken = picture(busy)
    taken.workers["worker-3"]["in_flight"] = 2
    lines = [line for line in text(taken, order=order).splitlines() if line.startswith("worker-")]
    assert lines[0].startswith(first)


def test_a_picture_follows_changes_and_restarts(busy: View) -> None:
    taken = picture(busy)
    feed_of = Feed(busy)
    feed_of.changes()
    busy.discover("worker-1", "worker-2")
    taken.take(feed_of.changes())
    assert sorted(taken.workers) == ["worker-1", "worker-2"]
    events = len(taken.events)
    taken.take(Feed(busy).everything())  # a reconnect tells nothing twice
    assert len(taken.events) == events
    taken.take(Feed(View(workers=1)).everything())  # another process
    assert list(taken.workers) == ["worker-1"]
    assert len(taken.events) == events + 1


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(None, "–"), (0.0123, "12.3 ms"), (0.5, "0.5 s"), (15.0, "15.0 s"), (300.0, "5 min")],
)
def test_durations(seconds: float | None, told: str) -> None:
    assert duration(seconds) == told


# --- the feed by HTTP


TOKEN = "the-admin-token-of-the-test"

Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> list[Answer]:
    """Answer every request with the one thing in the list."""
    answers: list[Answer] = []
    client = httpx.AsyncClient

    def answered(request: httpx.Request) -> httpx.Response:
        status, headers, body = answers[0]
        if status == 200 and request.headers.get("authorization") != f"Bearer {TOKEN}":
            status = 401
        return httpx.Response(status, headers=headers, content=body)

    def make(**settings: Any) -> httpx.AsyncClient:
        return client(transport=httpx.MockTransport(answered), **settings)

    monkeypatch.setattr(httpx, "AsyncClient", make)
    return answers


def good(view: View) -> Answer:
    body = f"data: {json.dumps(Feed(view).everything())}\n\n".encode()
    return 200, {"content-type": "text/event-stream; charset=utf-8"}, body


def test_once_prints_json(admin: list[Answer], busy: View) -> None:
    admin.append(good(busy))
    flags = ["top", "--once", "--output=json"]
    result = CliRunner().invoke(cli, flags, env={"LEASTWISE_ADMIN_TOKEN": TOKEN})
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [worker["phase"] for worker in found["workers"]] == ["ready", "ejected", "ready"]
    assert found["pool"]["name"] == "demo"
    assert found["events"][-1]["kind"] == "ejected"
    assert found["last_minutes"][0]["ended"] == 1


def test_once_prints_a_table(admin: list[Answer], busy: View) -> None:
    admin.append(good(busy))
    result = CliRunner().invoke(cli, ["top", "--once"], env={"LEASTWISE_ADMIN_TOKEN": TOKEN})
    assert result.exit_code == 0
    assert "✕ ejected check failed: refused" in result.stdout


@pytest.mark.parametrize("by_flag", [True, False])
def test_the_token_is_in_a_file_as_in_the_pod(
    admin: list[Answer], busy: View, tmp_path: Path, by_flag: bool
) -> None:
    """As the chart has it: the variable names the file, and the token stands in no flag."""
    admin.append(good(busy))
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    flags = [f"--token-file={path}"] if by_flag else []
    variables = {"LEASTWISE_ADMIN_TOKEN_FILE": "" if by_flag else str(path)}
    variables["LEASTWISE_ADMIN_TOKEN"] = "another-token-of-the-test"
    result = CliRunner().invoke(cli, ["top", "--once", *flags], env=variables)
    assert result.exit_code == 0, result.stderr
    assert "pool demo" in result.stdout


def test_a_file_without_a_token_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["leastwise", "top", "--once", f"--token-file={tmp_path}/no"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == EXIT_MISUSED
    assert "LEASTWISE_ADMIN_TOKEN_FILE: found No such file" in capsys.readouterr().err


class EnoughError(Exception):
    """Ends what goes on until Ctrl-C."""


async def test_the_token_is_asked_for_at_each_connection(
    admin: list[Answer], busy: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So whoever looks on goes on when it has been changed, and the balancer restarted."""
    admin.append(good(busy))
    tokens = ["another", TOKEN]
    came: list[str] = []
    lost: list[str] = []

    def token() -> str:
        came.append(TOKEN if not came else tokens.pop(0))
        return came[-1]

    pauses = iter(range(2))

    async def pause(_: float) -> None:
        if next(pauses, None) is None:
            raise EnoughError

    def drawn(picture: Picture, *rest: Any) -> str:
        lost.append(rest[3])
        return ""

    monkeypatch.setattr(asyncio, "sleep", pause)
    monkeypatch.setattr(run, "draw", drawn)
    with pytest.raises(EnoughError):
        await run._follow(Console(file=io.StringIO()), "http://x", token, "", "name")
    assert came == [TOKEN, "another", TOKEN]
    ended = "the balancer has ended, trying again"
    refused = "http://x/stream answers 401: give --token-file, or another one, trying again"
    assert lost == ["", ended, refused, "", ended]


def test_no_flag_is_the_token_itself() -> None:
    result = CliRunner().invoke(cli, ["top", "--once", f"--token={TOKEN}"])
    assert result.exit_code == EXIT_MISUSED
    assert "No such option" in result.stderr


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, {}, b""), "answers 401: give --token-file"),
        ((403, {}, b""), "answers 403: give --token-file"),
        ((404, {"content-type": "text/html"}, b""), "answers 404, text/html: is that the admin"),
        ((404, {}, b'{"detail": "Not Found"}'), "answers 404, nothing: is that the admin"),
        ((404, {}, b'{"pools": []}'), "no pool is served"),
        ((302, {}, b""), "answers 302, nothing: is that the admin port?"),
    ],
)
def test_it_says_why_it_cannot(admin: list[Answer], answer: Answer, said: str) -> None:
    admin.append(answer)
    result = CliRunner().invoke(cli, ["top", "--once"])
    assert result.exit_code == run.EXIT_FAILED
    assert said in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("flags", "said"),
    [([], "there are several pools: name one"), (["--pool=x"], "there is no pool x: name one")],
)
def test_with_several_pools_it_lists_them(admin: list[Answer], flags: list[str], said: str) -> None:
    pools = [
        {"name": "embed", "in_flight": 3, "queued": 0, "rotation": 2, "workers": 2},
        {"name": "rest", "in_flight": 8, "queued": 5, "rotation": 2, "workers": 3},
    ]
    admin.append((404, {}, json.dumps({"detail": "", "pools": pools}).encode()))
    result = CliRunner().invoke(cli, ["top", "--once", *flags])
    assert result.exit_code == run.EXIT_FAILED
    lines = result.stderr.splitlines()
    assert lines[0] == f"leastwise: {said} by --pool"
    assert lines[1].split() == ["pool", "in", "flight", "waiting", "workers", "in", "rotation"]
    assert lines[2].split() == ["embed", "3", "0", "2", "of", "2"]
    assert lines[3].split() == ["rest", "8", "5", "2", "of", "3"]


@pytest.mark.parametrize("body", [b"data: {\n\n", b""])
async def test_what_is_no_feed_is_told(admin: list[Answer], body: bytes) -> None:
    admin.append((200, {"content-type": "text/event-stream"}, body))
    told: AsyncIterator[dict[str, Any]] = messages("http://x", TOKEN)
    with pytest.raises(FeedError if body else StopAsyncIteration):
        await anext(told)


@pytest.mark.parametrize("url", ["localhost:9000", "http://x:port", "ftp://x"])
def test_a_url_that_is_none_is_told(url: str) -> None:
    result = CliRunner().invoke(cli, ["top", "--once", f"--admin={url}"])
    assert result.exit_code == run.EXIT_FAILED
    assert f"{url} is no URL" in result.stderr


def test_nobody_there() -> None:
    result = CliRunner().invoke(cli, ["top", "--once", "--admin=http://127.0.0.1:1"])
    assert result.exit_code == run.EXIT_FAILED
    assert "no balancer answers at http://127.0.0.1:1" in result.stderr


@pytest.mark.parametrize("flags", [["--output=json"], []])
def test_without_a_terminal_it_wants_once(flags: list[str]) -> None:
    result = CliRunner().invoke(cli, ["top", *flags])
    assert result.exit_code == 2
    assert "--once" in result.stderr
