"""The worker's JSON, as its clients and `/docs` see it. `app.worker.api` speaks nothing else."""

from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

from app.worker.tasks import TaskStatus

# The history is bounded in tasks; with this it is bounded in bytes too.
MAX_PAYLOAD = 2**20

MAX_SECONDS = 3600.0
"""The longest that a request may want its task to take."""


class ComputeRequest(BaseModel):
    """What to compute."""

    payload: str = Field(
        max_length=MAX_PAYLOAD, description="The input, in characters.", examples=["hello"]
    )
    seconds: float | None = Field(
        default=None,
        ge=0,
        le=MAX_SECONDS,
        allow_inf_nan=False,
        description="How long the task takes; null for the worker's own time. So that the same "
        "tasks can be run again.",
        examples=[None],
    )


class TaskView(BaseModel):
    """One computation."""

    uuid: UUID
    date: datetime = Field(description="When it began, in UTC.")
    result: str | None = Field(
        description="The payload's SHA-256 in hexadecimal; null unless DONE.",
        examples=["2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"],
    )
    payload: str = Field(examples=["hello"])
    status: TaskStatus = Field(
        description="CANCELLED: its client went away, or the worker was stopped."
    )


class Occupation(StrEnum):
    """Whether anything runs."""

    IDLE = "IDLE"
    BUSY = "BUSY"


class StatusView(BaseModel):
    """The worker's own counts. Those of tasks are from the start of the process."""

    status: Occupation = Field(description="BUSY while at least one task runs.")
    in_flight: int = Field(description="Tasks that run now.")
    peak: int = Field(description="The most tasks that ever ran at once.")
    refused: int = Field(description="Requests answered 503 because the worker was full.")
    completed: int = Field(description="Tasks that ran to their end.")
    cancelled: int = Field(description="Tasks that were stopped before their end.")
    max_in_flight: int | None = Field(description="Most tasks at once; null means no limit.")
    name: str = Field(description="How the worker calls itself.")
    pid: int = Field(description="Its process id: another one means another life.")


class Health(BaseModel):
    """A good answer to a health check."""

    status: Literal["ok"] = "ok"


class Pong(BaseModel):
    """The answer to a ping."""

    ping: Literal["pong"] = "pong"
