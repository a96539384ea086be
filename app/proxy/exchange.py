"""One request, from its head to its answer: admission, attempts, retries, and the way back.

Its life:

    collecting   the client sends; no worker is occupied yet
    waiting      for a slot, in the pool's queue
    connecting   to the worker that the lease names, if no idle connection is at hand
    sent         the request is written, or being written; the response may come
    answered     the final response's head went to the client: no way back
    over         the lease is released, the client's connection goes on to its next request

A request is admitted once its body is complete or the replay buffer is full, so that a slow
uploader occupies no worker. A failed attempt goes back to waiting if `app.balancing.retry` allows
it. Whatever happens, each lease is released once, and before the client's next request begins.
"""

from collections.abc import Callable
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from app.balancing.endpoint import Endpoint
from app.balancing.errors import NoEndpoint, QueueFull, QueueTimeout, Refusal
from app.balancing.lease import Lease, Outcome
from app.balancing.policy import OnClientGone
from app.balancing.retry import may_repeat, send_again
from app.balancing.waiters import Waiter
from app.http1.requests import RequestHead
from app.http1.responses import ResponseHead
from app.proxy import responses
from app.proxy.headers import (
    ClientFraming,
    client_framing,
    request_head,
    response_head,
)
from app.proxy.record import Record
from app.proxy.replay import Replay
from app.proxy.responses import Problem
from app.telemetry.endings import NO_ENDPOINT, QUEUE_FULL, QUEUE_TIMEOUT, ending
from app.telemetry.timing import way_lines

if TYPE_CHECKING:
    from app.proxy.backend import Backend
    from app.proxy.downstream import Downstream
    from app.proxy.upstream import Upstream

FRESH: Final = 1.0
"""A request that may not be repeated takes no connection that was idle for longer (seconds): the
worker might be closing it at this moment, and nobody could tell whether it saw the request."""

_REFUSED: Final = {QueueFull: QUEUE_FULL, QueueTimeout: QUEUE_TIMEOUT, NoEndpoint: NO_ENDPOINT}
_NOT_SENT: Final = frozenset({Outcome.CONNECT_REFUSED, Outcome.CONNECT_SILENT})
_NOBODY: Final[frozenset[Endpoint]] = frozenset()
_ANSWERED: Final = Outcome.ANSWERED


