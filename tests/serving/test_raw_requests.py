"""Bytes that no client library sends: paths and headers that try to pass the key, and what is no HTTP at all."""

import socket

import pytest

from tests.serving.serving_model import listening, make_catalogue

KEY = "0123456789abcdef0123"
HOST = b"Host: 127.0.0.1\r\n"


@pytest.fixture(scope="module")
def address(served_run, tmp_path_factory):
    events = tmp_path_factory.mktemp("events") / "e.sqlite"
    with listening(make_catalogue(served_run[0], ("item_knn",)), events, keys=(KEY,)) as address:
        yield address


def send(address, content):
    """The status of the first answer; None where the connection was closed without one."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while piece := connection.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass
    return int(answer.split()[1]) if answer else None


PATHS = ["/metrics", "//metrics", "/metrics/", "/METRICS", "/%6detrics", "/health/../metrics", "/health/%2e%2e/metrics",
         "/health%2f..%2fmetrics", "/health;/metrics", "/metrics?/health", "/metrics#/health", "/health%00/metrics",
         "/page/../metrics", "/page/%2e%2e/metrics", "http://127.0.0.1/metrics", "/./metrics", "\\metrics"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_no_spelling_of_a_path_passes_the_key(address, path):
    status = send(address, f"GET {path} HTTP/1.1\r\n".encode() + HOST + b"Connection: close\r\n\r\n")
    assert status in (400, 401, 404), status


HEADERS = {
    "two keys, the first wrong": b"X-API-Key: wrong\r\nX-API-Key: 0123456789abcdef0123\r\n",
    "a key in the path of a proxy": b"X-Original-URL: /health\r\nX-Rewrite-URL: /health\r\n",
    "another method": b"X-HTTP-Method-Override: GET\r\nX-Forwarded-For: 127.0.0.1\r\n",
    "a cookie": b"Cookie: X-API-Key=0123456789abcdef0123\r\n",
    "a key that is folded": b"X-API-Key:\r\n 0123456789abcdef0123\r\n",
    "an upgrade": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n",
    "NUL": b"X-API-Key: 0123456789abcdef0123\x00\r\n",
}


@pytest.mark.parametrize("name", HEADERS)
def test_no_header_passes_for_the_key(address, name):
    status = send(address, b"GET /catalog/status HTTP/1.1\r\n" + HOST + HEADERS[name] + b"\r\n")
    assert status in (400, 401), status


ASK = b'{"history": ["B001"], "k": 2}'
LENGTHS = [b"Content-Length: -1", b"Content-Length: abc", b"Content-Length: 99999999999", b"Content-Length: +29",
           b"Content-Length: 29\r\nContent-Length: 5", b"Content-Length: 5\r\nTransfer-Encoding: chunked",
           b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Content-Length: 300"]  # fmt: skip


@pytest.mark.parametrize("length", LENGTHS)
def test_a_body_of_a_doubtful_length_is_refused(address, length):
    head = b"POST /recommend HTTP/1.1\r\n" + HOST + b"X-API-Key: " + KEY.encode() + b"\r\n" + length
    status = send(address, head + b"\r\nContent-Type: application/json\r\n\r\n" + ASK)
    assert status in (None, 400, 413, 422), status


JUNK = {
    "the beginning of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /metrics\r\n\r\n",
    "HTTP/9.9": b"GET /metrics HTTP/9.9\r\n\r\n",
    "NUL": b"\x00" * 4096,
    "empty lines": b"\r\n" * 1000,
    "a long path": b"GET " + b"/" * 200_000 + b" HTTP/1.1\r\n\r\n",
    "a long header": b"GET /metrics HTTP/1.1\r\nA: " + b"b" * 200_000 + b"\r\n\r\n",
    "a method of its own": b"BREW /metrics HTTP/1.1\r\n" + HOST + b"\r\n",
}


@pytest.mark.parametrize("name", JUNK)
def test_what_is_no_request_is_refused_and_the_next_one_answered(address, name):
    assert send(address, JUNK[name]) in (None, 400, 401, 403, 404, 414, 431)
    assert send(address, b"GET /health HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n") == 200
