"""The routes: lists equal those in Python, histories follow a user, and what is asked wrongly is one sentence."""

import json
import random
import shutil

import numpy as np
import pytest

import genrec
from genrec import stage
from genrec.commandline import Command
from genrec.serving.events import StoreUnavailable
from genrec.stages import export
from tests.serving.serving_model import ids_of, make_catalogue, scores_of, serving
from tests.small_model import DECODING
from tests.small_shop import small_config

MODELS = ("rl", "sft", "item_knn")


@pytest.fixture(scope="module")
def served(served_run, tmp_path_factory):
    with serving(served_run[0], tmp_path_factory.mktemp("events") / "events.sqlite", MODELS) as (client, service):
        yield client, service


@pytest.fixture
def client(served):
    return served[0]


def post(client, path, body, status=200):
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def same(answer, frame):
    """Equal items, and scores up to the rounding of another batch."""
    return ids_of(answer) == frame["item_id"].to_list() and np.allclose(scores_of(answer), frame["score"], atol=1e-4)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "rules",
    [{}, {"exclude_seen": False}, {"deny": ["B001", "B015"]}, {"allow": ["B003", "B004", "B005", "B006"], "k": 3}],
)
def test_lists_are_those_of_the_recommender(client, served_run, model, rules):
    directory, shop = served_run
    recommender = genrec.load(directory, model)
    for user in ("u0", "u7", "u21"):
        answer = post(client, "/recommend", {"user": user, "model": model, "k": 5} | rules)
        assert same(answer, recommender.recommend(users=[user], **{"k": 5} | rules))
        assert answer["model"] == model and not answer["cold"] and answer["exact"] == (model == "item_knn")
    history = ["B002", "B003", "B010"]
    answer = post(client, "/recommend", {"history": history, "model": model, "k": 8} | rules)
    assert same(answer, recommender.recommend([history], **{"k": 8} | rules))


def test_a_batch_answers_as_its_questions_do_one_by_one(client, served_run):
    questions = [
        {"user": "u1", "k": 3},
        {"history": ["B001"], "k": 6, "exclude_seen": False},
        {"history": ["B004", "B005"], "k": 3, "deny": ["B016"]},
        {"history": [], "k": 3},
        {"user": "u2", "model": "item_knn"},
    ]
    answers = post(client, "/recommend/batch", {"requests": questions})["answers"]
    for question, answer in zip(questions, answers, strict=True):
        alone = post(client, "/recommend", question)
        assert ids_of(alone) == ids_of(answer) and np.allclose(scores_of(alone), scores_of(answer), atol=1e-4)
        assert {k: v for k, v in alone.items() if k != "items"} == {k: v for k, v in answer.items() if k != "items"}
    assert answers[3]["cold"] and same(answers[3], genrec.load(served_run[0]).recommend([[]], k=3))


@pytest.mark.parametrize("budget", [1000, 1])
def test_a_frontiers_lists_say_whether_they_are_proven(served_run, tmp_path, budget):
    decoding = {"decoding": "frontier", "frontier_budget": budget}
    recommender = genrec.load(served_run[0], "sft", **decoding)
    catalogue = make_catalogue(served_run[0], ("sft",), **decoding)
    with serving(None, tmp_path / "e.sqlite", catalogue=catalogue) as (client, _):
        for user in ("u1", "u2"):
            for rules in ({}, {"deny": ["B001"]}, {"allow": ["B002", "B003", "B011"]}):
                answer = post(client, "/recommend", {"user": user, "k": 2} | rules)
                frame = recommender.recommend(users=[user], k=2, **rules)
                assert same(answer, frame) and answer["exact"] == frame["exact"].all()
        assert answer["exact"] or budget == 1


@pytest.fixture(scope="module")
def exported(served_run, tmp_path_factory):
    """A run with its export."""
    pytest.importorskip("onnxruntime")
    run = tmp_path_factory.mktemp("exported") / "run"
    shutil.copytree(served_run[0], run)
    knobs = {"evaluation": {"normalization": "trie", **DECODING}, "export": {"max_loss": 1}}
    command = Command(small_config(run, **knobs))
    command = command._replace(config=export.settle(command))
    stage.run("export", command, export.build, export.fingerprint_model)
    return run


