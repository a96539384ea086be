"""Static endpoints: addresses at once, names as they resolve, and a bad name holds up no other."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from app.balancing.endpoint import EndpointSpec
from app.config.addresses import AddressPort
from app.discovery.static import StaticDiscovery

Answer = list[str] | OSError | asyncio.Event


class Ticks:
    """Stands for sleep: everybody sleeps until the test says so."""

    def __init__(self) -> None:
        self._sleepers: list[asyncio.Future[None]] = []
        self._changed = asyncio.Event()
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        sleeper = asyncio.get_running_loop().create_future()
        self._sleepers.append(sleeper)
        self._changed.set()
        await sleeper

    async def asleep(self, count: int) -> None:
        """Wait until `count` are asleep."""
        async with asyncio.timeout(5):
            while len([one for one in self._sleepers if not one.cancelled()]) < count:
                self._changed.clear()
                await self._changed.wait()

    async def tick(self) -> None:
        """Let everybody sleep out and go to sleep again."""
        sleepers = [one for one in self._sleepers if not one.cancelled()]
        self._sleepers.clear()
        for sleeper in sleepers:
            sleeper.set_result(None)
        await self.asleep(len(sleepers))


class Names:
    """Stands for DNS. An event as an answer is waited for, and then asked again."""

    def __init__(self, **answers: Answer) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        answer = self.answers[host]
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            answer = self.answers[host]
        if isinstance(answer, OSError):
            raise answer
        assert isinstance(answer, list)
        return answer


class Rig:
    """A discovery with its names, its sleep, and what it told."""

    def __init__(self, names: Names, *endpoints: str, timeout: float = 5.0) -> None:
        self.names = names
        self.ticks = Ticks()
        self.told: list[list[str]] = []
        self.specs: Sequence[EndpointSpec] = ()
        self.discovery = StaticDiscovery(
            parsed(*endpoints),
            self._apply,
            resolve=names,
            interval=7.0,
            timeout=timeout,
            sleep=self.ticks,
        )

    def _apply(self, specs: Sequence[EndpointSpec]) -> None:
        self.specs = specs
        self.told.append([spec.identity for spec in specs])

    def new(self) -> list[list[str]]:
        """Take what was told since the last time."""
        told, self.told = self.told, []
        return told


def parsed(*endpoints: str) -> list[AddressPort]:
    return [AddressPort.parse(endpoint) for endpoint in endpoints]


@asynccontextmanager
async def running(rig: Rig, asleep: int) -> AsyncIterator[Rig]:
    """Run until `asleep` names have been looked up once, and to the end of the block."""
    before = asyncio.all_tasks()
    task = asyncio.create_task(rig.discovery.run())
    try:
        await rig.ticks.asleep(asleep)
        yield rig
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert asyncio.all_tasks() == before


NO_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def test_addresses_are_told_at_once_and_never_looked_up() -> None:
    rig = Rig(Names(), "127.0.0.1:8081", "[::1]:80")
    task = asyncio.create_task(rig.discovery.run())
    await asyncio.sleep(0)
    assert rig.specs == (
        EndpointSpec("127.0.0.1:8081", "127.0.0.1", 8081, name="127.0.0.1:8081"),
        EndpointSpec("[::1]:80", "::1", 80, name="[::1]:80"),
    )
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert rig.names.asked == []


async def test_a_name_with_several_addresses_is_several_endpoints() -> None:
    rig = Rig(Names(w=["10.0.0.2", "10.0.0.1", "fd00::1", "10.0.0.2"]), "w:80")
    async with running(rig, 1):
        assert rig.specs == (
            EndpointSpec("10.0.0.1:80", "10.0.0.1", 80, name="w:80"),
            EndpointSpec("10.0.0.2:80", "10.0.0.2", 80, name="w:80"),
            EndpointSpec("[fd00::1]:80", "fd00::1", 80, name="w:80"),
        )


async def test_a_name_is_looked_up_once_for_all_its_ports() -> None:
    rig = Rig(Names(w=["10.0.0.1"]), "w:80", "w:81")
    async with running(rig, 1):
        assert rig.new() == [["10.0.0.1:80", "10.0.0.1:81"]]
        assert rig.names.asked == ["w"]


async def test_two_entries_that_lead_to_one_place_are_one_endpoint() -> None:
    rig = Rig(Names(a=["10.0.0.1"], b=["10.0.0.1"]), "a:80", "10.0.0.1:80", "b:80")
    async with running(rig, 2):
        assert [(spec.identity, spec.name) for spec in rig.specs] == [("10.0.0.1:80", "a:80")]


async def test_the_order_is_that_of_the_configuration() -> None:
    rig = Rig(Names(a=["10.0.0.9"], b=["10.0.0.1"]), "b:80", "10.0.0.5:80", "a:80")
    async with running(rig, 2):
        assert rig.told[-1] == ["10.0.0.1:80", "10.0.0.5:80", "10.0.0.9:80"]


async def test_only_a_change_is_told() -> None:
    rig = Rig(Names(w=["10.0.0.1", "10.0.0.2"]), "w:80")
    async with running(rig, 1):
        rig.new()
        rig.names.answers["w"] = ["10.0.0.2", "10.0.0.1"]
        await rig.ticks.tick()
        assert rig.new() == []
        rig.names.answers["w"] = ["10.0.0.3"]
        await rig.ticks.tick()
        assert rig.new() == [["10.0.0.3:80"]]
        assert rig.names.asked == ["w"] * 3
        assert rig.ticks.slept == [7.0] * 3


async def test_a_bad_name_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(Names(bad=NO_NAME, good=["10.0.0.1"]), "bad:80", "good:80", "10.0.0.5:80")
    async with running(rig, 2):
        assert rig.new() == [["10.0.0.5:80"], ["10.0.0.1:80", "10.0.0.5:80"]]
        assert caplog.messages == [
            "cannot resolve the name bad: Name or service not known; addresses kept: none"
        ]
        rig.names.answers["bad"] = ["10.0.0.2"]
        await rig.ticks.tick()
        assert rig.new() == [["10.0.0.2:80", "10.0.0.1:80", "10.0.0.5:80"]]


async def test_nothing_is_told_while_nothing_is_known() -> None:
    rig = Rig(Names(bad=NO_NAME), "bad:80")
    async with running(rig, 1):
        await rig.ticks.tick()
        assert rig.new() == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (NO_NAME, "Name or service not known"),
        (OSError("label too long"), "label too long"),
        ([], "no address"),
    ],
)
async def test_a_failure_keeps_the_last_addresses_and_is_logged_once(
    caplog: pytest.LogCaptureFixture, answer: Answer, reason: str
) -> None:
    caplog.set_level(logging.INFO)
    rig = Rig(Names(w=["10.0.0.1", "10.0.0.2"]), "w:80")
    async with running(rig, 1):
        rig.new()
        rig.names.answers["w"] = answer
        await rig.ticks.tick()
        await rig.ticks.tick()
        assert rig.new() == []
        told = f"cannot resolve the name w: {reason}; addresses kept: 10.0.0.1, 10.0.0.2"
        assert caplog.messages == [told]
        rig.names.answers["w"] = OSError("another")
        await rig.ticks.tick()
        assert caplog.messages[1:] == [told.replace(reason, "another")]
        rig.names.answers["w"] = ["10.0.0.1", "10.0.0.2"]
        await rig.ticks.tick()
        assert caplog.messages[2:] == ["the name w is resolved again"]
        assert rig.new() == []


async def test_a_lookup_without_an_answer_is_bounded_and_not_started_twice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answered = asyncio.Event()
    rig = Rig(Names(slow=answered, w=["10.0.0.1"]), "slow:80", "w:80", timeout=0.001)
    async with running(rig, 2):
        assert rig.new() == [["10.0.0.1:80"]]
        await rig.ticks.tick()
        assert rig.names.asked.count("slow") == 1
        assert caplog.messages == [
            "cannot resolve the name slow: no answer within 0.001 s; addresses kept: none"
        ]
        rig.names.answers["slow"] = ["10.0.0.2"]
        answered.set()
        await rig.ticks.tick()
        assert rig.new() == [["10.0.0.2:80", "10.0.0.1:80"]]


async def test_a_lookup_under_way_is_cancelled_with_the_rest() -> None:
    rig = Rig(Names(slow=asyncio.Event()), "slow:80", timeout=0.001)
    async with running(rig, 1):
        pass


async def test_an_error_of_ours_ends_the_run() -> None:
    rig = Rig(Names(), "w:80")
    with pytest.raises(ExceptionGroup) as caught:
        await rig.discovery.run()
    assert caught.group_contains(KeyError)


async def test_other_endpoints_replace_them_and_what_is_known_is_kept() -> None:
    rig = Rig(Names(a=["10.0.0.1"], b=["10.0.0.2"]), "a:80", "b:80")
    async with running(rig, 2):
        rig.new()
        rig.discovery.replace(parsed("10.0.0.9:80", "b:81"))
        assert rig.new() == [["10.0.0.9:80", "10.0.0.2:81"]]
        rig.names.asked.clear()
        await asyncio.sleep(0)  # for the follower of a to end
        await rig.ticks.tick()
        assert rig.names.asked == ["b"]
        assert rig.new() == []


async def test_the_old_endpoints_stay_until_a_new_name_has_been_looked_up() -> None:
    answered = asyncio.Event()
    rig = Rig(Names(a=["10.0.0.1"], b=answered), "a:80")
    async with running(rig, 1):
        rig.new()
        rig.discovery.replace(parsed("b:80", "10.0.0.5:80"))
        assert rig.new() == [["10.0.0.5:80", "10.0.0.1:80"]]
        rig.names.answers["b"] = ["10.0.0.2"]
        answered.set()
        await asyncio.sleep(0)
        await rig.ticks.asleep(1)
        assert rig.new() == [["10.0.0.2:80", "10.0.0.5:80"]]


async def test_the_old_endpoints_go_when_a_new_name_fails() -> None:
    rig = Rig(Names(a=["10.0.0.1"], b=NO_NAME), "a:80")
    async with running(rig, 1):
        rig.new()
        rig.discovery.replace(parsed("b:80"))
        assert rig.new() == []
        await asyncio.sleep(0)
        await rig.ticks.asleep(1)
        assert rig.new() == [[]]


async def test_a_new_name_that_is_taken_back_holds_up_nothing() -> None:
    rig = Rig(Names(a=["10.0.0.1"], b=asyncio.Event()), "a:80")
    async with running(rig, 1):
        rig.new()
        rig.discovery.replace(parsed("b:80"))
        rig.discovery.replace(parsed("10.0.0.5:80"))
        assert rig.new() == [["10.0.0.5:80"]]


async def test_a_name_that_left_is_forgotten_with_its_complaint(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(Names(bad=NO_NAME), "bad:80")
    async with running(rig, 1):
        rig.discovery.replace(parsed("10.0.0.5:80"))
        rig.discovery.replace(parsed("10.0.0.5:80", "bad:80"))
        await asyncio.sleep(0)
        await rig.ticks.asleep(1)
        assert len(caplog.messages) == 2


async def test_endpoints_can_be_replaced_before_the_run() -> None:
    rig = Rig(Names(a=["10.0.0.1"], b=["10.0.0.2"]), "a:80")
    rig.discovery.replace(parsed("b:80"))
    async with running(rig, 1):
        assert rig.new() == [["10.0.0.2:80"]]
        assert rig.names.asked == ["b"]