class Exchange(Record):
    """One request and what becomes of it."""

    __slots__ = (
        "_backend",
        "_call_off",
        "_framing",
        "_lease",
        "_outcome",
        "_retry_after",
        "_tried",
        "_upstream",
        "_waited",
        "_waiter",
        "deadline",
        "downstream",
        "waiting_since",
    )

    def __init__(
        self,
        backend: "Backend",
        downstream: "Downstream",
        head: RequestHead,
        body: Replay,
        now: float,
    ) -> None:
        super().__init__(head, body, now)
        self._backend = backend
        self.downstream: Downstream | None = downstream
        """None once the client has gone."""

        self.deadline = inf
        """When the whole request has to be over."""

        self.waiting_since = 0.0
        """Since when it could be sent, or sent again."""

        self._waited = 0.0
        """For how long it has stood in the queue, all waits together."""

        self._tried = _NOBODY
        self._waiter: Waiter | None = None
        self._lease: Lease | None = None
        self._call_off: Callable[[], object] | None = None
        self._upstream: Upstream | None = None
        self._framing: ClientFraming | None = None  # set: answered
        self._outcome = _ANSWERED
        self._retry_after: float | None = None

    @property
    def backend(self) -> "Backend":
        """Where it goes."""
        return self._backend

    # --- from the client

    def admit(self, now: float) -> None:
        """Ask for a slot: the request is complete, or as much of it has come as may be held."""
        backend = self._backend
        self.ready_at = self.waiting_since = now
        request = backend.pool.policy.timeouts.request
        if request is not None:
            self.deadline = now + request
        backend.pool.budget.deposit(now)
        backend.stats.requests += 1
        self._acquire(now, retried=False)

    def request_data(self, payload: bytes) -> None:
        """Take a part of the body."""
        limit = self._backend.pool.policy.retry.replay_bytes
        upstream = self._upstream
        self.body.add(payload, limit, sending=upstream is not None)
        if upstream is not None:
            upstream.write(self.body.frame(payload))
        elif (self.body.held >= limit or self.body.crowded) and self.downstream is not None:
            self.downstream.pause()
            if not self._admitted:
                self.admit(monotonic())

    def request_end(self, trailers: bytes) -> None:
        """Take the end of the body."""
        self.body.end(trailers)
        if not self._admitted:
            self.admit(monotonic())
        elif self._upstream is not None:
            self._upstream.write(self.body.closing())
            self._upstream.request_sent(monotonic())

    def client_gone(self) -> None:
        """The client has left: free what it holds, at once or when the worker is through."""
        self.downstream = None
        self._backend.stats.clients_gone += 1
        self.ending = ("K" if self._backend.proxy.closing else "C") + self._stage()
        finish = self._backend.pool.policy.on_client_gone is OnClientGone.FINISH
        if finish and self.body.complete and self._upstream is not None:
            self._upstream.resume()
        else:
            self.cancel()

    def abandon(self, problem: Problem) -> None:
        """Give the request up, since the rest of it cannot be read; the client is told why."""
        self._free()
        why = "c" if problem is responses.BODY_TIMEOUT else "P"
        if self._framing is None:
            self._answer(problem, why + "R")
        else:
            self._break_off(why + "D")

    def cancel(self) -> None:
        """Give the request up: its client has gone."""
        self._free()
        self._over(monotonic())

    def _free(self) -> None:
        """Free whatever is held: the place in the queue, the connect, the worker."""
        if self._waiter is not None:
            self._backend.pool.cancel(self._waiter)
            self._waiter = None
        if self._call_off is not None:
            self._call_off()
            self._call_off = None
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abort()
        self._release(Outcome.CLIENT_GONE)

    def client_blocked(self) -> None:
        """Read no more from the worker: the client takes nothing."""
        if self._upstream is not None:
            self._upstream.pause()

    def client_unblocked(self) -> None:
        """Read on from the worker."""
        if self._upstream is not None:
            self._upstream.resume()

    # --- from the pool

    def granted(self, lease: Lease) -> None:
        """Take the slot and send the request to its worker."""
        self._waiter = None
        self._lease = lease
        self.endpoint = lease.endpoint
        self.attempts += 1
        self.granted_at = now = lease.granted_at
        self._waited += now - self.waiting_since
        backend = self._backend
        safe = self.body.complete and may_repeat(
            backend.pool.policy.retry, self.head.method, keyed=self.head.keyed
        )
        upstream = backend.connections.checkout(lease.endpoint, now, inf if safe else FRESH)
        if upstream is None:
            self._call_off = backend.connections.connect(lease.endpoint, self)
        else:
            self._send(upstream, now)

    def refused(self, refusal: Refusal) -> None:
        """No slot: tell the client."""
        self._waiter = None
        expired = monotonic() >= self.deadline
        problem = responses.EXPIRED if expired else responses.refusal(refusal)
        self._answer(problem, _REFUSED[type(refusal)])

    # --- from the connections

    def connected(self, upstream: "Upstream") -> None:
        """Send the request on the new connection."""
        self._call_off = None
        self._send(upstream, monotonic())

    def connect_failed(self, outcome: Outcome, detail: str) -> None:
        """No connection, nothing sent: another worker, whatever the method."""
        self._call_off = None
        if outcome is Outcome.CANCELLED:
            self._release(outcome)
            self._answer(responses.NOT_SENT, ending(outcome, "C"))
        else:
            self._failed(outcome, detail)

    def upstream_blocked(self) -> None:
        """Read no more from the client: the worker takes nothing."""
        if self.downstream is not None and not self.body.complete:
            self.downstream.pause()

    def upstream_unblocked(self) -> None:
        """Read on from the client."""
        if self.downstream is not None:
            self.downstream.resume()

    # --- from the worker

    def interim(self, head: ResponseHead) -> None:
        """Pass a 1xx on, to a client that knows them; 100 we have given ourselves."""
        if self.downstream is not None and self.head.minor == 1 and head.status != 100:  # noqa: PLR2004
            self.downstream.transport.write(response_head(head, b""))

    def switched(self) -> "Downstream | None":
        """Let go of both connections for a tunnel; return the client's, None if it has gone."""
        self.status = 101
        self.answered_at = monotonic()
        self._upstream = None
        if self._lease is not None:
            self._lease.unbound()
        downstream, self.downstream = self.downstream, None
        return downstream

    def tunnel_ended(self, outcome: Outcome) -> None:
        """Give the slot back that the tunnel has held."""
        self._release(outcome)
        self._over(monotonic())

    def response(self, head: ResponseHead, payload: bytes, *, done: bool, trailers: bytes) -> None:
        """Take the final response's head with the first bytes of its body, or hide a refusal."""
        now = monotonic()
        if head.status in self._backend.pool.policy.retry.refused_statuses:
            self._outcome = Outcome.REFUSED
            self._retry_after = _seconds(head.value(b"retry-after"))
            if self.downstream is not None and self._sent_again(Outcome.REFUSED):
                self._refused_by_worker()
                return
        if self.body.held:
            self.body.answered()  # it may be long, and others need the memory
        self.status = head.status
        self.answered_at = now
        self.bytes_out = len(payload)
        downstream = self.downstream
        if downstream is not None:
            keep = self.body.complete and not self._backend.proxy.draining
            framing = self._framing = client_framing(self.head, head, keep_alive=keep)
            if framing.chunked:
                payload = framing.frame(payload, done=done, trailers=trailers)
            lines = framing.lines
            if self._backend.proxy.limits.way_headers and self._upstream is not None:
                lines += way_lines(
                    self.attempts,
                    self._upstream.worker_line,
                    b"" if head.identified else self.identifier,
                    ready_at=self.ready_at,
                    granted_at=self.granted_at,
                    sent_at=self.sent_at,
                    answered_at=now,
                )
            downstream.transport.write(response_head(head, lines, payload))
        if done:
            self._finish(now)
        elif downstream is not None and downstream.blocked and self._upstream is not None:
            self._upstream.pause()

    def response_data(self, payload: bytes, *, done: bool, trailers: bytes) -> None:
        """Take more of the response's body."""
        self.bytes_out += len(payload)
        if self.downstream is not None and self._framing is not None:
            data = self._framing.frame(payload, done=done, trailers=trailers)
            if data:
                self.downstream.transport.write(data)
        if done:
            self._finish(monotonic())

    def upstream_lost(self, outcome: Outcome, detail: str) -> None:
        """The worker's connection is gone before the response's end."""
        self._upstream = None
        if self.downstream is None:
            self._release(outcome, detail)
            self._over(monotonic())
        elif self._framing is not None:
            self._release(outcome, detail)
            self._break_off(ending(outcome, "D"))  # the client must see that it is not whole
        else:
            self._failed(outcome, detail)

    # --- inside

    @property
    def _admitted(self) -> bool:
        return self.ready_at > 0.0

    def _acquire(self, now: float, *, retried: bool) -> None:
        try:
            got = self._backend.pool.acquire(
                self,
                now,
                deadline=self.deadline,
                waited=self._waited,
                tried=self._tried,
                retried=retried,
            )
        except QueueFull as refusal:
            self.refused(refusal)
            return
        if type(got) is Lease:
            self.granted(got)
        else:
            self._waiter = cast("Waiter", got)

    def _send(self, upstream: "Upstream", now: float) -> None:
        """Write the request, as far as it has come."""
        self._upstream = upstream
        downstream = self.downstream
        if downstream is None:  # cannot be: a client that leaves calls the connect off
            raise AssertionError
        body = self.body
        self.sent_at = now
        tracing = self._backend.tracing
        if tracing is not None:
            self.head.fields = tracing.sent(self, upstream.endpoint, self.head.fields)
        data = request_head(self.head, downstream.trail, self.identifier, body.wire())
        upstream.begin(self, data, now)
        body.sent()
        if not body.complete and self._upstream is upstream and not upstream.blocked:
            downstream.resume()
        if self._backend.observer is not None:
            self._backend.observer.sent(self)

    def _finish(self, now: float) -> None:
        """The response is read: free the worker, then let the client go on."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            self._let_go(upstream, now)
        downstream, self.downstream = self.downstream, None
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.release(self._outcome, now, retry_after=self._retry_after)
        self._over(now)
        if downstream is not None:
            framing = self._framing
            downstream.finished(now, keep_alive=framing is not None and framing.keep_alive)

    def _let_go(self, upstream: "Upstream", now: float) -> None:
        """Keep the worker's connection for others, if its state is clear."""
        # What the worker has not taken of this request would stand before the next one.
        sent = self.body.complete and not upstream.transport.get_write_buffer_size()
        if upstream.detach() and sent:
            self._backend.connections.recycle(upstream, now)
        else:
            upstream.abort()

    def _release(
        self, outcome: Outcome, detail: str = "", retry_after: float | None = None
    ) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.release(outcome, monotonic(), retry_after=retry_after, detail=detail)

    def _sent_again(self, outcome: Outcome) -> bool:
        """Decide whether it is sent again."""
        pool = self._backend.pool
        return send_again(
            pool.policy.retry,
            pool.budget,
            outcome,
            monotonic(),
            self.head.method,
            keyed=self.head.keyed,
            replayable=self.body.whole,
        )

    def _refused_by_worker(self) -> None:
        """The worker is full by its own word: try another, or wait."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            self._let_go(upstream, monotonic())
        retry_after, self._retry_after = self._retry_after, None
        self._outcome = _ANSWERED
        self._again(Outcome.REFUSED, retry_after=retry_after)

    def _failed(self, outcome: Outcome, detail: str) -> None:
        """An attempt has failed and the client knows nothing yet: again, or tell it."""
        if self._sent_again(outcome):
            self._again(outcome, detail)
        else:
            if self._backend.events is not None:
                self._backend.events.lost(self.identifier, self.worker, outcome, again=False)
            self._release(outcome, detail)
            stage = "C" if outcome in _NOT_SENT else "H"
            self._answer(responses.failure(outcome), ending(outcome, stage))

    def _again(self, outcome: Outcome, detail: str = "", retry_after: float | None = None) -> None:
        """Give the slot back and ask for another, before all who have not been sent yet."""
        # One that refused is not avoided: it is withheld for its pause, and then as good as any.
        if self._lease is not None and outcome is not Outcome.REFUSED:
            self._tried |= {self._lease.endpoint}
        self.waiting_since = monotonic()
        backend = self._backend
        backend.stats.retries[outcome] += 1
        if backend.events is not None and outcome is not Outcome.REFUSED:
            backend.events.lost(self.identifier, self.worker, outcome, again=True)
        if backend.tracing is not None:
            backend.tracing.failed(self, outcome)
        self._release(outcome, detail, retry_after)
        if self._backend.observer is not None:
            self._backend.observer.retried(self, outcome)
        self._acquire(self.waiting_since, retried=True)

    def _answer(self, problem: Problem, letters: str) -> None:
        """Answer in a worker's place; `letters` say how it ended, see `app.telemetry.endings`."""
        self.status = problem.status
        self._backend.stats.answers[problem.status] += 1
        self.answered_at = now = monotonic()
        self.ending = letters
        downstream, self.downstream = self.downstream, None
        self._over(now)
        if downstream is not None:
            downstream.answer(problem, self)

    def _break_off(self, letters: str) -> None:
        """End a response that cannot be completed; `letters` say why."""
        self.ending = letters
        downstream, self.downstream = self.downstream, None
        self._over(monotonic())
        if downstream is not None:
            downstream.exchange = None  # it ends here, and not because its client has left
            downstream.abort()

    def _over(self, now: float) -> None:
        """Count it: the last thing that is done for a request."""
        self.ended_at = now
        self.body.let_go()
        requests = self._backend.requests
        if requests is not None:
            requests.count(
                self.status,
                self.ending,
                self.worker,
                arrived=self.arrived,
                ready=self.ready_at,
                granted=self.granted_at,
                sent=self.sent_at,
                answered=self.answered_at,
                ended=now,
            )
            if requests.log is not None:
                requests.log.ended(self)
        if self._backend.tracing is not None:
            self._backend.tracing.ended(self, self.head.fields)

    def _stage(self) -> str:
        """Say where it is, in a letter of `app.telemetry.endings.WHERE`."""
        if not self._admitted:
            return "R"
        if self._waiter is not None:
            return "Q"
        if self._call_off is not None:
            return "C"
        return "H" if self._framing is None else "D"


def _seconds(value: bytes | None) -> float | None:
    """Read a Retry-After in seconds; its other form, a date, is not honoured."""
    return float(value) if value is not None and value.isdigit() and len(value) < 10 else None  # noqa: PLR2004