@pytest.mark.parametrize("backend", ["onnx", "onnx-int8", "onnx-int4"])
@pytest.mark.parametrize("decoding", ["beam", "frontier"])
def test_an_export_is_served_as_it_is_asked_in_python(exported, tmp_path, backend, decoding):
    asked = {"backend": backend, "decoding": decoding}
    catalogue, recommender = make_catalogue(exported, **asked), genrec.load(exported, **asked)
    with serving(None, tmp_path / "e.sqlite", catalogue=catalogue) as (client, _):
        for rules in ({}, {"allow": ["B003", "B004", "B005"], "k": 2}):
            answer = post(client, "/recommend", {"user": "u3"} | rules)
            assert ids_of(answer) == recommender.recommend(users=["u3"], **rules)["item_id"].to_list()
            assert answer["exact"] == (decoding == "frontier")


def test_titles_are_histories_too(client, served_run):
    title = str(served_run[1].catalog.title[4])
    by_title, by_id = (post(client, "/recommend", {"history": [word], "k": 4}) for word in (title, "B004"))
    assert by_title == by_id and by_id["items"][0]["title"].startswith("Item ")


def test_events_follow_a_user_between_calls(client, served_run):
    recommender = genrec.load(served_run[0])
    assert "nothing is known of user 'guest'" in post(client, "/recommend", {"user": "guest"}, 422)["detail"]
    assert post(client, "/events", {"user": "guest", "items": ["B002", "B003"]}) == {"user": "guest", "events": 2}
    assert same(post(client, "/recommend", {"user": "guest", "k": 5}), recommender.recommend([["B002", "B003"]], k=5))
    own = served_run[1].sequences
    past = served_run[1].catalog.item_id[own.item[own.offset[9] : own.offset[10]]].tolist()
    post(client, "/events", {"user": "u9", "items": ["B016"]})
    assert same(post(client, "/recommend", {"user": "u9", "k": 5}), recommender.recommend([[*past, "B016"]], k=5)), (
        "the run's past, then the events"
    )


def test_a_deleted_user_is_as_new(client):
    post(client, "/events", {"user": "u11", "items": ["B002"]})
    assert not post(client, "/recommend", {"user": "u11"})["cold"]
    assert client.delete("/users/u11").json() == {"events": 1}
    answer = post(client, "/recommend", {"user": "u11"})
    assert answer["cold"] and answer["exact"]


def test_an_explanation_is_the_recommenders(client, served_run):
    found = post(client, "/explain", {"history": ["B001", "B002"], "item": "B005"})
    wanted = genrec.load(served_run[0]).explain(["B001", "B002"], "B005")
    assert [level["code"] for level in found["levels"]] == wanted["code"].to_list()
    assert np.allclose([level["probability"] for level in found["levels"]], wanted["probability"])
    assert found["item"]["id"] == "B005" and np.isclose(found["item"]["score"], np.log(wanted["probability"]).sum())
    refused = post(client, "/explain", {"history": ["B001"], "item": "B005", "model": "item_knn"}, 422)
    assert "'item_knn' has no semantic IDs to explain" in refused["detail"]


def test_items_are_searched(client):
    found = client.get("/items", params={"query": "item 16", "limit": 3}).json()["items"]
    assert [item["id"] for item in found] == ["B016"] and found[0]["count"] >= 0


