"""The routes of the server, as one ASGI application.

app = make_app(settings, catalogue, store, keys)      uvicorn runs it; tests call it
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException as UnroutedException

from genrec import __version__
from genrec.serving import answers as form
from genrec.serving import web_page
from genrec.serving.batching import Batcher
from genrec.serving.catalogue import Catalogue, Unchanged, Version
from genrec.serving.events import EventStore, StoreUnavailable
from genrec.serving.experiment import ServedExperiment, ask_arms, check_arms
from genrec.serving.guard import Guard
from genrec.serving.metrics import Watch
from genrec.serving.refusals import (
    answer_failure,
    answer_invalid,
    answer_refused,
    answer_unavailable,
    answer_unreadable,
    refuse,
    responses,
)
from genrec.serving.service import Service
from genrec.serving.settings import ServeOptions
from genrec.serving.version_file import WorkerGroup

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
MOST_FOUND = 100
EVERYWHERE = (401, 403, 422, 429, 500)  # statuses that any route may have


def make_app(
    settings: ServeOptions,
    catalogue: Catalogue,
    store: EventStore,
    keys: Sequence[bytes],
    experiment: ServedExperiment | None = None,
    group: WorkerGroup | None = None,
) -> Guard:
    """The application, with its queue; the decode thread and the experiment's log live until shutdown.

    `group` has the other workers behind the same port.
    """
    watch = Watch(group and group.figures)
    batcher = Batcher(settings.max_batch, settings.batch_wait_ms / 1000, settings.queue_size, watch)
    service = Service(settings, catalogue, store, watch, batcher, experiment, group)
    if experiment is not None:
        catalogue.accept = lambda version: check_arms(experiment.experiments, version, settings.max_k)
    catalogue.changed = lambda version: describe_version(watch, version)
    describe_version(watch, catalogue.current)
    app = FastAPI(
        title="genrec",
        version=__version__,
        summary="A recommender's lists",
        lifespan=lifespan,
        docs_url=None,  # both pages load their scripts from the network
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(400, answer_unreadable)
    app.add_exception_handler(UnroutedException, answer_refused)
    app.add_exception_handler(StoreUnavailable, answer_unavailable)
    app.add_exception_handler(Exception, answer_failure)
    app.include_router(routes, responses=responses(*EVERYWHERE))
    app.include_router(web_page.routes, responses=responses(*EVERYWHERE))
    return Guard(app, settings, keys, watch, batcher)


def describe_version(watch: Watch, version: Version) -> None:
    watch.version.info({"version": version.name, "models": ",".join(version.models)})


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    service.batcher.start()
    following = None if service.group is None else asyncio.create_task(service.group.follow(service.catalogue))
    yield
    if following is not None:
        following.cancel()
    service.close()


async def find_service(request: Request) -> Service:
    return request.app.state.service


Here = Annotated[Service, Depends(find_service)]
routes = APIRouter()


@routes.post("/recommend", responses=responses(404, 408, 413, 503, 504))
async def recommend(question: form.Question, request: Request, service: Here) -> form.Answer:
    """The best k items for a user or after a history."""
    return (await make_lists([question], request, service))[0]


@routes.post("/recommend/batch", responses=responses(404, 408, 413, 503, 504))
async def recommend_batch(questions: form.Questions, request: Request, service: Here) -> form.Answers:
    """Several at once, all by one version; refused as a whole."""
    return form.Answers(answers=await make_lists(questions.requests, request, service))


async def make_lists(questions: Sequence[form.Question], request: Request, service: Service) -> list[form.Answer]:
    most = service.settings.deadline
    seconds = min(most, *(most if each.deadline is None else each.deadline for each in questions))
    assignments = [service.assign(each) for each in questions]
    asked = [ask_arms(*pair) for pair in zip(questions, assignments, strict=True)]
    draws = [service.choose_draw(each) for each in assignments]
    drawn = [draw for draw, each in zip(draws, asked, strict=True) for _ in each]
    tasks = await service.read_lists([one for each in asked for one in each], drawn)
    lists = await service.answer(tasks, request, seconds)
    service.count(lists)
    own = iter(lists)
    by_question = [[next(own) for _ in each] for each in asked]
    return [service.conclude(*each) for each in zip(questions, assignments, by_question, strict=True)]


@routes.post("/explain", responses=responses(404, 408, 413, 503, 504))
async def explain(question: form.ExplainQuestion, request: Request, service: Here) -> form.Explanation:
    """Why an item after a history: code by code, what it stands for and how probable it was."""
    task = await service.read_explanation(question)
    return (await service.answer([task], request, service.settings.deadline))[0]


@routes.post("/events", responses=responses(408, 413, 503))
async def keep_events(events: form.Events, service: Here) -> form.Kept:
    """Append to a user's history; answered when it is on the disk."""
    version = service.version
    items = [version.words.item_id[item] for item in await service.read_words(version, events.items)]
    return form.Kept(user=events.user, events=await service.keep(events.user, items))


