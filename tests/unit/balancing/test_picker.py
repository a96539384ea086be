"""The choice, seen from outside: who is picked, one after the other."""

from collections import Counter
from random import Random

from app.balancing.endpoint import Endpoint, EndpointSpec
from app.balancing.picker import Picker


class Scripted(Random):
    """Draws what it was told to."""

    def __init__(self, *draws: int) -> None:
        super().__init__()
        self._draws = list(draws)

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        return self._draws.pop(0)


def picker_of(names: str, *, random: Random | None = None) -> tuple[Picker, dict[str, Endpoint]]:
    """An idle picker; by default its first order is that of the names."""
    picker = Picker(random or Scripted(*range(1, len(names) + 1)))
    endpoints = {name: Endpoint(EndpointSpec(name, "10.0.0.1", 8000)) for name in names}
    for endpoint in endpoints.values():
        picker.add(endpoint)
    return picker, endpoints


def picks(picker: Picker, number: int, cap: int | None = None) -> str:
    """The names of the next picks; a dot where there was none to choose."""
    chosen = [picker.pick(cap) for _ in range(number)]
    return "".join("." if endpoint is None else endpoint.name for endpoint in chosen)


def end_request(picker: Picker, endpoint: Endpoint) -> None:
    """What the pool does when a slot comes back."""
    endpoint.in_flight -= 1
    picker.update(endpoint)


def test_nobody_to_choose() -> None:
    picker, _ = picker_of("")
    assert picker.pick(None) is None


def test_a_choice_is_counted_at_once_so_that_a_burst_spreads_evenly() -> None:
    picker, endpoints = picker_of("abcdefg")
    burst = Counter(picks(picker, 72))
    assert max(burst.values()) - min(burst.values()) == 1
    assert burst == {name: endpoint.in_flight for name, endpoint in endpoints.items()}


def test_the_least_loaded_is_chosen() -> None:
    picker, endpoints = picker_of("abc")
    assert picks(picker, 6) == "abcabc"
    end_request(picker, endpoints["b"])
    assert picks(picker, 2) == "ba"


def test_among_equals_the_least_recently_chosen_so_that_an_idle_pool_is_used_in_turn() -> None:
    picker, endpoints = picker_of("abc")
    turns = ""
    for _ in range(9):
        name = picks(picker, 1)
        end_request(picker, endpoints[name])
        turns += name
    assert turns == "abcabcabc"


def test_the_first_order_is_random_so_that_replicas_do_not_all_begin_with_the_same() -> None:
    orders = {picks(picker_of("abcdef", random=Random(seed))[0], 6) for seed in range(20)}
    assert len(orders) > 15
    assert picks(picker_of("abcdef", random=Random(7))[0], 6) in orders


def test_a_random_number_drawn_twice_is_drawn_again() -> None:
    picker, _ = picker_of("ab", random=Scripted(5, 5, 3))
    assert picks(picker, 2) == "ba"


def test_a_newcomer_comes_before_all_who_were_chosen_but_not_before_the_less_loaded() -> None:
    picker, endpoints = picker_of("ab", random=Scripted(1, 2, 3, 4))
    assert picks(picker, 2) == "ab"
    for endpoint in endpoints.values():
        end_request(picker, endpoint)
    newcomer, busy = (Endpoint(EndpointSpec(name, "10.0.0.1", 8000)) for name in "nm")
    busy.in_flight = 1
    picker.add(busy)
    picker.add(newcomer)
    assert picks(picker, 4) == "nabm"


def test_no_endpoint_is_chosen_beyond_the_cap() -> None:
    picker, endpoints = picker_of("ab")
    assert picks(picker, 5, cap=2) == "abab."
    end_request(picker, endpoints["a"])
    assert picks(picker, 2, cap=2) == "a."


def test_a_lower_cap_takes_nothing_back_and_gives_nothing_out() -> None:
    picker, endpoints = picker_of("a")
    assert picks(picker, 4, cap=3) == "aaa."
    end_request(picker, endpoints["a"])
    assert picks(picker, 1, cap=2) == "."
    end_request(picker, endpoints["a"])
    assert picks(picker, 2, cap=2) == "a."


def test_the_excluded_are_passed_over_and_keep_their_place() -> None:
    picker, endpoints = picker_of("abc")
    chosen = picker.pick(None, {endpoints["a"], endpoints["b"]})
    assert chosen is endpoints["c"]
    assert picks(picker, 3) == "abc"


