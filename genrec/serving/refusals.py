"""Why a request gets no answer: a status and one sentence."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException as UnroutedException

from genrec.errors import ArtifactError, one_line
from genrec.serving.events import StoreUnavailable

LONGEST = 400  # characters of a sentence

log = logging.getLogger("genrec.serving")


class Refusal(BaseModel):
    """Any answer that is no success."""

    detail: str


MEANINGS = {
    401: "the API key is missing or wrong",
    403: "without a key the server answers under the names of its machine only",
    404: "no such model or user",
    408: "the body did not arrive in time",
    409: "the catalogue stays as it is",
    413: "the body is too long",
    422: "what is asked cannot be answered as it stands",
    429: "too many requests of this address",
    500: "the server failed; its log says how",
    503: "the queue is full, the events are out of reach or the server is about to end; Retry-After says when to come "
    "again",
    504: "the deadline passed before the answer was there",
}


def responses(*codes: int) -> dict[int | str, dict[str, object]]:
    """For the OpenAPI page."""
    return {code: {"model": Refusal, "description": MEANINGS[code]} for code in codes}


def refuse(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> HTTPException:
    text = one_line(sentence)
    return HTTPException(status, text if len(text) <= LONGEST else text[: LONGEST - 3] + "...", headers)


async def answer_invalid(request: Request, error: Exception) -> JSONResponse:
    """The first thing that is wrong with a request, by its place; the request itself is not repeated."""
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    refusal = refuse(422, describe_invalid(errors[0], request.headers.get("content-type", "")) + more)
    return JSONResponse({"detail": refusal.detail}, 422)


def describe_invalid(error: dict[str, Any], content_type: str) -> str:
    """pydantic's account of one fault -> its place and what it is."""
    part, *place = (str(each) for each in error["loc"])  # of the body, the query or the path
    where = ".".join(place) or part
    if error["type"] == "json_invalid":
        return f"body: no JSON at character {where}: {error['ctx']['error']}"
    if error["type"] == "model_attributes_type":
        told = "" if "json" in content_type else "; send it with the header content-type: application/json"
        return f"{where}: Input should be a JSON object{told}"
    return f"{where}: {error['msg'].removeprefix('Value error, ')}"


async def answer_refused(request: Request, error: Exception) -> Response:
    """The router's own refusals in a sentence; ours as they stand."""
    assert isinstance(error, UnroutedException)
    if not isinstance(error, HTTPException):
        allowed = (error.headers or {}).get("Allow")
        sentence = f"this route takes {allowed}" if allowed else "there is no such route; /openapi.json lists them"
        error = refuse(error.status_code, sentence, error.headers)
    return await http_exception_handler(request, error)


async def answer_unreadable(_: Request, error: Exception) -> JSONResponse:
    """What FastAPI calls 400: bytes that are no text, and brackets deeper than are read."""
    return JSONResponse({"detail": "body: it cannot be read as JSON in UTF-8"}, 422)


async def answer_unavailable(_: Request, error: Exception) -> JSONResponse:
    """The store of events is away; the reason stands in the log."""
    assert isinstance(error, StoreUnavailable)
    log.error("%s", one_line(str(error)))
    sentence = "what is kept of users cannot be reached now; come again"
    return JSONResponse({"detail": sentence}, 503, {"Retry-After": "5"})


async def answer_failure(_: Request, error: Exception) -> JSONResponse:
    """What a person may know of a failure of ours; the log has the rest."""
    sentence = str(error) if isinstance(error, ArtifactError) else MEANINGS[500]
    return JSONResponse({"detail": refuse(500, sentence).detail}, 500)
