"""The worker's HTTP interface: run a task, look tasks up, tell how it goes.

`create_app` is called by `server.run`, and by tests. What always holds: a task's slot is taken
when its handler starts, with no await between the check and the count, and given back before its
response is returned, so before a byte of it is written. A balancer that frees its own slot on
reading the response may therefore send the next request at once, on any connection.
"""

import asyncio
import hashlib
import os
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response

from app.worker.disconnect import ClientDisconnectedError, run_while_connected
from app.worker.problems import HANDLERS, documented
from app.worker.schemas import ComputeRequest, Health, Occupation, Pong, StatusView, TaskView
from app.worker.settings import WorkerSettings
from app.worker.tasks import AtCapacityError, Note, Task, TaskRegistry, untold

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that left before its answer; nobody is there to read it."""

RETRY_AFTER = {"Retry-After": "1"}
"""In seconds. When a slot comes free is not known; that it is not at once, is."""

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Worker:
    """What the handlers of one app share."""

    settings: WorkerSettings
    tasks: TaskRegistry
    draining: asyncio.Event


async def _worker(request: Request) -> Worker:
    worker: Worker = request.app.state.worker
    return worker


# The dependency is a coroutine, as every handler is: FastAPI runs plain functions in threads, and
# between two threads a check and a count are no longer one step.
WorkerOf = Annotated[Worker, Depends(_worker)]


def create_app(
    settings: WorkerSettings, draining: asyncio.Event | None = None, note: Note = untold
) -> FastAPI:
    """Return the worker's app, with no task yet; once `draining` is set, it is not ready.

    `note` is told of each change of the number of tasks that run.
    """
    app = FastAPI(
        title="leastwise worker",
        summary="Runs long tasks, at most so many at once.",
        description="The reference worker of leastwise. Errors are RFC 9457 problem details.",
        redoc_url=None,
        exception_handlers=HANDLERS,
    )
    app.state.worker = Worker(
        settings,
        TaskRegistry(max_in_flight=settings.max_in_flight, history=settings.history, note=note),
        draining or asyncio.Event(),
    )
    app.include_router(router)
    return app


@router.post(
    "/compute",
    response_model=TaskView,
    tags=["tasks"],
    summary="Run a task and wait for its result",
    responses={
        422: documented("The body is not what is asked for."),
        503: documented(
            "As many tasks run as may; nothing was begun.", {"Retry-After": "In seconds."}
        ),
    },
)
async def compute(request: Request, body: ComputeRequest, worker: WorkerOf) -> Task | Response:
    """Answer when the task is done. A client that closes its connection stops its task."""
    seconds = worker.settings.task_seconds if body.seconds is None else body.seconds
    try:
        with worker.tasks.running(body.payload) as task:
            work = _compute(body.payload, seconds)
            task.result = await run_while_connected(work, request.receive)
    except AtCapacityError as full:
        detail = f"{full}: try again later, or another worker now"
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, detail, RETRY_AFTER) from None
    except ClientDisconnectedError:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    return task


async def _compute(payload: str, seconds: float) -> str:
    # The sleep stands for a computation that happens elsewhere, on a GPU or in another process:
    # it takes time, and leaves the event loop free to answer probes.
    await asyncio.sleep(seconds)
    return hashlib.sha256(payload.encode()).hexdigest()


@router.get("/task/", response_model=list[TaskView], tags=["tasks"], summary="List the tasks")
async def list_tasks(worker: WorkerOf) -> list[Task]:
    """List the running tasks and the last ended ones, the newest first."""
    return worker.tasks.newest_first()


@router.get(
    "/task/{uuid}/",
    response_model=TaskView,
    tags=["tasks"],
    summary="Look a task up",
    responses={
        404: documented("No task of this uuid is known here."),
        422: documented("This is not a uuid."),
    },
)
async def get_task(uuid: UUID, worker: WorkerOf) -> Task:
    """Return a task that runs, or one of the last that ended."""
    task = worker.tasks.find(uuid)
    if task is None:
        kept = worker.settings.history
        detail = f"no task {uuid} is known here: it ran elsewhere, or before the last {kept}"
        raise HTTPException(HTTPStatus.NOT_FOUND, detail)
    return task


@router.get("/status", tags=["worker"], summary="Tell how it goes")
async def status(worker: WorkerOf) -> StatusView:
    """Return the worker's own counts: the proof of what a balancer says."""
    tasks = worker.tasks
    return StatusView(
        status=Occupation.BUSY if tasks.in_flight else Occupation.IDLE,
        in_flight=tasks.in_flight,
        peak=tasks.peak,
        refused=tasks.refused,
        completed=tasks.completed,
        cancelled=tasks.cancelled,
        max_in_flight=tasks.max_in_flight,
        name=worker.settings.name,
        pid=os.getpid(),
    )


@router.get("/ping", tags=["worker"], summary="Answer at once")
async def ping() -> Pong:
    """Answer, whatever else goes on."""
    return Pong()


@router.get("/healthz", tags=["worker"], summary="Tell whether the process lives")
async def healthz() -> Health:
    """Answer, also while draining: only a worker that cannot answer is to be restarted."""
    return Health()


@router.get(
    "/readyz",
    tags=["worker"],
    summary="Tell whether to send new tasks",
    responses={503: documented("The worker is about to exit.")},
)
async def readyz(worker: WorkerOf) -> Health:
    """Answer 200 until the worker is told to exit. A full worker is ready: it will be free."""
    if worker.draining.is_set():
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, "draining: send new tasks elsewhere")
    return Health()