def test_with_all_free_endpoints_excluded_there_is_none() -> None:
    picker, endpoints = picker_of("ab")
    assert picker.pick(None, set(endpoints.values())) is None
    assert picks(picker, 2, cap=1) == "ab"
    end_request(picker, endpoints["a"])
    assert picker.pick(1, {endpoints["a"]}) is None
    assert picks(picker, 2, cap=1) == "a."


def test_a_removed_endpoint_is_not_chosen_and_returns_to_its_place_among_the_recent() -> None:
    picker, endpoints = picker_of("abc")
    assert picks(picker, 3) == "abc"
    picker.remove(endpoints["a"])
    assert (len(picker), endpoints["a"] in picker, endpoints["b"] in picker) == (2, False, True)
    assert picks(picker, 2) == "bc"
    picker.add(endpoints["a"])
    assert picks(picker, 2) == "ab"


def test_an_update_of_one_not_to_be_chosen_changes_nothing() -> None:
    picker, endpoints = picker_of("abc")
    stranger = Endpoint(EndpointSpec("s", "10.0.0.1", 8000))
    assert picks(picker, 6) == "abcabc"
    picker.remove(endpoints["b"])
    size = len(picker._heap)
    end_request(picker, endpoints["b"])
    picker.update(stranger)
    assert (len(picker._heap), len(picker)) == (size, 2)
    assert (stranger.ticket, stranger in picker, endpoints["b"] in picker) == (0, False, False)
    assert picks(picker, 2) == "ac"
    picker.add(endpoints["b"])
    assert picks(picker, 3) == "bba"


def test_an_update_of_a_stranger_with_anothers_ticket_changes_nothing() -> None:
    picker, endpoints = picker_of("ab")
    stranger = Endpoint(EndpointSpec("s", "10.0.0.1", 8000))
    stranger.ticket, stranger.in_flight = endpoints["b"].ticket, -1
    size = len(picker._heap)
    picker.update(stranger)
    assert len(picker._heap) == size
    assert picks(picker, 2) == "ab"


def test_changes_while_it_was_away_are_seen_when_it_returns() -> None:
    picker, endpoints = picker_of("ab")
    assert picks(picker, 4) == "abab"
    picker.remove(endpoints["b"])
    endpoints["b"].in_flight = 0
    picker.add(endpoints["b"])
    assert picks(picker, 3) == "bba"


def test_the_heap_stays_small_however_many_requests_end() -> None:
    picker, endpoints = picker_of("abc")
    for _ in range(1000):
        for name in picks(picker, 3):
            end_request(picker, endpoints[name])
    picks(picker, 300)
    for _ in range(99):
        for endpoint in endpoints.values():
            end_request(picker, endpoint)
        assert len(picker._heap) <= 64 + 4 * len(picker)
    assert picks(picker, 3) == "abc"


def test_a_slot_that_was_not_chosen_here_counts_from_then_on() -> None:
    picker, endpoints = picker_of("ab")
    picker.take(endpoints["a"])
    assert picks(picker, 3) == "bab"


def test_older_entries_of_one_that_was_taken_are_never_chosen() -> None:
    picker, endpoints = picker_of("abc")
    picks(picker, 6)
    end_request(picker, endpoints["a"])  # an entry of a with a count of 1
    for _ in range(3):
        picker.take(endpoints["a"])  # 4 by now
    assert picks(picker, 6) == "bcbcab"


def test_one_that_may_not_be_chosen_can_be_taken_and_has_its_count_when_it_returns() -> None:
    picker, endpoints = picker_of("ab")
    picker.remove(endpoints["a"])
    picker.take(endpoints["a"])
    picker.take(endpoints["a"])
    assert endpoints["a"] not in picker
    picker.add(endpoints["a"])
    assert picks(picker, 4, cap=3) == "bbab"


def test_any_mixture_of_choices_and_takes_chooses_the_least_loaded() -> None:
    random = Random(5)
    picker, endpoints = picker_of("abcd")
    for _ in range(3000):
        endpoint = random.choice(list(endpoints.values()))
        what = random.random()
        if what < 0.3:
            picker.take(endpoint)
        elif what < 0.6 and endpoint.in_flight:
            end_request(picker, endpoint)
        elif what < 0.7:
            (picker.remove if endpoint in picker else picker.add)(endpoint)
        else:
            counts = [e.in_flight for e in endpoints.values() if e in picker]
            chosen = picker.pick(9)
            assert (chosen is None) == (not counts or min(counts) >= 9)
            assert chosen is None or chosen.in_flight == min(counts) + 1
