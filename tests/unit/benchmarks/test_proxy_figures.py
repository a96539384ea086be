"""From rounds to the results: what is compared with what, and which keys there are."""

import pytest

from benchmarks.processes import Cpu
from benchmarks.proxy_figures import DIRECT, Record, Round, summary, tables

NAMES = ("leastwise", "nginx", "haproxy", "aiohttp", "httpx")


def record(name: str, *cpu: float, rate: float = 10_000, p99: float = 1.0) -> Record:
    """A proxy whose rounds took `cpu` microseconds, half of it in the kernel."""
    one = Record(name)
    for profile in ("small", "browser"):
        one.rounds[profile] += [Round(Cpu(each / 2, each / 2), rate) for each in cpu]
    for at in (1000, 100):
        if one.holds(at):
            one.latencies[at].append({"p50": p99 / 2, "p99": p99, "p99_9": 2 * p99})
            one.paced[at].append(2 * cpu[0] if cpu else 0.0)
    one.rss_idle.append(10 * 2**20)
    one.rss_loaded.append(20 * 2**20)
    return one


@pytest.fixture
def records() -> list[Record]:
    return [
        record(DIRECT, p99=0.25),
        record("leastwise", 20.0, 44.0, 24.0),
        record("nginx", 10.0, 22.0, 16.0),
        record("haproxy", 11.0, 11.0, 11.0),
        record("aiohttp", 200.0, 200.0, 200.0, rate=3000),
        record("httpx", 5000.0, 5000.0, 5000.0, rate=150, p99=9.0),
    ]


def test_the_results_have_the_agreed_keys(records: list[Record]) -> None:
    figures = summary(records)
    for key in ("cpu_us_per_request", "requests_per_second", "latency_ms", "rss_mib"):
        assert tuple(figures[key]) == NAMES
    assert all(tuple(each) == ("p50", "p99", "p99_9") for each in figures["latency_ms"].values())


def test_cpu_time_is_the_median_of_the_rounds(records: list[Record]) -> None:
    figures = summary(records)
    assert figures["cpu_us_per_request"]["leastwise"] == 24.0
    assert figures["cpu_user_us"]["leastwise"] == 12.0
    assert figures["cpu_us_spread"]["leastwise"] == {"median": 24.0, "min": 20.0, "max": 44.0}


def test_ratios_are_taken_within_each_round(records: list[Record]) -> None:
    assert summary(records)["cpu_ratio"]["nginx"] == {"median": 2.0, "min": 1.5, "max": 2.0}


def test_a_slow_proxy_is_asked_for_the_low_rate_alone(records: list[Record]) -> None:
    figures = summary(records)
    assert figures["latency_at"] == {**dict.fromkeys(NAMES, 1000), "httpx": 100}
    assert figures["latency_ms"]["httpx"]["p99"] == 9.0
    assert set(figures["latency_ms_at"]["1000"]) == {DIRECT, *NAMES} - {"httpx"}
    assert set(figures["latency_ms_at"]["100"]) == {DIRECT, *NAMES}


def test_the_tables_say_what_was_found(records: list[Record]) -> None:
    small, browser, fast, slow = tables(summary(records))
    assert list(small.rows[0])[:2] == ["leastwise", "24.0 (20.0–44.0)"]
    assert [row[0] for row in browser.rows] == list(NAMES)
    assert list(fast.rows[1]) == ["leastwise", "0.500", "1.00", "2.00", "+0.75", "40.0"]
    assert [row[0] for row in slow.rows] == [DIRECT, *NAMES]


def test_a_run_of_some_proxies_has_tables_too(records: list[Record]) -> None:
    some = [each for each in records if each.name in {DIRECT, "nginx"}]
    small, *_ = tables(summary(some))
    assert [row[0] for row in small.rows] == ["nginx"]