@pytest.mark.parametrize(
    "path, body, status, said",
    [
        ("/recommend", {"history": ["B0015"]}, 422, "no item 'B0015' among the 17 of the catalogue; nearest: 'B0"),
        ("/recommend", {"history": ["Item 3 good & new"]}, 422, "nearest: 'Item 3, "),
        ("/recommend", {"user": "u1", "deny": ["gone"]}, 422, "no item 'gone'"),
        ("/recommend", {"user": "u1", "k": 18}, 422, "k is 18, a list has at most 17 items here"),
        ("/recommend", {"user": "u1", "k": 0}, 422, "k: Input should be greater than or equal to 1"),
        ("/recommend", {"user": "u1", "k": "3"}, 422, "k: Input should be a valid integer"),
        ("/recommend", {"user": "u1", "allow": []}, 422, "allow: List should have at least 1 item"),
        ("/recommend", {"user": "u1", "hist": []}, 422, "hist: Extra inputs are not permitted"),
        ("/recommend", {}, 422, "whom for? give either user or history"),
        ("/recommend", {"user": "u1", "history": []}, 422, "whom for? give either user or history"),
        ("/recommend", {"history": ["B001"] * 1001}, 422, "history: List should have at most 1000 items"),
        ("/recommend", {"history": [1]}, 422, "history.0: Input should be a valid string"),
        ("/recommend", {"user": "u1", "model": "sfd"}, 404, "no model 'sfd'; did you mean 'sft'?"),
        ("/recommend/batch", {"requests": []}, 422, "requests: List should have at least 1 item"),
        ("/recommend/batch", {"requests": [{"user": "u1"}, {"user": "x"}]}, 422, "nothing is known of user 'x'"),
        ("/events", {"user": "u1", "items": ["B001", "nowhere"]}, 422, "no item 'nowhere'"),
        ("/events", {"user": "", "items": ["B001"]}, 422, "user: String should have at least 1 character"),
    ],
)
def test_what_is_asked_wrongly_is_one_sentence(client, path, body, status, said):
    answer = client.post(path, json=body)
    assert answer.status_code == status and said in answer.json()["detail"], answer.text
    assert "\n" not in answer.json()["detail"] and list(answer.json()) == ["detail"]


def test_an_empty_body_and_one_that_is_no_json_are_one_sentence(client):
    for content in (b"", b"{", b"null", b"[]", b"\xff\xfe", b"[" * 100_000):
        answer = client.post("/recommend", content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 422 and answer.json()["detail"].startswith("body: "), answer.text


def test_what_is_sent_or_addressed_wrongly_is_one_sentence(client):
    text = client.post("/recommend", content=b'{"history": []}', headers={"content-type": "text/plain"})
    assert text.json()["detail"].endswith("a JSON object; send it with the header content-type: application/json")
    assert client.get("/items").json()["detail"] == "query: Field required"
    assert client.get("/recommend").json()["detail"] == "this route takes POST"
    for path in ("/nowhere", "/users/u1/", "/recommend/"):
        lost = client.post(path, follow_redirects=False)
        assert lost.status_code == 404 and "/openapi.json lists them" in lost.json()["detail"]


def make_anything(chance, depth=0):
    kinds = [
        lambda: chance.choice([None, True, False, 0, -1, 2**31, 2**63, 10**400, 1e308, -0.0, 0.5]),
        lambda: chance.choice(["", "u1", "B001", "\x00", "\u202e", "<script>", "'; DROP TABLE event; --", "é" * 300]),
        lambda: "".join(chr(chance.randrange(1, 0xD7FF)) for _ in range(chance.randrange(12))),
        lambda: [make_anything(chance, depth + 1) for _ in range(chance.randrange(5))],
        lambda: {chance.choice(FIELDS): make_anything(chance, depth + 1) for _ in range(chance.randrange(5))},
    ]
    return chance.choice(kinds[: 3 if depth > 3 else 5])()


FIELDS = ["user", "history", "k", "exclude_seen", "allow", "deny", "model", "deadline", "requests", "items", "item"]
RIGHT = {"k": 3, "exclude_seen": False, "allow": ["B001", "B002"], "deny": ["B003"], "model": "sft", "item": "B004"}


def test_no_body_is_a_failure_of_the_server(client):
    """1,000 bodies: near-right ones with a field of nonsense, and nonsense throughout."""
    chance = random.Random(0)
    statuses = set()
    for number in range(1000):
        path = chance.choice(["/recommend", "/recommend/batch", "/explain", "/events"])
        body = {"user": "u1"} if number % 2 else {"history": ["B001", "B002"]}
        for _ in range(chance.randrange(1, 4)):
            field = chance.choice(FIELDS)
            body[field] = RIGHT[field] if field in RIGHT and chance.random() < 0.5 else make_anything(chance)
        content = json.dumps(body if number % 4 else make_anything(chance))
        answer = client.post(path, content=content, headers={"content-type": "application/json"})
        assert answer.status_code < 500, (path, content, answer.text)
        statuses.add(answer.status_code)
    assert statuses >= {200, 422}


def test_health_and_the_page_of_requests(client):
    for path in ("/health", "/v2/health/live", "/ready", "/v2/health/ready"):
        assert client.get(path).status_code == 200
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) >= {"/recommend", "/recommend/batch", "/explain", "/events", "/users/{user}", "/catalog/reload"}
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 404  # their scripts are elsewhere


