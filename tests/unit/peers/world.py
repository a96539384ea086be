"""Replicas, their network, the API, and the truth: what runs at the workers.

A world is moved by its operations, which take numbers that mean something in every state, so that
any list of operations can be played. It judges each start of a request by itself; what holds beside
is in `judging`.

What is promised, and so asserted: never more than the cap run at an endpoint. A request ends at its
deadline at the latest, that of a dead process within `WORKERS_STOP` where workers stop then. Caps
that change are obeyed by each process in its time: the highest is what counts. A process knows the
pools whose requests outlive it from its start; others, and all endpoints, it may learn of later.
"""

from functools import partial
from random import Random

from app.balancing.lease import Outcome
from app.balancing.policy import OnClientGone
from app.peers.docket import WORKERS_STOP
from tests.unit.peers.kube import Kube
from tests.unit.peers.network import API, Channel, Wire
from tests.unit.peers.process import ENDPOINTS, POOLS, Process, Request

PODS = ("p", "q", "r", "s")


class World:
    """Everything there is."""

    def __init__(self) -> None:
        self.now = 1024.0
        self.kube = Kube()
        self.busy: list[Channel] = []
        """The channels that have something under way, those that got it first in front."""

        self.wires: list[Wire] = []
        self.cuts: set[frozenset[str]] = set()
        self.processes: dict[str, Process] = {}
        """The last of each pod."""

        self.running: dict[tuple[str, str], set[Request]] = {}
        self.most: dict[str, int] = {}
        """The highest cap of each pool that was ever obeyed."""

        self.mixed: set[str] = set()
        """The pools of which not all have obeyed the same cap."""

        self.deciders: dict[int, Process] = {}
        self._number = 0

    # --- for the processes

    def at(self, address: str) -> Process | None:
        """Return the process that is reached there now."""
        return self.processes.get(address.partition(":")[0])

    def version(self, one: Process, other: Process) -> int:
        """Return the version of the protocol that two speak."""
        return min(one.newest_version, other.newest_version)

    def starts(self, request: Request) -> None:
        """Judge a request's start at its worker."""
        running = self.running.setdefault(request.place, set())
        assert len(running) < self.most[request.pool], f"{request}: {sorted(map(repr, running))}"
        running.add(request)

    def ends(self, request: Request) -> None:
        """Take note of its end."""
        self.running[request.place].discard(request)

    def left_alone(self, process: Process) -> None:
        """Let the requests of a process that died run on for as long as they may."""
        for request in process.requests:
            if request.lease is not None and POOLS[request.pool] is OnClientGone.CANCEL:
                request.until = min(request.until, self.now + WORKERS_STOP - 1 / 32)

    # --- operations: time

    def advance(self, seconds: float) -> None:
        """Let time pass, and nothing be noticed."""
        self.now += seconds
        for running in self.running.values():
            for request in [r for r in running if r.until <= self.now]:
                running.discard(request)

    def run(self, steps: int, seconds: float, seed: int) -> None:
        """Let all go on, but for what is stopped or held up."""
        random = Random(seed)
        for _ in range(steps):
            self.advance(seconds)
            chores = [(p, do) for p in self.processes.values() for do in p.chores]
            random.shuffle(chores)
            for process, do in chores:
                if process.awake:
                    do()
                    self.flow(random)
            self.flow(random)

    def flow(self, random: Random) -> None:
        """Deliver all that can be delivered, in any order among channels."""
        for _ in range(5000):
            channels = [channel for channel in self.busy if channel.open]
            if not channels:
                return
            random.choice(channels).deliver()
        raise AssertionError("it never ends")

    def nudge(self, number: int) -> None:
        """Deliver one thing."""
        channels = [channel for channel in self.busy if channel.open]
        if channels:
            channels[number % len(channels)].deliver()

    def tick(self, number: int, chore: int) -> None:
        """Let one process notice the time, in one of its ways."""
        if process := self._one(number, awake=True):
            process.chores[chore % len(process.chores)]()

    # --- operations: requests

    def ask(self, number: int, pool: int, seconds: float) -> None:
        """Let a request come."""
        ready = [p for p in self.processes.values() if p.awake and p.replica.joined]
        ready = [p for p in ready if p.pools and not p.leaving]
        if ready:
            process = ready[number % len(ready)]
            names = sorted(process.pools)
            process.accept(names[pool % len(names)], seconds)

    def fill(self, seconds: float) -> None:
        """Let requests come everywhere."""
        for number in range(len(self.processes)):
            for pool in range(len(POOLS)):
                self.ask(number, pool, seconds)

    def finish(self, number: int) -> None:
        """Let a worker be done; the balancer hears of it in time."""
        if request := self._running(number):
            self.ends(request)
            done = Channel(self, request.process, request.process.pod)
            done.put(partial(request.ends, Outcome.ANSWERED))

    def fail(self, number: int, again: int) -> None:
        """Let a worker drop a request, which is sent again, or not."""
        request = self._running(number)
        if request is not None and request.process.awake:
            request.ends(Outcome.DIED, again=bool(again) and not request.process.leaving)

    def abort(self, number: int) -> None:
        """Let a client go away."""
        requests = [r for p in self.processes.values() if p.awake for r in p.requests if not r.over]
        if requests:
            requests[number % len(requests)].client_leaves()

    # --- operations: processes

    def start(self, number: int, knows: int, cap: int, version: int) -> None:
        """Start a process in a pod that has none: in its old pod, or in a new one of that name."""
        pod = PODS[number % len(PODS)]
        old = self.processes.get(pod)
        if old is None or not old.alive:
            self._start(pod, knows | 2, cap, version)

    def start_stranger(self, number: int, knows: int, cap: int, steps: int, seed: int) -> None:
        """Start a process that no other lets in, and kill it with its pod."""
        pod = PODS[number % len(PODS)]
        if any(p.alive for p in self.processes.values() if p.pod == pod):
            return
        self.isolate(number, len(PODS))
        self._start(pod, knows | 2, cap, 1)
        self.run(steps, 0.25, seed)
        self.processes[pod].die()
        self.kube.pods.pop(pod, None)

    def _start(self, pod: str, knows: int, cap: int, version: int) -> None:
        if pod not in self.kube.pods:
            self.kube.pods[pod] = f"{pod}{self._number}"
        self._number += 1
        process = Process(self, pod, self.kube.pods[pod], self._number, 1 + version % 2)
        self.processes[pod] = process
        for bit, name in enumerate(POOLS):
            if knows & 1 << bit:
                self._learn(process, name, cap, knows >> 2)

    def learn(self, number: int, pool: int, endpoints: int) -> None:
        """Let a process learn of a pool, or of its endpoints."""
        if process := self._one(number, awake=True):
            name = list(POOLS)[pool % len(POOLS)]
            self._learn(process, name, 1, endpoints)

    def obey(self, number: int, pool: int, cap: int) -> None:
        """Let a process obey another cap."""
        process = self._one(number, awake=True)
        if process is not None and process.pools:
            names = sorted(process.pools)
            name = names[pool % len(names)]
            self.most[name] = max(self.most[name], cap)
            self.mixed.add(name)
            process.obey(name, cap)

    def kill(self, number: int, pod: int) -> None:
        """Kill a process, and perhaps its pod too."""
        if process := self._one(number):
            process.die()
            if pod:
                del self.kube.pods[process.pod]

    def hear(self, number: int) -> None:
        """Let a process hear which pods are gone, cut off from the Lease or not.

        The two are asked for over different connections, of which one may still work.
        """
        process = self._one(number, awake=True)
        for other in list(self.processes.values()) if process is not None else ():
            if process is not None and not other.alive:
                uid = self.kube.pods.get(other.pod)
                process.replica.pod_read(other.member, uid, self.now)

    def remove(self, number: int) -> None:
        """Remove a pod whose process is dead."""
        pod = PODS[number % len(PODS)]
        process = self.processes.get(pod)
        if process is not None and not process.alive:
            self.kube.pods.pop(pod, None)

    def stop(self, number: int) -> None:
        """SIGSTOP."""
        if process := self._one(number, awake=True):
            process.stopped = True

    def cont(self, number: int) -> None:
        """SIGCONT: what was missed is handled as it comes."""
        stopped = [p for p in self.processes.values() if p.stopped]
        if stopped:
            stopped[number % len(stopped)].stopped = False

    def leave(self, number: int) -> None:
        """Begin a graceful end."""
        process = self._one(number, awake=True)
        if process is not None and not process.leaving:
            process.leaving = True
            process.replica.leave()

    def part(self, number: int, patient: int) -> None:
        """End one that leaves, when its requests are over, or before."""
        leaving = [p for p in self.processes.values() if p.awake and p.leaving and not p.stopping]
        if leaving:
            process = leaving[number % len(leaving)]
            if not patient or all(r.over for r in process.requests):
                process.part()

    # --- operations: the network

    def slow(self, number: int) -> None:
        """Hold up one way, with what is on it."""
        channels = self.busy + [end.out for wire in self.wires[-8:] for end in wire.ends]
        if channels:
            channels[number % len(channels)].held = True

    def lose(self, number: int, keep: int) -> None:
        """Break a link, or lose an answer of the API for good."""
        wires = [w for w in self.wires if any(end.open and not end.broken for end in w.ends)]
        calls = [channel for channel in self.busy if API in channel.between]
        if number % 3 and wires:
            wires[number % len(wires)].lose(keep)
        elif calls:
            calls[number % len(calls)].lose(0)

    def cut(self, number: int, other: int) -> None:
        """Cut two places off from each other, or a place from the API: nobody hears of it."""
        places = [*PODS, API]
        one, two = places[number % len(PODS)], places[other % len(places)]
        if one != two:
            self.cuts ^= {frozenset({one, two})}

    def isolate(self, number: int, but: int) -> None:
        """Cut a place off from the API, and from all others but one."""
        for other in range(len(PODS) + 1):
            place = frozenset({PODS[number % len(PODS)], [*PODS, API][other]})
            if other not in {number % len(PODS), but} and place not in self.cuts:
                self.cut(number, other)

    def doze(self, number: int, steps: int, seed: int) -> None:
        """Stop a process while all others go on, and let it go on then."""
        if process := self._one(number, awake=True):
            process.stopped = True
            self.run(steps, 0.25, seed)
            process.stopped = False

    def heal(self) -> None:
        """Mend the network."""
        self.cuts.clear()
        for channel in [*self.busy, *(end.out for wire in self.wires for end in wire.ends)]:
            channel.held = False
        self.wires = [wire for wire in self.wires if any(end.open for end in wire.ends)]

    # --- inside

    @property
    def living(self) -> list[Process]:
        """The processes that are there."""
        return [process for process in self.processes.values() if process.alive]

    def _one(self, number: int, *, awake: bool = False) -> Process | None:
        found = [p for p in self.processes.values() if (p.awake if awake else p.alive)]
        return found[number % len(found)] if found else None

    def _running(self, number: int) -> Request | None:
        running = [r for place in sorted(self.running) for r in self.running[place]]
        running.sort(key=lambda request: (request.process.member.id, request.until))
        return running[number % len(running)] if running else None

    def _learn(self, process: Process, name: str, cap: int, endpoints: int) -> None:
        cap = self.most.setdefault(name, cap)
        chosen = frozenset(i for bit, i in enumerate(ENDPOINTS) if endpoints & 1 << bit)
        process.learn(name, cap, chosen)
