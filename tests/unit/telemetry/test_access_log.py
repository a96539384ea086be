"""The access log: what a line says, and how many there are."""

import logging
from typing import Any

import pytest

from app.balancing.policy import Policy
from app.balancing.pool import Pool
from app.telemetry.access_log import AccessLog, describe, log
from tests.unit.telemetry.requests_made import Ended, refused


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@pytest.fixture
def access_log(caplog: pytest.LogCaptureFixture) -> AccessLog:
    caplog.set_level(logging.INFO, log.name)
    return AccessLog(Pool(Policy(), name="demo"), rate=2, query=False)


def test_a_line_tells_where_the_time_went(
    access_log: AccessLog, caplog: pytest.LogCaptureFixture
) -> None:
    access_log.ended(Ended(arrived=99.5))
    (line,) = lines(caplog)
    assert line == (
        "POST /compute 200 -- pool=demo worker=worker-1 attempts=1 receive=0.5 queue=2.0"
        " connect=0.25 first_byte=15.0 body=0.25 total=18.0 bytes_in=30 bytes_out=70"
        " request_id=id-1"
    )
    assert caplog.records[0].__dict__["fields"] == {
        "method": "POST", "path": "/compute", "status": 200, "ending": "--", "pool": "demo",
        "worker": "worker-1", "attempts": 1, "receive": 0.5, "queue": 2.0, "connect": 0.25,
        "first_byte": 15.0, "body": 0.25, "total": 18.0, "bytes_in": 30, "bytes_out": 70,
        "request_id": "id-1",
    }  # fmt: skip


def test_the_parts_are_the_whole() -> None:
    fields: dict[str, Any] = describe(Ended(arrived=99.0), "demo", query=False)
    parts = ("receive", "queue", "connect", "first_byte", "body")
    assert sum(fields[part] for part in parts) == fields["total"]


def test_what_it_did_not_come_to_is_left_out() -> None:
    fields = describe(refused(), "demo", query=False)
    assert (fields["queue"], fields["worker"], fields["ending"]) == (60.0, "-", "sQ")
    assert not {"connect", "first_byte"} & fields.keys()


def test_the_query_is_told_if_it_is_wanted() -> None:
    assert describe(Ended(), "demo", query=True)["path"] == "/compute?key=secret"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a\nb", r"/a\nb"),
        (b"/caf\xe9", r"/caf\xe9"),
        (b"/\x1b[2J", r"/\x1b[2J"),
        (b"/" + b"a" * 5000, "/" + "a" * 2047),
    ],
)
def test_no_client_can_forge_a_line(target: bytes, path: str) -> None:
    assert describe(Ended(target=target), "demo", query=False)["path"] == path


def test_beyond_the_rate_lines_are_left_out_and_counted(
    access_log: AccessLog, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(10):
        access_log.ended(Ended())
    assert len(lines(caplog)) == 2
    access_log.ended(refused(ended_at=117.5))  # what failed has lines of its own
    assert len(lines(caplog)) == 3
    access_log.ended(Ended(ended_at=118.0))
    assert "left_out=8" in lines(caplog)[-1]
    access_log.ended(Ended(ended_at=200.0))
    assert "left_out" not in lines(caplog)[-1]


def test_what_was_left_out_is_told_though_no_further_line_comes(
    access_log: AccessLog, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(10):
        access_log.ended(Ended(ended_at=117.5 + n / 100))
        access_log.ended(refused(ended_at=117.5 + n / 100))
    assert len(lines(caplog)) == 4
    access_log.tick(118.515)  # the first was left out at 117.52
    assert len(lines(caplog)) == 4
    access_log.tick(118.525)
    assert lines(caplog)[4:] == [
        "8 requests left out: more than the access log's rate pool=demo left_out=8",
        "8 failed requests left out: more than the access log's rate pool=demo left_out=8",
    ]
    fields = [record.__dict__["fields"] for record in caplog.records[4:]]
    assert [each["failed"] for each in fields] == [False, True]
    access_log.tick(200.0)
    access_log.ended(Ended(ended_at=201.0))
    assert len(lines(caplog)) == 7
    assert "left_out" not in lines(caplog)[-1]  # it is told once


def test_a_line_that_comes_in_time_tells_it_and_the_next_spell_is_another(
    access_log: AccessLog, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(5):
        access_log.ended(Ended(ended_at=117.5 + n / 100))
    access_log.ended(Ended(ended_at=118.2))
    assert "left_out=3" in lines(caplog)[-1]
    access_log.tick(118.6)
    assert len(lines(caplog)) == 3
    access_log.ended(Ended(ended_at=118.3))  # left out again
    access_log.tick(119.2)
    assert len(lines(caplog)) == 3
    access_log.tick(119.3)
    assert lines(caplog)[-1].startswith("1 requests left out")


def test_at_the_end_what_is_left_is_told_at_once(
    access_log: AccessLog, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        access_log.ended(Ended())
    access_log.close()
    access_log.close()
    assert lines(caplog)[2:] == [
        "1 requests left out: more than the access log's rate pool=demo left_out=1"
    ]


def test_after_silence_there_is_one_seconds_worth(
    access_log: AccessLog, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(10):
        access_log.ended(Ended(ended_at=5000.0))
    assert len(lines(caplog)) == 2


def test_an_unanswered_or_failed_one_counts_as_bad(
    access_log: AccessLog, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        access_log.ended(Ended(status=503))
        access_log.ended(Ended(ending="CH", status=0))
        access_log.ended(Ended())
    assert len(lines(caplog)) == 4


def test_a_slow_rate_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, log.name)
    access_log = AccessLog(Pool(Policy()), rate=0.1, query=False)
    for second in range(100):
        access_log.ended(Ended(ended_at=200.0 + second))
    assert len(lines(caplog)) == 10
