"""Errors as RFC 9457 problem details (`application/problem+json`), whoever raised them.

`api.create_app` installs `HANDLERS`; after that a handler raises HTTPException and is done.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """Why there is no better answer, by RFC 9457."""

    type: str = Field(default="about:blank", description="The kind; about:blank: see the status.")
    title: str = Field(description="The kind in words.", examples=["Service Unavailable"])
    status: int = Field(description="The HTTP status again.", examples=[503])
    detail: str = Field(description="What happened here, and what to do.")


def documented(description: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the OpenAPI entry of a problem response; `headers` maps names to descriptions."""
    return {
        "description": description,
        "headers": {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in (headers or {}).items()
        },
        "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
    }


async def _on_http_exception(_: Request, error: HTTPException) -> JSONResponse:
    return _response(error.status_code, error.detail, error.headers)


async def _on_invalid_request(_: Request, error: RequestValidationError) -> JSONResponse:
    # The input is not repeated: it may be megabytes, or text that no response can carry.
    faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
    return _response(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(faults))


def _response(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    return JSONResponse(problem.model_dump(), status, headers, media_type=MEDIA_TYPE)


HANDLERS: dict[int | type[Exception], Callable[..., Any]] = {
    HTTPException: _on_http_exception,
    RequestValidationError: _on_invalid_request,
}
