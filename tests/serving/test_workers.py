"""`genrec serve --workers 2`: one port, reloads that reach all, a killed worker replaced, and failures in one line."""

import os
import signal

import httpx
import pytest

from tests.serving.serving_model import point, wait_for
from tests.test_serve import start  # noqa: F401  (a fixture)


def ask(url, path="/catalog/status", **body):
    """By a connection of its own, which the kernel gives to either worker."""
    answer = httpx.post(url + path, json=body, timeout=30) if body else httpx.get(url + path, timeout=30)
    return answer.raise_for_status().json()


@pytest.mark.slow
def test_two_workers_answer_behind_one_port_and_follow_one_version(place, other_run, tmp_path, start):  # noqa: F811
    server = start("--run.dir", place, "--model", "rl", "--workers", 2, "--events", tmp_path / "e.sqlite")
    assert "(by 2 workers, without an API key)" in "".join(server.said)
    workers = ask(server.url)["workers"]
    assert len({each["worker"] for each in workers}) == 2 and len({each["version"] for each in workers}) == 1
    for number in range(10):
        assert ask(server.url, "/events", user="guest", items=["B001"])["events"] == number + 1, "one file for both"
    text = httpx.get(f"{server.url}/metrics").text
    assert 'genrec_requests_total{route="/events",status="200"} 10.0' in text, "figures of both"
    point(place, other_run)
    status = httpx.post(f"{server.url}/catalog/reload", timeout=30).json()
    now = {each["version"] for each in status["workers"]}
    assert len(now) == 1 and now != {workers[0]["version"]} and status["agreed"], "when it is answered all have it"
    assert {ask(server.url, "/recommend", user="u1", k=2)["version"] for _ in range(8)} == now
    back = httpx.post(f"{server.url}/catalog/rollback", timeout=30).json()
    assert {each["version"] for each in back["workers"]} == {workers[0]["version"]}
    os.kill(workers[0]["worker"], signal.SIGKILL)
    wait_for(30, lambda: workers[0]["worker"] not in {each["worker"] for each in ask(server.url)["workers"]})
    wait_for(30, lambda: len(ask(server.url)["workers"]) == 2)
    assert {each["version"] for each in ask(server.url)["workers"]} == {workers[0]["version"]}, "not the link's"
    status, out, err = server.end()
    assert status == 0 and out.endswith("ended; every request that was taken is answered\n")
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_supervisor_that_is_killed_leaves_no_worker_behind(place, tmp_path, start):  # noqa: F811
    server = start("--run.dir", place, "--model", "item_knn", "--workers", 2, "--events", tmp_path / "e.sqlite")
    workers = [each["worker"] for each in ask(server.url)["workers"]]
    server.end(signal.SIGKILL)

    def are_gone():
        try:
            for worker in workers:
                os.kill(worker, 0)
        except ProcessLookupError:
            return True
        return False

    wait_for(30, are_gone)


@pytest.mark.slow
def test_workers_that_cannot_load_end_the_server_in_one_line(place, tmp_path, start):  # noqa: F811
    with pytest.raises(AssertionError) as said:
        start("--run.dir", place, "--model", "sfd", "--workers", 2, "--events", tmp_path / "e.sqlite")
    assert "error: " in str(said.value) and "no model 'sfd'; did you mean 'sft'?" in str(said.value)
    assert "Traceback" not in str(said.value)
