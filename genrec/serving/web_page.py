"""The page at /: files of this package, and what only a person asks: which users, what they had, what was missed.

The page's files hold nothing of the shop and are answered without a key; what it then asks for is not.
"""

from __future__ import annotations

import asyncio
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from genrec.errors import ArtifactError, suggest
from genrec.evaluation.page_style import STYLE
from genrec.serving import answers as form
from genrec.serving.answers import LONGEST_HISTORY, NO_NUL, PastItem, UserPast, UsersFound
from genrec.serving.catalogue import Version
from genrec.serving.held_out import HeldOutRow, read_held_out, say_cause
from genrec.serving.refusals import refuse, responses
from genrec.serving.service import Service

MOST_USERS = 100
MOST_ROWS = 20  # held-out events of a user that are told, the latest
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def read_files() -> dict[str, tuple[str, bytes]]:
    """{path: (media type, content)}; the look is that of all pages, with what this one adds."""
    found = {"/page/style.css": ("text/css", STYLE.encode())}
    for file in (files("genrec.serving") / "page").iterdir():
        path = "/" if file.name == "index.html" else f"/page/{file.name}"
        found[path] = TYPES[file.name.rpartition(".")[2]], file.read_bytes()
    return found


FILES = read_files()
routes = APIRouter()


async def answer_file(request: Request) -> Response:
    media, content = FILES[request.scope["route"].path]
    return Response(content, media_type=media, headers=HEADERS)


for path in FILES:
    routes.add_api_route(path, answer_file, include_in_schema=False)


@routes.get("/users", responses=responses(503))
async def find_users(
    request: Request,
    query: Annotated[str, Query(max_length=200)] = "",
    limit: Annotated[int, Query(ge=1, le=MOST_USERS)] = 10,
) -> UsersFound:
    """Users of the run by a part of their id, those that begin with it first; forgotten ones are not named."""
    service: Service = request.app.state.service
    ids = service.version.user_number
    found = await asyncio.to_thread(match_users, ids, query)
    named: list[str] = []
    for user in found:
        if len(named) == limit:
            break
        if not (await service.in_thread(service.reading, service.store.past, user)).deleted:
            named.append(user)
    return UsersFound(users=named)


def match_users(ids: dict[str, int], query: str) -> list[str]:
    """In the order of the run within both halves."""
    there = [user for user in ids if query in user]
    return sorted(there, key=lambda user: not user.startswith(query))


@routes.get("/history", responses=responses(422, 503))
async def show_history(
    request: Request,
    user: Annotated[str, Query(min_length=1, max_length=200, pattern=NO_NUL)],
    limit: Annotated[int, Query(ge=1, le=LONGEST_HISTORY)] = 100,
) -> UserPast:
    """What a user had, by the run and by the events since: the latest, oldest first."""
    service: Service = request.app.state.service
    version = service.version
    past = await service.in_thread(service.reading, service.store.past, user)
    history, _ = service.join_past(version, user, past)
    words = version.words
    items = [PastItem(item=item, id=words.item_id[item], title=words.title[item]) for item in history[-limit:].tolist()]
    return UserPast(user=user, events=len(history), items=items, version=version.name)


@routes.get("/missed", responses=responses(404, 422, 503))
async def show_missed(
    request: Request,
    user: Annotated[str, Query(min_length=1, max_length=200, pattern=NO_NUL)],
    model: Annotated[str | None, Query(max_length=100)] = None,
) -> form.Missed:
    """Where a model had a user's held-out events, and why it missed them, by the run's analysis."""
    service: Service = request.app.state.service
    version = service.version
    model = next(iter(version.models)) if model is None else model
    if model not in version.models:
        there = ", ".join(version.models)
        raise refuse(404, f"no model {model!r}{suggest(model, version.models)}; there are: {there}")
    past = await service.in_thread(service.reading, service.store.past, user)
    found, because = None, f"nothing of user {user!r} is held out"
    if version.first.sequences is None:
        because = "a model by itself has no held-out events; serve its run"
    elif not past.deleted:
        try:
            found = await asyncio.to_thread(read_held_out, version.origin, model, version.name)
        except ArtifactError as error:
            because = str(error)
    rows = [] if found is None else found.rows.get(user, [])[-MOST_ROWS:]
    return form.Missed(
        user=user,
        model=model,
        version=version.name,
        split=found and found.split,
        top_k=found and found.top_k,
        rows=[tell_row(version, row) for row in rows],
        none_because=None if rows else because,
    )


def tell_row(version: Version, row: HeldOutRow) -> form.HeldOutEvent:
    words, item = version.words, row.truth
    return form.HeldOutEvent(
        item=PastItem(item=item, id=words.item_id[item], title=words.title[item]),
        rank=row.rank,
        missed=row.missed,
        causes=[form.Reason(cause=name, says=say_cause(name)) for name in row.causes if row.missed],
    )