def test_what_happened_is_counted(client):
    post(client, "/recommend", {"user": "u1"})
    text = client.get("/metrics").text
    for line in ('genrec_requests_total{route="/recommend",status="200"}', "genrec_queue_length 0.0",
                 'genrec_lists_total{cold="false",exact="false",model="rl"}', "genrec_batch_size_bucket",
                 "genrec_decode_seconds_sum", 'genrec_catalog_info{models="rl,sft,item_knn",version="'):  # fmt: skip
        assert line in text, line


def test_the_time_of_a_batch_is_that_of_its_prompts_and_of_the_search(served_run, tmp_path):
    with serving(served_run[0], tmp_path / "e.sqlite", ("sft", "item_knn")) as (client, service):
        for model in ("sft", "sft", "item_knn"):
            post(client, "/recommend", {"user": "u1", "model": model})

        def read(name):
            return service.watch.figures.get_sample_value(name)

        counts = [read(f"genrec_{part}_seconds_count") for part in ("decode", "prompt", "tree")]
        assert counts == [3, 2, 2], "item_knn reads no prompt"
        parts = [read(f"genrec_{part}_seconds_sum") for part in ("decode", "prompt", "tree")]
        assert min(parts) > 0 and parts[1] + parts[2] < parts[0]


def test_a_full_queue_is_503_with_the_time_to_come_again(served_run, tmp_path):
    with serving(served_run[0], tmp_path / "e.sqlite", queue_size=3) as (client, service):
        answer = client.post("/recommend/batch", json={"requests": [{"user": "u1"}] * 4})
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
        assert "the queue is full" in answer.json()["detail"]
        assert client.post("/recommend/batch", json={"requests": [{"user": "u1"}] * 3}).status_code == 200


def test_a_deadline_that_passed_is_504(served, monkeypatch):
    client, service = served
    recommender = service.version.models["rl"]
    monkeypatch.setattr(type(recommender), "rank_block", lambda *_: __import__("time").sleep(0.2))
    answer = client.post("/recommend", json={"user": "u1", "deadline": 0.05})
    assert answer.status_code == 504 and answer.json()["detail"] == "there was no answer within 0.05 s"


def test_a_failure_of_ours_is_500_without_its_insides(served, monkeypatch):
    client, service = served

    def fail(*_):
        raise KeyError("/secret/path")

    monkeypatch.setattr(type(service.version.models["rl"]), "rank_block", fail)
    answer = client.post("/recommend", json={"user": "u1"})
    assert answer.status_code == 500 and answer.json() == {"detail": "the server failed; its log says how"}


def test_while_the_events_are_out_of_reach_users_are_refused_and_histories_answered(served, monkeypatch, caplog):
    client, service = served

    def fail(*given):
        raise StoreUnavailable("the events cannot be reached: no such host")

    for name in ("past", "append", "delete"):
        monkeypatch.setattr(service.store, name, fail)
    asked = [
        client.post("/recommend", json={"user": "u1"}),
        client.post("/events", json={"user": "u1", "items": ["B001"]}),
        client.delete("/users/u1"),
    ]
    for answer in asked:
        assert answer.status_code == 503 and answer.headers["retry-after"] == "5" and "no such host" not in answer.text
    assert "no such host" in caplog.text
    assert post(client, "/recommend", {"history": ["B001"], "k": 1})["items"]


def test_a_user_id_with_nul_is_refused(client):
    assert "user" in post(client, "/events", {"user": "a\0b", "items": ["B001"]}, 422)["detail"]
    assert client.delete("/users/a%00b").status_code == client.get("/history?user=a%00b").status_code == 422
