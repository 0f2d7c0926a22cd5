"""A server's experiment: users stay in their arm, every answer of it is in the log, and `genrec ab` reads that log."""

import contextlib
import logging
import re
import time

import numpy as np
import pytest

import genrec
from genrec import cli
from genrec.errors import ConfigError
from genrec.experiments.assignment import hash_user
from genrec.experiments.log import SlateLog, read_slates
from genrec.experiments.statistics.interleaving import draft_teams
from genrec.serving.answers import Draw, ListTask
from genrec.serving.catalogue import NONE
from genrec.serving.experiment import ServedExperiment, check_arms, read_experiment
from genrec.serving.settings import ServeOptions
from genrec.stages import serve
from tests.serving.serving_model import ids_of, make_catalogue, scores_of, serving

TWO = """
experiments:
  rl_or_sft:
    salt: spring
    arms:
      sft: {share: 0.5, model: sft, settings: {exclude_seen: false}}
      rl: {share: 0.5, model: rl}
"""
DRAFTED = """
experiments:
  both:
    interleave: true
    arms: {sft: {model: sft}, rl: {model: rl}}
"""
MODELS = ("rl", "sft", "item_knn")


@pytest.fixture(scope="module")
def catalogue(served_run):
    return make_catalogue(served_run[0], MODELS)


@contextlib.contextmanager
def measuring(directory, catalogue, text=TWO, **more):
    """(client, service) of a server with this experiment; its log is directory/slates."""
    (directory / "e.yaml").write_text(text)
    experiments = read_experiment(directory / "e.yaml")
    served = ServedExperiment(experiments, SlateLog(directory / "slates", experiments), **more)
    with serving(None, directory / "e.sqlite", catalogue=catalogue, experiment=served) as (client, service):
        yield client, service


