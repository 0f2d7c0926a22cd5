"""Versions: loaded beside, checked, swapped between batches, rolled back; a broken one changes nothing."""

import asyncio
import gc
import shutil
import threading
import time
import weakref
from dataclasses import replace

import numpy as np
import pytest

import genrec
from genrec.errors import ArtifactError
from genrec.serving import catalogue as module
from genrec.serving.catalogue import Unchanged, make_version
from tests.serving.serving_model import ids_of, load_models, make_catalogue, point, scores_of, serving
from tests.small_shop import small_catalog


def test_equal_artifacts_have_equal_names(served_run, other_run, place):
    names = [make_version(path, load_models).name for path in (served_run[0], place, other_run)]
    assert names[0] == names[1] != names[2]


def test_a_reload_takes_what_lies_there_now_and_a_rollback_what_was_before(place, other_run, tmp_path):
    with serving(place, tmp_path / "e.sqlite") as (client, _):
        first = client.post("/recommend", json={"user": "u5"}).json()
        assert client.post("/catalog/rollback").status_code == 409
        same = client.post("/catalog/reload").json()
        assert same["current"]["version"] == first["version"] and same["previous"] is None
        point(place, other_run)
        status = client.post("/catalog/reload").json()
        second = client.post("/recommend", json={"user": "u5"}).json()
        assert second["version"] == status["current"]["version"] != first["version"]
        assert status["previous"]["version"] == first["version"]
        assert scores_of(second) != scores_of(first)
        assert ids_of(second) == genrec.load(other_run).recommend(users=["u5"])["item_id"].to_list()
        client.post("/catalog/rollback")
        assert client.post("/recommend", json={"user": "u5"}).json() == first
        assert client.get("/catalog/status").json()["current"]["version"] == first["version"]


def test_two_versions_are_kept_and_older_ones_let_go(place, served_run, other_run, tmp_path):
    with serving(place, tmp_path / "e.sqlite") as (client, service):
        first = weakref.ref(service.version)
        for target in (other_run, served_run[0]):
            client.post("/recommend", json={"user": "u5"})
            point(place, target)
            assert client.post("/catalog/reload").status_code == 200
        gc.collect()
        assert first() is None and service.catalogue.previous is not None


def break_weights(run):
    path = run / "rl" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-8] ^= 0xFF
    path.write_bytes(bytes(content))


def break_card(run):
    (run / "rl" / "genrec.json").write_text("{}")


def remove_sids(run):
    shutil.rmtree(run / "sids")


def cut_catalogue(run):
    path = run / "data" / "catalog.parquet"
    path.write_bytes(path.read_bytes()[:100])


def remove_run(run):
    shutil.rmtree(run)


@pytest.mark.parametrize("damage", [break_weights, break_card, remove_sids, cut_catalogue, remove_run])
def test_a_broken_artifact_leaves_the_old_one_serving_and_says_why(damage, place, other_run, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(other_run, broken)
    damage(broken)
    with serving(place, tmp_path / "e.sqlite") as (client, _):
        before = client.post("/recommend", json={"user": "u5"}).json()
        point(place, broken)
        refused = client.post("/catalog/reload")
        assert refused.status_code == 409
        assert f"version {before['version']} goes on serving" in refused.json()["detail"]
        status = client.get("/catalog/status").json()
        assert status["last_error"] and status["current"]["version"] == before["version"] and not status["loading"]
        assert client.post("/recommend", json={"user": "u5"}).json() == before
        point(place, other_run)
        assert client.post("/catalog/reload").status_code == 200
        assert client.get("/catalog/status").json()["last_error"] is None


@pytest.mark.parametrize(
    "fault, said",
    [
        (lambda r: r._replace(item=np.zeros_like(r.item)), "1 distinct items in a list of "),
        (lambda r: r._replace(score=np.full_like(r.score, np.nan)), "scores that are no falling numbers"),
        (lambda r: r._replace(score=r.score + len(r.item)), "scores differ with the batch"),
        (lambda r: r._replace(score=r.score - 1), "the first item scores"),
    ],
)
def test_the_self_test_finds_a_fault(served_run, monkeypatch, fault, said):
    shop = genrec.load(served_run[0])
    rank = type(shop).rank_block
    monkeypatch.setattr(type(shop), "rank_block", lambda *given: fault(rank(*given)))
    with pytest.raises(ArtifactError, match=said):
        module.test_itself(shop)


def test_what_changes_while_it_is_loaded_is_refused(place, served_run, other_run):
    def load(asked):
        shops = load_models(asked)
        point(place, other_run)
        return shops

    with pytest.raises(ArtifactError, match="was changed while it was loaded"):
        make_version(place, load)


def test_one_reload_at_a_time(served_run):
    catalogue = make_catalogue(served_run[0])

    async def twice():
        return await asyncio.gather(catalogue.reload(), catalogue.reload(), return_exceptions=True)

    first, second = asyncio.run(twice())
    assert first is catalogue.current and isinstance(second, Unchanged)


def test_models_that_know_other_catalogues_are_not_served_together(served_run):
    def load(place):
        shops = load_models(place, ("rl", "item_knn"))
        return [shops[0], replace(shops[1], catalog=small_catalog(5))]

    with pytest.raises(ArtifactError, match="'item_knn' lists 5 items, 'rl' 17"):
        make_version(served_run[0], load)


def test_under_load_no_request_fails_and_no_answer_mixes_versions(place, served_run, other_run, tmp_path):
    """Clients in threads while the link is turned over and reloaded again and again."""
    lists = {}
    for path in (served_run[0], other_run):
        shop, name = genrec.load(path), make_version(path, load_models).name
        lists[name] = {user: shop.recommend(users=[user], k=5) for user in ("u1", "u2", "u3")}
    wrong, answered, ended = [], [], threading.Event()

    def ask(client, user):
        while not ended.is_set():
            answer = client.post("/recommend/batch", json={"requests": [{"user": user, "k": 5}] * 2})
            if answer.status_code != 200:
                wrong.append(answer.text)
                return
            for each in answer.json()["answers"]:
                wanted = lists[each["version"]][user]
                if ids_of(each) != wanted["item_id"].to_list() or not np.allclose(
                    scores_of(each), wanted["score"], atol=1e-4
                ):
                    wrong.append(each)
                answered.append(each["version"])

    with serving(place, tmp_path / "e.sqlite") as (client, _):
        threads = [threading.Thread(target=ask, args=(client, user)) for user in ("u1", "u2", "u3")]
        for thread in threads:
            thread.start()
        for target in (other_run, served_run[0]) * 3:
            time.sleep(0.2)
            point(place, target)
            assert client.post("/catalog/reload").status_code == 200
        ended.set()
        for thread in threads:
            thread.join()
    assert not wrong and set(answered) == set(lists) and len(answered) > 20
