"""`genrec serve` as a process: it answers, drains at SIGTERM, loses no acknowledged event, and refuses in one line."""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import SimpleNamespace

import httpx
import pytest

import genrec
from genrec.serving.settings import ServeOptions
from genrec.stages import serve
from tests import ROOT
from tests.small_model import write_run

KEY = "0123456789abcdef0123"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("served") / "run")[0]


class Server:
    """A process and its address."""

    def __init__(self, *flags, **environment):
        command = [sys.executable, "-m", "genrec", "serve", "--port", "0", *map(str, flags)]
        env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | environment
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
        self.said = []
        for line in self.process.stdout:
            self.said.append(line)
            if found := re.search(r"http://\S+:\d+", line):
                self.url = found.group()
                return
        raise AssertionError(self.process.stderr.read())

    def end(self, number=signal.SIGTERM):
        """(exit status, stdout, stderr) after a signal."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, "".join(self.said) + out, err


@pytest.fixture
def start():
    servers = []

    def make(*flags, **environment):
        servers.append(Server(*flags, **environment))
        return servers[-1]

    yield make
    for server in servers:
        server.process.kill()
        server.process.communicate()


def test_a_process_answers_and_drains_at_sigterm(run, tmp_path, start):
    server = start("--run.dir", run, "--events", tmp_path / "e.sqlite", "--batch_wait_ms", 1000)
    port = int(server.url.rpartition(":")[2])
    with httpx.Client(base_url=server.url, timeout=20) as client, ThreadPoolExecutor(4) as pool, ExitStack() as stack:
        for _ in range(100):  # connections that say nothing hold nobody up
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        answer = client.post("/recommend", json={"user": "u3", "k": 4})
        frame = genrec.load(run, decoding="frontier").recommend(users=["u3"], k=4)
        assert [item["id"] for item in answer.json()["items"]] == frame["item_id"].to_list() and answer.json()["exact"]
        asked = [pool.submit(client.post, "/recommend", json={"user": f"u{n}"}) for n in range(4)]
        while "genrec_queue_length 4.0" not in httpx.get(f"{server.url}/metrics").text:
            assert not any(future.done() for future in asked)
        status, out, err = server.end()
        assert [future.result().status_code for future in asked] == [200] * 4, "what was taken is answered"
    assert status == 0 and out.splitlines()[-1] == "serve: ended; every request that was taken is answered"
    assert " POST /recommend 200 " in err and "u3" not in err and "Traceback" not in err
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/health")


def test_a_kill_loses_no_event_that_was_acknowledged(run, tmp_path, start):
    flags = ("--run.dir", run, "--model", "item_knn", "--events", tmp_path / "e.sqlite", "--access_log", False)
    server = start(*flags)
    kept, enough = [0] * 3, threading.Event()

    def send(user):
        with httpx.Client(base_url=server.url, timeout=20) as client:
            try:
                while True:
                    body = {"user": f"guest{user}", "items": ["B001", "B002"]}
                    kept[user] = client.post("/events", json=body).raise_for_status().json()["events"]
                    if sum(kept) >= 60:
                        enough.set()
            except httpx.TransportError:
                return

    threads = [threading.Thread(target=send, args=(user,)) for user in range(3)]
    for thread in threads:
        thread.start()
    assert enough.wait(30)
    server.end(signal.SIGKILL)
    for thread in threads:
        thread.join()
    again = start(*flags)
    for user, count in enumerate(kept):
        now = httpx.post(f"{again.url}/events", json={"user": f"guest{user}", "items": ["B003"]}).json()["events"]
        assert now - 1 >= count > 0 and now % 2 == 1, "all that was acknowledged, and no half of a request"
    assert not httpx.post(f"{again.url}/recommend", json={"user": "guest0"}).json()["cold"]


def test_a_key_is_taken_from_the_environment_and_stands_in_no_output(run, tmp_path, start):
    shutil.copytree(run / "sft", tmp_path / "model")
    server = start("--model", tmp_path / "model", "--events", tmp_path / "e.sqlite", GENREC_API_KEY=KEY)
    ask = {"history": ["B001"]}
    assert httpx.post(f"{server.url}/recommend", json=ask).status_code == 401
    answer = httpx.post(f"{server.url}/recommend", json=ask, headers={"Authorization": f"Bearer {KEY}"})
    assert answer.status_code == 200 and len(answer.json()["items"]) == 10
    status, out, err = server.end(signal.SIGINT)
    assert status == 0 and "with an API key" in out and KEY not in out + err


def said(capsys, *words, code):
    with pytest.raises(SystemExit) as end:
        serve.main([str(word) for word in words])
    error = capsys.readouterr().err
    assert end.value.code == code and error.startswith("error: ") and error.count("\n") == 1, error
    return error


def test_what_cannot_be_served_is_one_line(run, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("GENREC_API_KEY", raising=False)
    assert "seen beyond this machine, and there is no API key" in said(capsys, "--host", "0.0.0.0", code=2)
    assert "--api_key_file nowhere cannot be read: No such file" in said(capsys, "--api_key_file", "nowhere", code=2)
    (tmp_path / "keys").write_text(f"{KEY}\nshort\n")
    refused = said(capsys, "--api_key_file", tmp_path / "keys", code=2)
    assert "has 5 characters; it takes 16 or more" in refused and "short" not in refused
    (tmp_path / "keys").write_text("\n")
    assert "holds no key" in said(capsys, "--api_key_file", tmp_path / "keys", code=2)
    assert "unknown flag --prot" in said(capsys, "--prot", 1, code=2)
    assert f"{tmp_path} is no run" in said(capsys, "--run.dir", tmp_path, code=1)
    assert "no model 'sfd'; did you mean 'sft'?" in said(capsys, "--run.dir", run, "--model", "sfd", code=1)
    assert f"--export {run} is no export (no export.json)" in said(capsys, "--export", run, code=2)
    assert "name two models; keep one" in said(capsys, "--export", run, "--model", "sft", code=2)
    assert "workers" in said(capsys, "--workers", 0, code=2)
    assert "by postgresql://HOST/DATABASE" in said(capsys, "--events", "mysql://db/x", code=2)
    assert "cannot be used for events" in said(capsys, "--run.dir", run, "--events", run / "sft" / "README.md", code=1)


def test_a_port_that_is_taken_is_one_line(run, tmp_path, start, capsys):
    server = start("--run.dir", run, "--model", "item_knn", "--events", tmp_path / "e.sqlite")
    port = server.url.rpartition(":")[2]
    flags = ("--run.dir", run, "--model", "item_knn", "--events", tmp_path / "f.sqlite", "--port", port)
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in said(capsys, *flags, code=1)


def test_who_reads_the_address_can_connect_at_once(capsys):
    bound = serve.bind(SimpleNamespace(host="127.0.0.1", port=0))
    serve.announce(bound, 1, guarded=False)
    with bound, socket.create_connection(bound.getsockname(), timeout=1):
        assert f"http://127.0.0.1:{bound.getsockname()[1]} " in capsys.readouterr().out


def test_keys_of_a_file_are_all_taken(tmp_path):
    (tmp_path / "keys").write_text(f"{KEY}\n{KEY[::-1]}\n")
    options = ServeOptions(api_key_file=tmp_path / "keys", host="0.0.0.0")
    keys = serve.read_keys(options)
    assert keys == [KEY.encode(), KEY[::-1].encode()]
    serve.require_key(options, keys)


HOSTS = {
    **dict.fromkeys(("127.0.0.1", "localhost", "::1", "127.9.9.9"), True),
    **dict.fromkeys(("0.0.0.0", "::", "10.0.0.1", "shop.example"), False),
}


@pytest.mark.parametrize("host", HOSTS)
def test_which_addresses_are_this_machine(host):
    assert serve.is_loopback(host) == HOSTS[host]


@pytest.mark.slow
def test_a_client_that_left_is_not_computed_for(run, tmp_path, start):
    flags = ("--batch_wait_ms", 1000, "--max_batch", 2, "--model", "item_knn")
    server = start("--run.dir", run, "--events", tmp_path / "e.sqlite", *flags)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/recommend", json={"user": "u1"}, timeout=0.3)
    for _ in range(100):
        text = httpx.get(f"{server.url}/metrics").text
        if 'genrec_refused_total{reason="gone"} 1.0' in text:
            break
        time.sleep(0.1)
    assert "genrec_queue_length 0.0" in text and "genrec_batch_size_count 0.0" in text
    assert httpx.post(f"{server.url}/recommend", json={"user": "u1"}).status_code == 200


def test_small_answers_are_sent_at_once():
    """Behind a socket that asyncio does not take for TCP, an answer in two pieces waits 40 ms for its receipt."""
    bound = serve.bind(SimpleNamespace(host="127.0.0.1", port=0))

    async def is_sent_at_once():
        told = asyncio.get_running_loop().create_future()
        server = await asyncio.start_server(lambda _, writer: told.set_result(writer), sock=bound)
        _, caller = await asyncio.open_connection(*bound.getsockname())
        accepted = (await told).get_extra_info("socket")
        off = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        caller.close()
        server.close()
        return bool(off)

    assert asyncio.run(is_sent_at_once())