def ask(client, **body):
    answer = client.post("/recommend", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_user_stays_in_the_arm_that_a_hash_gives(catalogue, tmp_path, served_run):
    by_model = {model: genrec.load(served_run[0], model) for model in ("rl", "sft")}
    with measuring(tmp_path, catalogue) as (client, service):
        for _ in range(2):
            for user in (f"u{number}" for number in range(12)):
                answer, arm = ask(client, user=user, k=3), service.experiment.experiments.assign(user).arm
                assert (answer["experiment"], answer["arm"], answer["model"]) == ("rl_or_sft", arm, arm)
                alone = by_model[arm].recommend(users=[user], k=3, exclude_seen=arm == "rl")
                assert ids_of(answer) == alone["item_id"].to_list(), "the arm's model, in the arm's settings"
        assert {service.experiment.experiments.assign(f"u{number}").arm for number in range(12)} == {"sft", "rl"}


def test_who_names_a_model_or_is_no_user_takes_no_part(catalogue, tmp_path):
    with measuring(tmp_path, catalogue) as (client, _):
        for body in ({"user": "u1", "model": "rl"}, {"history": ["B001"]}):
            answer = ask(client, **body)
            assert (answer["experiment"], answer["arm"], answer["request"]) == (None, None, None)
            assert answer["model"] == "rl"
        assert client.post("/recommend", json={"user": "nobody"}).status_code == 422, "no answer, so none is logged"
        assert "genrec_slates_total{" not in client.get("/metrics").text
    assert not list((tmp_path / "slates").glob("part-*")), "nothing was logged"


def test_rows_of_the_log_are_the_answers(catalogue, tmp_path):
    begin = time.time()
    with measuring(tmp_path, catalogue) as (client, service):
        users = [f"u{number}" for number in range(6)]
        answers = [ask(client, user=user, k=4) for user in users]
        questions = [{"user": "u7", "k": 2}, {"history": ["B001"]}, {"user": "u8"}]
        batch = client.post("/recommend/batch", json={"requests": questions}).json()["answers"]
        assert batch[1]["arm"] is None
        assert 'genrec_slates_total{outcome="logged"} 8.0' in client.get("/metrics").text
    answers, users = [*answers, batch[0], batch[2]], [*users, "u7", "u8"]
    assert not list((tmp_path / "slates").glob("journal-*")), "closed when the server ended"
    rows = {row["request"]: row for row in read_slates(tmp_path / "slates").frame.iter_rows(named=True)}
    assert len(rows) == len(answers) == 8
    for user, answer in zip(users, answers, strict=True):
        row = rows[answer["request"]]
        assert row["user"] == user and begin <= row["time"] <= time.time()
        assert [row[name] for name in ("experiment", "arm", "version")] == [
            answer[name] for name in ("experiment", "arm", "version")
        ]
        assert row["items"] == ids_of(answer) and row["scores"] == scores_of(answer)
        assert row["propensities"] is None and row["teams"] is None


def test_interleaved_lists_are_drafted_from_both_arms(catalogue, tmp_path):
    with measuring(tmp_path, catalogue, DRAFTED, generator=np.random.default_rng(5)) as (client, _):
        coins = np.random.default_rng(5)
        for user in ("u1", "u2", "u3"):
            answer = ask(client, user=user, k=5)
            own = [ask(client, user=user, k=5, model=model) for model in ("sft", "rl")]
            draft = draft_teams(ids_of(own[0]), ids_of(own[1]), 5, coins)
            scores = [dict(zip(ids_of(each), scores_of(each), strict=True)) for each in own]
            assert ids_of(answer) == draft.items and (answer["arm"], answer["model"]) == ("sft+rl", "sft+rl")
            wanted = [scores[team][item] for team, item in zip(draft.teams, draft.items, strict=True)]
            assert np.allclose(scores_of(answer), wanted, atol=1e-4)
            last = {"request": answer["request"], "teams": [("sft", "rl")[team] for team in draft.teams]}
    rows = read_slates(tmp_path / "slates").frame.filter(request=last["request"])
    assert len(rows) == 1 and rows["teams"][0].to_list() == last["teams"]


def test_ab_reads_what_a_server_logged(catalogue, tmp_path, capsys):
    """Serve, click on the first item, report."""
    lines = ["user,request,item,clicks"]
    with measuring(tmp_path, catalogue) as (client, _):
        for user in (f"u{number}" for number in range(24)):
            answer = ask(client, user=user)
            lines += [f"{user},{answer['request']},{ids_of(answer)[0]},{1 + (answer['arm'] == 'rl')}"]
    (tmp_path / "outcomes.csv").write_text("\n".join(lines) + "\n")
    words = ("--logs", tmp_path / "slates", "--outcomes", tmp_path / "outcomes.csv", "--metric", "clicks")
    cli.run_command("ab", [*map(str, words)])
    text = capsys.readouterr().out
    assert "experiment rl_or_sft: 24 users, 24 answers" in text
    assert re.search(r"^clicks, rl +1 +2 +\+1 ", text, re.MULTILINE), "control's, arm's, difference"
    shown = {arm: int(re.search(rf"^{arm} +(\d+) ", text, re.MULTILINE).group(1)) for arm in ("sft", "rl")}
    assert sum(shown.values()) == 24 and min(shown.values()) > 0


def test_a_log_that_cannot_be_written_is_counted_and_noted_and_fails_no_answer(catalogue, tmp_path, caplog):
    with caplog.at_level(logging.ERROR, "genrec.serving"), measuring(tmp_path, catalogue) as (client, service):
        service.experiment.log.journal.close()
        ask(client, user="u1")
        service.experiment.log.thread.join(10)
        for _ in range(3):
            assert ask(client, user="u2")["arm"] is not None
        assert 'genrec_slates_total{outcome="lost"} 3.0' in client.get("/metrics").text
    noted = [record.getMessage() for record in caplog.records if "cannot be written" in record.getMessage()]
    assert len(noted) == 2 and "an answer is not logged" in noted[0] and "not logged to the end" in noted[1]


def test_the_experiment_is_shown_without_its_salt_and_to_keys_only(catalogue, tmp_path):
    with measuring(tmp_path, catalogue) as (client, _):
        shown = client.get("/experiments").json()["experiments"]
        assert shown["rl_or_sft"]["arms"]["sft"] == {
            "share": 0.5, "model": "sft", "settings": {"exclude_seen": False}
        }  # fmt: skip
        assert "spring" not in str(shown)
    with serving(None, tmp_path / "f.sqlite", catalogue=catalogue, keys=["0" * 16]) as (client, _):
        assert client.get("/experiments").status_code == 401
        assert client.get("/experiments", headers={"X-API-Key": "0" * 16}).json() == {"experiments": {}}


def test_a_version_that_lacks_an_arms_model_is_not_taken(served_run, other_run, tmp_path):
    catalogue = make_catalogue(served_run[0], MODELS)
    with measuring(tmp_path, catalogue) as (client, _):
        before = catalogue.load
        catalogue.load = lambda place: before(place)[:1]
        refused = client.post("/catalog/reload")
        assert refused.status_code == 409
        assert "arm 'sft' of experiment 'rl_or_sft' names the model 'sft', served are: rl" in refused.json()["detail"]
        assert ask(client, user="u1")["arm"] is not None


def test_a_key_hashes_the_users_of_the_log(catalogue, tmp_path):
    (tmp_path / "key").write_text("secret\n")
    (tmp_path / "e.yaml").write_text(TWO)
    paths = {"experiments": tmp_path / "e.yaml", "slates": tmp_path / "slates", "user_key": tmp_path / "key"}
    served = serve.open_experiment(ServeOptions(**paths), read_experiment(tmp_path / "e.yaml"), catalogue.current)
    with serving(None, tmp_path / "e.sqlite", catalogue=catalogue, experiment=served) as (client, _):
        ask(client, user="u3")
    assert read_slates(tmp_path / "slates").frame["user"].to_list() == [hash_user("u3", "secret")]


@pytest.mark.parametrize(
    "text, said",
    [
        (": [", "is not valid YAML"),
        ("experiments: {a: {arms: {x: {}, y: {share: 0.4}}}}", "shares must sum to 1, found 0.9"),
        ("experiments: {a: {arms: {x: {}, y: {}}}, b: {arms: {x: {}, y: {}}}}", "holds 2 experiments (a, b), a server"),
        ("experiments: {a: {arms: {x: {}, y: {settings: {excludeseen: true}}}}}", "did you mean 'exclude_seen'?"),
        ("experiments: {a: {arms: {x: {}, y: {settings: {k: '5'}}}}}", "a.arms.y.settings.k: Input should be a valid"),
        ("experiments: {a: {interleave: true, arms: {x: {}, y: {settings: {k: 5}}}}}", "take k out"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path, text, said):
    (tmp_path / "e.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        read_experiment(tmp_path / "e.yaml")
    assert said in str(error.value) and str(tmp_path / "e.yaml") in str(error.value) and "\n" not in str(error.value)


def test_arms_that_the_server_cannot_answer_for_are_named(catalogue, tmp_path):
    for text, said in (
        (TWO.replace("model: sft", "model: sasrec"), "names the model 'sasrec', served are: rl, sft, item_knn"),
        (TWO.replace("exclude_seen: false", "k: 18"), "has k 18, a list has at most 17 items here"),
    ):
        (tmp_path / "e.yaml").write_text(text)
        with pytest.raises(ConfigError, match=said):
            check_arms(read_experiment(tmp_path / "e.yaml"), catalogue.current, 100)


def said(capsys, *words, code):
    with pytest.raises(SystemExit) as end:
        serve.main([str(word) for word in words])
    error = capsys.readouterr().err
    assert end.value.code == code and error.startswith("error: ") and error.count("\n") == 1, error
    return error


def test_an_experiment_that_cannot_be_served_is_refused_at_the_start(served_run, tmp_path, capsys):
    path, logs = tmp_path / "e.yaml", tmp_path / "slates"
    path.write_text(TWO)
    assert "needs --slates DIR" in said(capsys, "--experiments", path, code=2)
    assert "is read with --experiments FILE only" in said(capsys, "--slates", logs, code=2)
    assert "is read with --experiments FILE only" in said(capsys, "--user_key", path, code=2)
    flags = ("--run.dir", served_run[0], "--events", tmp_path / "e.sqlite", "--experiments", path, "--slates")
    assert "arm 'sft' of experiment 'rl_or_sft' names the model 'sft'" in said(capsys, *flags, logs, code=1)
    assert not logs.exists()
    path.write_text("experiments: [")
    assert "is not valid YAML" in said(capsys, *flags, logs, code=1)
    path.write_text(TWO)
    assert f"--slates {path} cannot be written: File exists" in said(capsys, *flags, path, "--also", "sft", code=1)


DRAWN = """
experiments:
  drawn:
    sampled: 1
    temperature: 0.7
    arms: {sft: {model: sft, share: 0.5}, knn: {model: item_knn, share: 0.5}}
"""


def true_propensities(catalogue, user, answer, temperature):
    """Plackett-Luce over what may be listed, from the sums over the codes of each item."""
    shop = catalogue.current.models["sft"]
    history = catalogue.current.past(user)
    ids = catalogue.current.words.item_id
    past = [ids[item] for item in history.tolist()]
    open_ = [item for item in ids if item not in past]
    score = {item: np.log(shop.explain(past, item)["probability"].to_numpy()).sum() for item in open_}
    weight = {item: np.exp(each / temperature) for item, each in score.items()}
    found = []
    for item in ids_of(answer):
        found.append(weight[item] / sum(weight.values()))
        del weight[item]
    return found


def test_drawn_lists_log_their_true_propensities(catalogue, tmp_path):
    with measuring(tmp_path, catalogue, DRAWN, drawing=np.random.default_rng(3)) as (client, service):
        users = [f"u{number}" for number in range(12)]
        answers = {user: ask(client, user=user, k=4) for user in users}
        outside = ask(client, user="u1", k=4, model="sft")
        assert outside["propensities"] is None, "no part of the experiment"
        client.post("/events", json={"user": "new", "items": ["B001"]})
    rows = {row["user"]: row for row in read_slates(tmp_path / "slates").frame.iter_rows(named=True)}
    for user, answer in answers.items():
        assert len(set(ids_of(answer))) == 4 and not answer["exact"]
        assert rows[user]["propensities"] == answer["propensities"] and rows[user]["items"] == ids_of(answer)
        seen = {catalogue.current.words.item_id[item] for item in catalogue.current.past(user).tolist()}
        assert not seen & set(ids_of(answer))
    checked = [user for user in users if answers[user]["arm"] == "sft"][:3]
    for user in checked:
        assert answers[user]["propensities"] == pytest.approx(
            true_propensities(catalogue, user, answers[user], 0.7), rel=1e-3
        )


def test_items_are_drawn_as_often_as_their_propensity_says(catalogue):
    version, draw = catalogue.current, Draw(1.0, np.random.default_rng(0))
    history = version.past("u2")
    task = ListTask(version, "sft", history, 2, 1, history, NONE, draw)
    answers = task.run([task] * 400)
    share = {}
    for answer in answers:
        share.setdefault(answer.items[0].item, []).append(answer.propensities[0])
    assert len(share) > 3
    for drawn in share.values():
        expected = drawn[0]
        assert set(drawn) == {expected}
        assert abs(len(drawn) / 400 - expected) < 4 * np.sqrt(expected * (1 - expected) / 400) + 1 / 400


def test_of_a_share_of_the_requests_lists_are_drawn_and_of_cold_users_none(catalogue, tmp_path):
    half = DRAWN.replace("sampled: 1", "sampled: 0.5")
    with measuring(tmp_path, catalogue, half, generator=np.random.default_rng(1)) as (client, service):
        service.store.append("stranger", ["gone"])
        drawn = [ask(client, user="u3", k=2)["propensities"] is not None for _ in range(40)]
        assert 10 < sum(drawn) < 30
        assert all(ask(client, user="stranger", k=2)["propensities"] is None for _ in range(4))


def test_interleaved_lists_are_not_drawn(tmp_path):
    (tmp_path / "e.yaml").write_text(DRAFTED.replace("interleave: true", "interleave: true\n    sampled: 0.1"))
    with pytest.raises(ConfigError, match="sampled must be 0, found 0.1"):
        read_experiment(tmp_path / "e.yaml")
