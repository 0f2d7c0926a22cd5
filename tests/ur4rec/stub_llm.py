"""An OpenAI-compatible endpoint that misbehaves on demand."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Stub(ThreadingHTTPServer):
    """`plan(prompt, times asked before)` says what to do: "ok", 500, 429, 400, 401, "stall", "garbage", "html", ..."""

    daemon_threads = True

    def __init__(self, plan, port):
        super().__init__(("127.0.0.1", port), Handler)
        self.plan = plan
        self.prompts: list[str] = []
        self.times: list[float] = []
        self.keys: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request, address):
        """A client that hung up is no news."""


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = question["messages"][-1]["content"]
        stub = self.server
        with stub.lock:
            stub.prompts.append(prompt)
            stub.times.append(time.monotonic())
            stub.keys.add(self.headers.get("Authorization", ""))
            before = stub.asked[prompt]
            stub.asked[prompt] += 1
            stub.at_once += 1
            stub.most_at_once = max(stub.most_at_once, stub.at_once)
        try:
            self.act(stub.plan(prompt, before), question)
        finally:
            with stub.lock:
                stub.at_once -= 1

    def act(self, what, question):
        if what == "quota":
            return self.send(429, '{"error": {"message": "used up", "code": "insufficient_quota"}}')
        if isinstance(what, int):
            headers = {"Retry-After": "0"} if what == 429 else {}
            return self.send(what, json.dumps({"error": {"message": f"planned {what}"}}), headers)
        if what == "stall":
            time.sleep(2.5)
        if what == "garbage":
            return self.send(200, '{"choices": [{"mess')
        if what == "html":
            return self.send(200, "<html>we have moved</html>", kind="text/html")
        if what == "shape":
            return self.send(200, '{"choices": [], "usage": null}')
        text = {"empty": " \n", "thought": "<think>hm</think> Likes\n<b>drama</b>."}.get(what, f"Text {len(what)}.")
        message = {"role": "assistant", "content": None if what == "null" else text}
        answer = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": question["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
        }
        self.send(200, json.dumps(answer))

    def send(self, status, body, headers=None, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body.encode())))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *ignored):
        pass


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


PORT = free_port()  # of one process's stubs, one after another: answers are kept by their endpoint


@contextmanager
def serving(plan=lambda prompt, before: "ok", port=PORT):
    stub = Stub(plan, port)
    thread = threading.Thread(target=stub.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        stub.shutdown()
        stub.server_close()
