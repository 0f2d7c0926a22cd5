"""A served run of random weights: the application in this process, and its client."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time

import uvicorn
from starlette.testclient import TestClient

import genrec
from genrec.serving.app import make_app
from genrec.serving.catalogue import Catalogue
from genrec.serving.events import SqliteEvents
from genrec.serving.settings import ServeOptions


def wait_for(seconds, condition):
    for _ in range(10 * seconds):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError(f"{seconds} s passed")


def load_models(place, models=(None,), **decoding):
    return [genrec.load(place, model, batch_size=16, **decoding) for model in models]


def make_catalogue(place, models=(None,), **decoding):
    return Catalogue(place, functools.partial(load_models, models=models, **decoding))


@contextlib.contextmanager
def serving(place, events, models=(None,), keys=(), catalogue=None, experiment=None, **settings):
    """(client, service) of the application, whose decode thread runs."""
    catalogue = catalogue or make_catalogue(place, models)
    keys = [key.encode() for key in keys]
    app = make_app(ServeOptions(**settings), catalogue, SqliteEvents(events), keys, experiment)
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        yield client, app.app.state.service


@contextlib.contextmanager
def listening(catalogue, events, keys=()):
    """The address of a server whose event loop runs in a thread."""
    options = ServeOptions(access_log=False)
    app = make_app(options, catalogue, SqliteEvents(events), [key.encode() for key in keys])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server ended before it began"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def point(link, target):
    """Turn a link over in one step."""
    beside = link.with_name(link.name + ".new")
    beside.symlink_to(target)
    os.replace(beside, link)


def ids_of(answer):
    return [item["id"] for item in answer["items"]]


def scores_of(answer):
    return [item["score"] for item in answer["items"]]