@routes.delete("/users/{user}", responses=responses(503))
async def delete_user(
    user: Annotated[str, Path(min_length=1, max_length=200, pattern=form.NO_NUL)], service: Here
) -> form.Removed:
    """Forget a user: the events are removed, and what the data artifact has is not used any more."""
    return form.Removed(events=await service.forget_user(user))


@routes.get("/items")
async def find_items(
    query: Annotated[str, Query(min_length=1, max_length=200)],
    service: Here,
    limit: Annotated[int, Query(ge=1, le=MOST_FOUND)] = 10,
) -> form.FoundItems:
    """Items by a part of their title, or by id; where none has it, the nearest."""
    version = service.version
    found = await service.search(version, query, limit)
    count = version.first.train_count
    words = version.words
    items = [
        form.Found(item=item, id=words.item_id[item], title=words.title[item], count=int(count[item])) for item in found
    ]
    return form.FoundItems(items=items, version=version.name)


# Operations


@routes.get("/health")
@routes.get("/v2/health/live", include_in_schema=False)
async def health() -> form.Live:
    """The process answers."""
    return form.Live(live=True)


@routes.get("/ready", responses={503: {"model": form.Ready}})
@routes.get("/v2/health/ready", include_in_schema=False)
async def ready(service: Here, response: Response) -> form.Ready:
    """A model is loaded and its thread takes work; else 503."""
    able = service.batcher.thread.is_alive() and not service.batcher.closing
    response.status_code = 200 if able else 503
    return form.Ready(ready=able)


@routes.get("/experiments")
async def experiments(service: Here) -> form.RunningExperiments:
    """What is measured here: arms, shares, models and settings."""
    running = {} if service.experiment is None else service.experiment.describe()
    return form.RunningExperiments.model_validate({"experiments": running})


@routes.get("/metrics", response_class=PlainTextResponse)
async def metrics(service: Here) -> Response:
    """Prometheus' text form."""
    return Response(service.watch.text(), media_type=PROMETHEUS)


@routes.get("/catalog/status", response_model_exclude_unset=True)
async def catalog_status(service: Here) -> form.CatalogStatus:
    """What is served, what was before, why the last reload failed, if it did; and what each worker serves."""
    return await service.status()


@routes.post("/catalog/reload", response_model_exclude_unset=True, responses=responses(409))
async def reload_catalog(service: Here) -> form.CatalogStatus:
    """Load what lies at the served place now, check it, and swap; on failure the old version goes on."""
    service.require_own_reloads()
    try:
        await service.catalogue.reload()
    except Unchanged as error:
        service.watch.reloads.labels("failed").inc()
        await service.report()
        raise refuse(409, str(error)) from None
    service.watch.reloads.labels("done").inc()
    await service.lead()
    return await service.status()


@routes.post("/catalog/rollback", response_model_exclude_unset=True, responses=responses(409))
async def roll_back_catalog(service: Here) -> form.CatalogStatus:
    """The version before this one, at once."""
    service.require_own_reloads()
    try:
        service.catalogue.rollback()
    except Unchanged as error:
        raise refuse(409, str(error)) from None
    service.watch.reloads.labels("rolled back").inc()
    await service.lead()
    return await service.status()
