import pytest

from app.proxy.replay import Replay, ReplayMemory

LIMIT = 10


def test_what_comes_before_the_first_sending_is_all_held() -> None:
    replay = Replay(ReplayMemory(1000), chunked=False)
    replay.add(b"x" * 8, LIMIT, sending=False)
    replay.add(b"y" * 8, LIMIT, sending=False)
    assert replay.held == 16
    assert replay.whole
    assert replay.wire() == b"x" * 8 + b"y" * 8


def test_a_body_within_the_limit_can_be_sent_again_though_it_is_on_its_way() -> None:
    replay = Replay(ReplayMemory(1000), chunked=False)
    replay.add(b"abc", LIMIT, sending=True)
    replay.add(b"def", LIMIT, sending=True)
    assert replay.whole
    assert replay.wire() == b"abcdef"


def test_a_body_beyond_the_limit_is_let_go_once_it_is_on_its_way() -> None:
    replay = Replay(ReplayMemory(1000), chunked=False)
    replay.add(b"x" * 10, LIMIT, sending=False)
    assert replay.wire() == b"x" * 10
    replay.add(b"y", LIMIT, sending=True)
    assert not replay.whole
    assert replay.wire() == b""


def test_what_was_let_go_stays_so() -> None:
    replay = Replay(ReplayMemory(1000), chunked=False)
    replay.add(b"x" * 11, LIMIT, sending=True)
    replay.add(b"y", LIMIT, sending=True)
    assert not replay.whole


def test_a_chunked_body_is_framed_as_one_chunk_with_its_trailers() -> None:
    replay = Replay(ReplayMemory(1000), chunked=True)
    replay.add(b"abc", LIMIT, sending=False)
    replay.add(b"def", LIMIT, sending=False)
    assert replay.wire() == b"6\r\nabcdef\r\n"
    replay.end(b"A: b\r\n")
    assert replay.complete
    assert replay.wire() == b"6\r\nabcdef\r\n0\r\nA: b\r\n\r\n"
    assert replay.frame(b"ghi") == b"3\r\nghi\r\n"
    assert replay.closing() == b"0\r\nA: b\r\n\r\n"


def test_an_empty_chunked_body_is_its_end() -> None:
    replay = Replay(ReplayMemory(1000), chunked=True)
    assert replay.wire() == b""
    replay.end(b"")
    assert replay.wire() == b"0\r\n\r\n"


def test_a_body_of_known_length_needs_no_end() -> None:
    replay = Replay(ReplayMemory(1000), chunked=False)
    replay.add(b"abc", LIMIT, sending=False)
    replay.end(b"")
    assert replay.wire() == b"abc"
    assert replay.closing() == b""


@pytest.mark.parametrize("payload", [b"", b"abc", b"x" * (LIMIT + 1)])
def test_a_body_that_came_whole_is_complete_from_the_start(payload: bytes) -> None:
    replay = Replay(ReplayMemory(1000), chunked=False, whole=payload)
    assert replay.complete
    assert replay.whole
    assert (replay.size, replay.held) == (len(payload), len(payload))
    assert replay.wire() == replay.wire() == payload
    assert replay.closing() == b""


def test_a_chunked_body_that_came_whole_is_framed_with_its_end() -> None:
    assert Replay(ReplayMemory(1000), chunked=True, whole=b"abc").wire() == b"3\r\nabc\r\n0\r\n\r\n"
    assert Replay(ReplayMemory(1000), chunked=True, whole=b"").wire() == b"0\r\n\r\n"


def test_a_body_that_is_still_to_come_has_no_size_and_is_not_complete() -> None:
    replay = Replay(ReplayMemory(1000), chunked=False)
    assert not replay.complete
    assert replay.whole
    assert (replay.size, replay.held, replay.wire()) == (0, 0, b"")


def test_the_size_counts_what_was_held_and_what_was_let_go() -> None:
    replay = Replay(ReplayMemory(1000), chunked=True)
    replay.add(b"x" * 4, LIMIT, sending=False)
    assert (replay.size, replay.held) == (4, 4)
    replay.add(b"x" * 6, LIMIT, sending=True)
    assert (replay.size, replay.held) == (10, 10)
    replay.add(b"x", LIMIT, sending=True)
    assert (replay.size, replay.whole) == (11, False)
    replay.add(b"x" * 100, LIMIT, sending=True)
    assert (replay.size, replay.whole, replay.wire()) == (111, False, b"")


def test_beyond_the_memory_of_all_a_body_is_sent_and_not_kept() -> None:
    memory = ReplayMemory(10)
    first = Replay(memory, chunked=False, whole=b"x" * 8)
    first.sent()
    second = Replay(memory, chunked=False, whole=b"y" * 8)
    assert memory.held == 16  # what was not sent yet has to be somewhere
    assert second.wire() == b"y" * 8
    second.sent()
    assert (first.whole, second.whole, memory.held) == (True, False, 8)
    assert (second.held, second.size) == (0, 8)


def test_what_comes_while_the_memory_of_all_is_full_is_not_kept() -> None:
    memory = ReplayMemory(10)
    other = Replay(memory, chunked=False, whole=b"x" * 11)
    replay = Replay(memory, chunked=False)
    replay.add(b"abc", 100, sending=True)
    assert (replay.whole, replay.held, memory.held) == (False, 0, 11)
    other.let_go()
    assert memory.held == 0


def test_what_was_let_go_is_given_back_once() -> None:
    memory = ReplayMemory(10)
    replay = Replay(memory, chunked=False)
    replay.add(b"abc", 100, sending=False)
    assert memory.held == 3
    replay.let_go()
    replay.let_go()
    assert (memory.held, replay.held, replay.size) == (0, 0, 3)


def test_an_empty_body_is_kept_however_full_the_memory_is() -> None:
    memory = ReplayMemory(0)
    Replay(memory, chunked=False, whole=b"x")
    replay = Replay(memory, chunked=False, whole=b"")
    replay.sent()
    assert replay.whole
