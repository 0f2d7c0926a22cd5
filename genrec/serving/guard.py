"""What every request passes before it is read: the key, the rate, the size of its body; and the line it leaves.

An ASGI application around another. Keys stand in headers only, are compared in constant time, and are in no log.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
from collections.abc import Sequence
from typing import Any

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from genrec.errors import one_line
from genrec.serving.batching import Batcher, QueueFull
from genrec.serving.metrics import Watch
from genrec.serving.refusals import MEANINGS
from genrec.serving.settings import ServeOptions
from genrec.serving.web_page import FILES

DECODED = ("/recommend", "/recommend/batch", "/explain")  # routes that wait in the queue
OPEN = ("/health", "/ready", "/v2/health/live", "/v2/health/ready")  # answered without a key
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")  # names under which a browser may call an open server

log = logging.getLogger("genrec.access")


class Refused(Exception):
    """An answer before the application is asked."""

    def __init__(self, status: int, detail: str, reason: str, **headers: str):
        super().__init__(detail)
        self.status, self.reason, self.headers = status, reason, headers


class Guard:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, settings: ServeOptions, keys: Sequence[bytes], watch: Watch, batcher: Batcher):
        self.app, self.settings, self.keys, self.watch, self.batcher = app, settings, keys, watch, batcher
        self.rate = RateLimitItemPerSecond(settings.rate_limit) if settings.rate_limit else None
        self.limiter = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin, status = time.perf_counter(), 500

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self.check(scope)
            body = await self.read_body(scope, receive)
            await self.app(scope, replay(body, receive), note_status)
        except Refused as refused:
            self.watch.refused.labels(refused.reason).inc()
            await answer(refused, note_status)
        finally:
            self.record(scope, status, time.perf_counter() - begin)

    def check(self, scope: Scope) -> None:
        """Rate first, so that keys cannot be tried faster."""
        client = (scope.get("client") or ("-",))[0]
        if scope["path"] in OPEN:
            return
        if self.rate is not None and not self.limiter.hit(self.rate, client):
            raise Refused(429, f"more than {self.rate.amount} requests a second", "rate", **{"retry-after": "1"})
        headers = Headers(scope=scope)
        is_page = scope["method"] == "GET" and scope["path"] in FILES  # where a person types the key
        if self.keys and not is_page and not is_known(headers, self.keys):
            how = "Authorization: Bearer KEY, or X-API-Key: KEY"
            raise Refused(401, f"{MEANINGS[401]}; send it as {how}", "key", **{"www-authenticate": "Bearer"})
        if not self.keys and not self.settings.open and not is_local(headers.get("host", "")):
            raise Refused(403, "a server without a key answers under the names of this machine only", "host")

        if scope["path"] in DECODED and len(self.batcher.waiting) >= self.batcher.queue_size:
            full = QueueFull(self.batcher.expect_wait())  # no body is read for it
            raise Refused(503, str(full), "full", **{"retry-after": str(full.seconds)})

    async def read_body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body; 413 beyond the limit, 408 where it does not arrive in time."""
        limit = self.settings.max_body
        told = Headers(scope=scope).get("content-length", "0")
        if told.isdigit() and int(told) > limit:
            raise Refused(413, f"the body has {int(told):,} bytes, at most {limit:,} are read", "body")
        parts, length = [], 0
        try:
            async with asyncio.timeout(self.settings.body_timeout):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refused(400, "the client left before its request was whole", "gone")
                    parts.append(message.get("body", b""))
                    length += len(parts[-1])
                    if length > limit:
                        raise Refused(413, f"the body has more than {limit:,} bytes", "body")
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            seconds = self.settings.body_timeout
            raise Refused(408, f"the body did not arrive within {seconds:g} s", "slow", connection="close") from None

    def record(self, scope: Scope, status: int, seconds: float) -> None:
        """A line and two figures, by the route's own spelling: ids stand in paths and are not repeated."""
        route = getattr(scope.get("route"), "path", "-")
        self.watch.requests.labels(route, str(status)).inc()
        self.watch.request_seconds.labels(route).observe(seconds)
        if self.settings.access_log:
            client = one_line(str((scope.get("client") or ("-",))[0]))
            log.info("%s %s %s %d %.1f ms", client, one_line(scope["method"]), route, status, seconds * 1000)


def is_known(headers: Headers, keys: Sequence[bytes]) -> bool:
    kind, _, bearer = headers.get("authorization", "").partition(" ")
    given = bearer.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")
    own = given.encode("latin-1", "replace")
    return any([hmac.compare_digest(own, key) for key in keys])  # a list: every key is compared


def is_local(host: str) -> bool:
    """Against a web page whose name was made to lead to this machine."""
    return host.rpartition(":")[0] in LOOPBACK if host.rpartition(":")[2].isdigit() else host in LOOPBACK


def replay(body: bytes, receive: Receive) -> Receive:
    """The body in one message, then what comes: the client's leaving."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def answer(refused: Refused, send: Send) -> None:
    content = json.dumps({"detail": str(refused)}).encode()
    headers: list[Any] = [(name.encode(), value.encode()) for name, value in refused.headers.items()]
    headers += [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
