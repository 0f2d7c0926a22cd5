"""Keys, rates, sizes, names of this machine; and a log and figures that repeat nothing of a request."""

import asyncio
import json
import logging

import pytest

from genrec.serving.guard import is_local
from tests.serving.serving_model import make_catalogue, serving

KEY, OTHER = "0123456789abcdef0123", "fedcba9876543210fedc"
ASK = {"history": ["B001"], "k": 2}


@pytest.fixture(scope="module")
def catalogue(served_run):
    return make_catalogue(served_run[0])


@pytest.fixture
def served(catalogue, tmp_path):
    def make(**settings):
        return serving(None, tmp_path / "e.sqlite", catalogue=catalogue, **settings)

    return make


@pytest.mark.parametrize(
    "headers, status",
    [
        ({}, 401),
        ({"X-API-Key": KEY}, 200),
        ({"X-API-Key": OTHER}, 200),
        ({"Authorization": f"Bearer {KEY}"}, 200),
        ({"Authorization": f"bearer {KEY}"}, 200),
        ({"Authorization": f"Basic {KEY}"}, 401),
        ({"X-API-Key": KEY[:-1]}, 401),
        ({"X-API-Key": KEY + "0"}, 401),
        ({"X-API-Key": KEY.upper()}, 401),
        ({"X-API-Key": ""}, 401),
        ({"X-API-Key": "ключ".encode()}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": f"Bearer {KEY[:-1]}", "X-API-Key": KEY}, 401),
    ],
)
def test_a_key_opens_what_is_no_health(served, headers, status):
    with served(keys=(KEY, OTHER)) as (client, _):
        assert client.post("/recommend", json=ASK, headers=headers).status_code == status
        assert client.get("/metrics", headers=headers).status_code == status
        assert client.get("/openapi.json", headers=headers).status_code == status
        for path in ("/health", "/ready", "/v2/health/live", "/v2/health/ready"):
            assert client.get(path, headers=headers).status_code == 200
        for path in ("/health/../recommend", "//recommend", "/recommend/", "/health/"):
            if status == 401:
                assert client.post(path, json=ASK, headers=headers).status_code == 401


def test_no_key_stands_in_the_log(served, caplog):
    with served(keys=(KEY,)) as (client, _), caplog.at_level(logging.DEBUG):
        client.post(f"/recommend?key={KEY}", json=ASK, headers={"X-API-Key": KEY})
        client.post("/recommend", json=ASK, headers={"X-API-Key": "wrong-key-wrong-key"})
        client.delete("/users/somebody", headers={"X-API-Key": KEY})
        metrics = client.get("/metrics", headers={"X-API-Key": KEY}).text
    lines = [record.getMessage() for record in caplog.records if record.name == "genrec.access"]
    assert len(lines) == 4 and " POST /recommend 200 " in lines[0] and " POST - 401 " in lines[1]
    assert " DELETE /users/{user} 200 " in lines[2]
    for text in ("\n".join(lines), metrics):
        assert KEY not in text and "wrong-key" not in text and "somebody" not in text


def test_a_web_page_under_another_name_is_not_answered(served):
    with served() as (client, _):
        assert client.post("/recommend", json=ASK, headers={"host": "evil.example"}).status_code == 403
        assert client.post("/recommend", json=ASK, headers={"host": "localhost:8000"}).status_code == 200
    with served(open=True) as (client, _):
        assert client.post("/recommend", json=ASK, headers={"host": "shop.example"}).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:80", "[::1]", "[::1]:8000"])
def test_names_of_this_machine(host):
    assert is_local(host) and not is_local(f"{host}.evil.example") and not is_local(f"evil.{host}")


def test_a_body_beyond_the_limit_is_413_told_or_not(served):
    with served(max_body=2000) as (client, _):
        long = json.dumps({"history": ["x" * 3000]}).encode()
        told = client.post("/recommend", content=long)
        assert told.status_code == 413 and told.json()["detail"].endswith("bytes, at most 2,000 are read")
        pieces = client.post("/recommend", content=(long[i : i + 100] for i in range(0, len(long), 100)))
        assert pieces.status_code == 413 and "more than 2,000 bytes" in pieces.json()["detail"]


def test_a_body_that_does_not_arrive_is_408(served):
    sent = []

    async def never():
        await asyncio.sleep(10)

    async def note(message):
        sent.append(message)

    with served(body_timeout=0.05) as (client, _):
        scope = {"type": "http", "method": "POST", "path": "/recommend", "headers": [(b"host", b"127.0.0.1")]}
        asyncio.run(client.app(scope, never, note))
    assert sent[0]["status"] == 408 and b"did not arrive within 0.05 s" in sent[1]["body"]


def test_an_address_that_asks_too_often_is_429_and_health_is_not(served):
    with served(rate_limit=3) as (client, _):
        statuses = [client.post("/recommend", json=ASK).status_code for _ in range(8)]
        assert statuses[:3] == [200] * 3 and statuses[-1] == 429
        refused = client.post("/recommend", json=ASK)
        assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
        assert all(client.get("/health").status_code == 200 for _ in range(8))


def test_a_full_queue_is_said_before_the_body_is_read(served, monkeypatch):
    with served() as (client, service):
        monkeypatch.setattr(service.batcher, "queue_size", 0)
        refused = client.post("/recommend", content=b"{")
        assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
        assert refused.json()["detail"] == "the queue is full; come again in 1 s"
        assert client.get("/items", params={"query": "item"}).status_code == 200
        assert 'genrec_refused_total{reason="full"} 1.0' in client.get("/metrics").text


POISON = '<script>alert(1)</script>\r\nSet-Cookie: a=b\x1b[31m"} 1\ngenrec_fake 9'


def test_a_poisoned_word_is_escaped_in_answers_log_and_figures(served, caplog):
    with served() as (client, service), caplog.at_level(logging.DEBUG):
        title = service.version.words.title
        kept, title[15] = title[15], POISON
        try:
            answer = client.post("/recommend", json=ASK | {"k": 17, "exclude_seen": False})
        finally:
            title[15] = kept
        assert POISON in [item["title"] for item in answer.json()["items"]]
        assert answer.headers["content-type"] == "application/json" and "set-cookie" not in answer.headers
        refused = client.post("/recommend", json={"history": [POISON]})
        assert refused.status_code == 422 and refused.headers["content-type"] == "application/json"
        assert not any(ord(letter) < 32 for letter in refused.json()["detail"])
        client.get("/items", params={"query": POISON})
        client.request("DELETE", "/users/%0d%0agenrec_fake%209")
        client.get("/%0d%0agenrec_fake%209")
        metrics = client.get("/metrics").text
    assert "genrec_fake" not in metrics and "script" not in metrics
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("genrec")]
    assert lines and not any("genrec_fake" in line or "\x1b" in line or "\n" in line for line in lines)
