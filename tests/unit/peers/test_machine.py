"""The replicas' protocol against everything that may happen to it.

Hypothesis plays with a `World`: several replicas with real pools, workers that refuse nothing, and
a network, an API, processes and clocks of which nothing can be relied on. The world judges each
start of a request at its worker, and what is left in the end, when all is well again.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.unit.peers.judging import judge, settle
from tests.unit.peers.world import PODS, World

NUMBERS = st.integers(0, 11)
FEW = st.integers(0, 3)
SEEDS = st.integers(0, 99)
CAPS = st.integers(1, 3)
KNOWS = st.just(15) | st.integers(0, 15)
LIVES = st.sampled_from([0.5, 2.0, 4.0, 16.0])
STARTS = st.tuples(KNOWS, CAPS, st.booleans())


class PeersMachine(RuleBasedStateMachine):
    """The rules: what may happen."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.well = True

    def do(self, name: str, *arguments: float) -> None:
        """Play one operation."""
        self.well = False
        getattr(self.world, name)(*arguments)
        self.well = True

    @initialize(starts=st.lists(STARTS, min_size=1, max_size=4))
    def begin(self, starts: list[tuple[int, int, bool]]) -> None:
        for number, (knows, cap, version) in enumerate(starts):
            self.do("start", number, knows, cap, version)
        self.do("run", 4, 0.25, 0)

    @rule(seed=SEEDS, steps=st.sampled_from([1, 2, 4]))
    def run_shortly(self, seed: int, steps: int) -> None:
        self.do("run", steps, 1 / 32, seed)

    @rule(seed=SEEDS, steps=st.sampled_from([1, 2, 4, 16, 32]))
    def run(self, seed: int, steps: int) -> None:
        self.do("run", steps, 0.25, seed)

    @rule(seconds=st.sampled_from([1 / 16, 0.5, 1.0, 3.0, 8.0]))
    def advance(self, seconds: float) -> None:
        self.do("advance", seconds)

    @rule(numbers=st.lists(NUMBERS, min_size=1, max_size=4))
    def nudge(self, numbers: list[int]) -> None:
        for number in numbers:
            self.do("nudge", number)

    @rule(number=FEW, chore=st.integers(0, 4))
    def tick(self, number: int, chore: int) -> None:
        self.do("tick", number, chore)

    @rule(number=NUMBERS, pools=st.lists(st.integers(0, 1), min_size=1, max_size=4), life=LIVES)
    def ask(self, number: int, pools: list[int], life: float) -> None:
        for pool in pools:
            self.do("ask", number, pool, life)

    @rule(life=LIVES)
    def fill(self, life: float) -> None:
        self.do("fill", life)

    @rule(numbers=st.lists(NUMBERS, min_size=1, max_size=3))
    def finish(self, numbers: list[int]) -> None:
        for number in numbers:
            self.do("finish", number)

    @rule(number=NUMBERS, again=st.booleans())
    def fail(self, number: int, again: bool) -> None:
        self.do("fail", number, again)

    @rule(number=NUMBERS)
    def abort(self, number: int) -> None:
        self.do("abort", number)

    @rule(number=FEW, start=STARTS)
    def start(self, number: int, start: tuple[int, int, bool]) -> None:
        self.do("start", number, *start)

    @rule(number=FEW, knows=KNOWS, cap=CAPS, steps=st.sampled_from([4, 16]), seed=SEEDS)
    def start_stranger(self, number: int, knows: int, cap: int, steps: int, seed: int) -> None:
        self.do("start_stranger", number, knows, cap, steps, seed)

    @rule(number=FEW, pool=st.integers(0, 1), endpoints=FEW)
    def learn(self, number: int, pool: int, endpoints: int) -> None:
        self.do("learn", number, pool, endpoints)

    @rule(number=FEW, pool=st.integers(0, 1), cap=CAPS)
    def obey(self, number: int, pool: int, cap: int) -> None:
        self.do("obey", number, pool, cap)

    @rule(number=FEW, pod=st.booleans())
    def kill(self, number: int, pod: bool) -> None:
        self.do("kill", number, pod)

    @rule(number=FEW)
    def hear(self, number: int) -> None:
        self.do("hear", number)

    @rule(number=FEW)
    def remove(self, number: int) -> None:
        self.do("remove", number)

    @rule(number=FEW)
    def stop(self, number: int) -> None:
        self.do("stop", number)

    @rule(number=FEW)
    def cont(self, number: int) -> None:
        self.do("cont", number)

    @rule(number=FEW)
    def leave(self, number: int) -> None:
        self.do("leave", number)

    @rule(number=FEW, patient=st.booleans())
    def part(self, number: int, patient: bool) -> None:
        self.do("part", number, patient)

    @rule(number=NUMBERS)
    def slow(self, number: int) -> None:
        self.do("slow", number)

    @rule(number=NUMBERS, keep=st.integers(0, 2))
    def lose(self, number: int, keep: int) -> None:
        self.do("lose", number, keep)

    @rule(number=FEW, others=st.sets(st.integers(0, 4), min_size=1))
    def cut(self, number: int, others: set[int]) -> None:
        for other in sorted(others):
            self.do("cut", number, other)

    @rule(number=FEW, but=st.integers(0, 4))
    def isolate(self, number: int, but: int) -> None:
        self.do("isolate", number, but)

    @rule(number=FEW, life=LIVES, steps=st.sampled_from([4, 16, 32]), seed=SEEDS)
    def doze(self, number: int, life: float, steps: int, seed: int) -> None:
        self.do("fill", life)
        self.do("doze", number, steps, seed)

    @rule(number=FEW, steps=st.sampled_from([1, 4, 16]), seed=SEEDS)
    def kill_later(self, number: int, steps: int, seed: int) -> None:
        """Kill one that was cut off, or stopped, a while before."""
        self.do("fill", 16.0)
        self.do("run", 1, 0.25, seed)
        self.do("cut", number, (number + 1) % 4)
        self.do("run", steps, 0.25, seed)
        self.do("kill", number, 1)

    @rule(number=FEW, other=FEW, life=LIVES, steps=st.sampled_from([8, 24, 32]), seed=SEEDS)
    def cut_off(self, number: int, other: int, life: float, steps: int, seed: int) -> None:
        """Cut one off from all others, and another perhaps; both still reach the API."""
        self.do("fill", life)
        self.do("run", 1, 0.25, seed)
        for place in sorted({number, other}):
            self.do("isolate", place, len(PODS))
        self.do("run", steps, 0.25, seed)
        self.do("fill", life)

    @rule()
    def heal(self) -> None:
        self.do("heal")

    @invariant()
    def one_decides_in_a_term(self) -> None:
        judge(self.world)

    def teardown(self) -> None:
        """Whatever happened: once all is well again, nothing is left of it."""
        if self.well:
            settle(self.world)


TestPeers = PeersMachine.TestCase
TestPeers.settings = settings(
    max_examples=800,
    stateful_step_count=60,
    derandomize=True,  # the same examples in each run
    deadline=None,
    report_multiple_bugs=False,
)
