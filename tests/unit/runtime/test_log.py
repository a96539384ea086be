"""How a line of the log is written as JSON."""

import json
import logging

from app.runtime.serve import _JsonFormatter


def test_the_time_has_milliseconds_and_is_utc() -> None:
    record = logging.makeLogRecord({"created": 1795490400.0129, "msg": "said"})
    assert json.loads(_JsonFormatter().format(record))["time"] == "2026-11-24T03:20:00.012Z"


def test_what_a_record_brings_stands_beside_its_message() -> None:
    record = logging.makeLogRecord({"msg": "%s went", "args": ("w",), "fields": {"worker": "w"}})
    said = json.loads(_JsonFormatter().format(record))
    assert (said["message"], said["worker"]) == ("w went", "w")
