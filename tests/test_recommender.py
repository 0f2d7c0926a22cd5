"""Recommendations in a shop's own words are those of evaluation, and what is asked of them is kept."""

import shutil

import numpy as np
import pandas as pd
import polars as pl
import pytest

import genrec
from genrec.errors import ArtifactError, ConfigError
from genrec.evaluation.predictions import read_predictions
from tests.small_model import write_model, write_run
from tests.small_shop import small_config, small_shop, write_data, write_sids


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run")


def ask_test_rows(shop):
    """Histories of the test rows as ids: all that a user had before the target."""
    sequences, ends = shop.sequences, shop.splits["test"].end
    items = [sequences.item[begin:end] for begin, end in zip(sequences.offset, ends, strict=False)]
    return [shop.catalog.item_id[row].tolist() for row in items]


def lists_of(frame, score=False):
    """(E, k) item ids, or scores, as the frame has them."""
    groups = frame.group_by("user", maintain_order=True).agg(pl.col("item_id"), pl.col("score"))
    return groups["score" if score else "item_id"].to_list()


@pytest.mark.parametrize("model", ["item_knn", "sft", "rl"])
def test_lists_are_those_of_evaluation_bit_for_bit(run, model):
    directory, shop = run
    listed = read_predictions(directory / "evaluation" / model)[1]
    frame = genrec.load(directory, model, batch_size=3).recommend(ask_test_rows(shop), k=8)
    for row, (own, value) in enumerate(zip(lists_of(frame), lists_of(frame, score=True), strict=True)):
        first = listed.item[row][:8]
        assert own == shop.catalog.item_id[first[first >= 0]].tolist()
        assert np.array_equal(np.float32(value), listed.score[row][:8][first >= 0])


@pytest.fixture(scope="module")
def shop_of_run(run):
    return genrec.load(run[0], num_beams=17)


def test_of_a_run_rl_is_taken_where_it_helped(run, tmp_path):
    directory, shop = run
    assert genrec.load(directory).model == "rl" and genrec.load(directory, "sft").model == "sft"
    config = small_config(tmp_path / "run", sft={"scratch": {"hidden_size": 16, "num_layers": 1}})
    write_data(config, shop)
    with pytest.raises(ArtifactError, match="has no language model yet; run first"):
        genrec.load(tmp_path / "run")
    write_sids(config, shop)
    for stage, best in (("sft", 3), ("rl", 0)):
        write_model(config, shop, stage, 0, best)
    assert genrec.load(tmp_path / "run").model == "sft"  # no step of RL was better
    with pytest.raises(ConfigError, match="no model 'sfd'; did you mean 'sft'"):
        genrec.load(tmp_path / "run", "sfd")


def test_a_model_directory_answers_as_its_run_does(run):
    directory, shop = run
    alone, inside = genrec.load(directory / "rl", num_beams=8), genrec.load(directory)
    assert alone.recommend(ask_test_rows(shop), k=5).equals(inside.recommend(ask_test_rows(shop), k=5))
    with pytest.raises(ConfigError, match="knows no users; pass their histories"):
        alone.recommend(users=["u0"])


def test_weights_of_another_model_are_not_taken_for_its_own(run, tmp_path):
    sft, rl = run[0] / "sft", run[0] / "rl"
    shutil.copytree(sft, tmp_path / "model")
    (tmp_path / "model/README.md").write_text("my own words")
    assert genrec.load(tmp_path / "model").recommend([["B001"]], k=1).height == 1
    shutil.copy(rl / "model.safetensors", tmp_path / "model")
    with pytest.raises(ArtifactError, match="model.safetensors was changed after it was made"):
        genrec.load(tmp_path / "model")


def test_what_prompts_say_of_users_travels_with_the_model(tmp_path):
    shop = small_shop(num_items=17)
    config = small_config(tmp_path / "run", sft={"scratch": {"hidden_size": 16, "num_layers": 1}})
    write_data(config, shop)
    write_sids(config, shop)
    write_model(config, shop, "sft", 0, best=1, profile=("taste", "companions"))
    inside, alone = genrec.load(tmp_path / "run"), genrec.load(tmp_path / "run" / "sft")
    rows = ask_test_rows(shop)[:9]
    assert alone.recommend(rows, k=3).equals(inside.recommend(rows, k=3))
    prompts = [each.family.model.prompts(each.read_histories(rows).examples(6, None)) for each in (inside, alone)]
    assert prompts[0] == prompts[1] and prompts[0] != inside.family.model.prompts(
        inside.read_histories(rows[::-1]).examples(6, None)
    )


def test_a_user_of_the_run_is_asked_for_by_all_that_they_had(run, shop_of_run):
    _, shop = run
    own = [shop.catalog.item_id[row].tolist() for row in np.split(shop.sequences.item, shop.sequences.offset[1:-1])]
    by_name = shop_of_run.recommend(users=["u7", "u3"], k=4)
    by_items = shop_of_run.recommend([own[7], own[3]], users=["u7", "u3"], k=4)
    assert by_name.equals(by_items) and by_name["user"].unique(maintain_order=True).to_list() == ["u7", "u3"]
    assert not {own_id for own_id in own[7]} & set(by_name.filter(pl.col("user") == "u7")["item_id"])


def test_seen_items_of_a_long_past_are_left_out_though_the_prompt_is_short(run, shop_of_run):
    ids = run[1].catalog.item_id
    past = [*ids[:14].tolist(), *ids[[1, 2]].tolist()]  # max_history is 6
    assert set(shop_of_run.recommend([past], k=10)["item_id"]) == set(ids[14:])
    assert len(shop_of_run.recommend([past], k=10, exclude_seen=False)) == 10


@pytest.mark.parametrize("model", ["sft", "item_knn"])
def test_allowed_and_denied_items_are_those_of_the_whole_ranking(run, model):
    directory, shop = run
    recommender = genrec.load(directory, model, num_beams=17)
    rows, ids = ask_test_rows(shop)[:7], shop.catalog.item_id
    whole = lists_of(recommender.recommend(rows, k=17, exclude_seen=False))
    random = np.random.default_rng(0)
    deny, allow = random.choice(ids, 5, replace=False).tolist(), random.choice(ids, 9, replace=False).tolist()
    kept = lists_of(recommender.recommend(rows, k=4, exclude_seen=False, deny=deny))
    assert kept == [[item for item in row if item not in deny][:4] for row in whole]
    kept = lists_of(recommender.recommend(rows, k=4, exclude_seen=False, allow=allow))
    assert kept == [[item for item in row if item in allow][:4] for row in whole]
    each = [[ids[row], ids[row + 1]] for row in range(7)]
    kept = lists_of(recommender.recommend(rows, k=4, exclude_seen=False, deny=each, allow=allow))
    wanted = [[i for i in row if i in allow and i not in own][:4] for row, own in zip(whole, each, strict=True)]
    assert kept == wanted


def test_a_frontier_lists_the_same_and_says_that_it_is_exact(run):
    directory, shop = run
    rows, ids = ask_test_rows(shop)[:7], shop.catalog.item_id
    beams, frontier = (
        genrec.load(directory, "sft", **knobs) for knobs in ({"num_beams": 17}, {"decoding": "frontier"})
    )
    for rules in ({}, {"allow": ids[:9].tolist()}, {"deny": ids[:5].tolist(), "exclude_seen": False}):
        proven = frontier.recommend([*rows, []], k=4, **rules)
        assert lists_of(proven) == lists_of(beams.recommend([*rows, []], k=4, **rules))
        assert proven["exact"].all() and proven["bound"].null_count() == len(proven)
    short = genrec.load(directory, "sft", decoding="frontier", frontier_budget=1).recommend(rows, k=4)
    assert not short["exact"].any() and short["bound"].null_count() == 0


def test_a_user_without_a_history_gets_the_popular_list_and_is_told_so(run, shop_of_run):
    shop = run[1]
    best = np.argsort(-shop.train_count, kind="stable")
    frame = shop_of_run.recommend([[], ["B003"], []], k=3, deny=[shop.catalog.item_id[best[0]]])
    cold = frame.filter(pl.col("cold"))
    assert cold["user"].unique(maintain_order=True).to_list() == ["0", "2"]
    assert lists_of(cold) == [shop.catalog.item_id[best[1:4]].tolist()] * 2
    assert cold["score"][0] == pytest.approx(shop.train_count[best[1]] / shop.train_count.sum())


def test_frames_of_all_kinds_say_the_same(shop_of_run):
    events = {"user": ["b", "a", "b", "a"], "item": ["B001", "B005", "B002", "B006"], "time": [2, 9, 1, 8]}
    lists = shop_of_run.recommend([["B002", "B001"], ["B006", "B005"]], users=["b", "a"], k=3)
    frame = pl.DataFrame(events)
    pandas = pd.DataFrame(events, index=[7, 3, 2, 9]).rename(columns={"user": "user_id", "item": "item_id"})
    for given in (frame, frame.lazy(), frame.to_arrow(), pandas):
        assert shop_of_run.recommend(given, k=3).equals(lists)
    assert shop_of_run.recommend(frame.drop("time"), k=3).equals(
        shop_of_run.recommend([["B001", "B002"], ["B005", "B006"]], users=["b", "a"], k=3)
    )
    assert shop_of_run.recommend(numbers=[[2, 1], [6, 5]], users=["b", "a"], k=3).equals(lists)


def test_no_question_gives_an_empty_frame_of_the_same_columns(shop_of_run):
    frame = shop_of_run.recommend([])
    assert frame.is_empty() and frame.schema == shop_of_run.recommend([["B001"]]).schema


@pytest.mark.parametrize(
    "question, words",
    [
        ({"histories": [["B001", "B002x"]]}, r"no item 'B002x' among the 17 items of .*; nearest to 'B002x': 'B002'"),
        ({"users": ["u99"]}, r"no user 'u99' among the 60 users of .*; nearest to 'u99': 'u9'"),
        ({"histories": [[1, 2]]}, r"history 0: an id is a string, found 1 \(int\); write '1', or .*numbers="),
        ({"histories": ["B001"]}, r"a list a user; of one user write \[\['B001', \.\.\.\]\]"),
        ({"numbers": [[17]]}, r"row 0: an item is a number 0\.\.16, found 17"),
        ({"histories": [["B001"]], "k": 0}, "k must be at least 1, found 0"),
        ({"histories": [["B001"]], "deny": ["B0"]}, "no item 'B0' among the 17"),
        ({"histories": [["B001"]], "deny": [["B001"], ["B002"]]}, "deny has lists for 2 users, there are 1"),
        ({"histories": [["B001"]], "allow": []}, "allow holds no item"),
        ({"histories": [["B001"]], "users": "u1"}, r"write \['u1'\]"),
        ({"histories": [["B001"]], "users": ["a", "b"]}, "1 histories and 2 users"),
        ({}, "whom for"),
        (
            {"histories": pl.DataFrame({"usr": ["a"], "item": ["B001"]})},
            "'user' .*there are usr, item; the nearest is 'usr'",
        ),
        ({"histories": pl.DataFrame({"user": [1.5], "item": ["B001"]})}, "'user' must hold ids.* Float64"),
        ({"histories": pl.DataFrame({"user": ["a"], "item": [None]})}, "'item' has 1 empty places"),
    ],
)
def test_what_cannot_be_answered_is_said_in_one_line(shop_of_run, question, words):
    with pytest.raises(ConfigError, match=words):
        shop_of_run.recommend(**question)


def test_unknown_items_are_passed_over_when_asked(shop_of_run):
    known = shop_of_run.recommend([["B001", "B002"]], k=3)
    assert shop_of_run.recommend([["x", "B001", "y", "B002"]], k=3, skip_unknown=True).equals(known)


@pytest.mark.parametrize("normalization", ["vocab", "trie"])
def test_the_probabilities_of_a_path_multiply_to_the_score_of_its_beam(run, normalization):
    recommender = genrec.load(run[0], "sft", num_beams=17, normalization=normalization)
    history = ["B003", "B004", "B005"]
    frame = recommender.recommend([history], k=17, exclude_seen=False)
    for item, score, sid in frame.select("item_id", "score", "sid").rows():
        path = recommender.explain(history, item)
        assert "".join(path["code"]) == sid
        assert np.log(path["probability"]).sum() == pytest.approx(score, abs=1e-5)
        number = int(item[1:])
        assert path["items"].to_list() == [len([n for n in range(17) if n // 5 == number // 5]), 1]


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_an_items_rank_is_its_place_in_the_whole_list(run, exclude_seen):
    recommender = genrec.load(run[0], "sft", num_beams=17)
    history = ["B003", "B004", "B005"]
    frame = recommender.recommend([history], k=17, exclude_seen=exclude_seen)
    assert len(frame) == (14 if exclude_seen else 17)
    for place, item, score in frame.select("rank", "item_id", "score").rows():
        found = recommender.rank(history, item, exclude_seen)
        assert (found.rank, found.exact) == (place, True) and found.score == pytest.approx(score, abs=1e-5)
    if exclude_seen:
        assert recommender.rank(history, "B004") == (None, True, None)


def test_a_rank_that_the_budget_does_not_reach_says_so(run):
    frame = genrec.load(run[0], "sft", num_beams=17).recommend([["B003"]], k=17)
    found = genrec.load(run[0], "sft", frontier_budget=1).rank(["B003"], frame["item_id"][-1])
    assert not found.exact and found.rank is not None and found.rank < len(frame)


def test_what_has_no_codes_has_nothing_to_explain(run):
    with pytest.raises(ConfigError, match="'item_knn' has no semantic IDs to explain"):
        genrec.load(run[0], "item_knn").explain(["B001"], "B002")


def test_the_package_itself_stays_light():
    import subprocess
    import sys

    code = "import sys, genrec; print(sorted({'numpy', 'polars', 'torch', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
    assert not hasattr(genrec, "unheard_of") and genrec.Recommender.__name__ == "Recommender"


def test_exact_ranking_is_that_of_beams_that_lose_nothing(run, shop_of_run):
    rows = ask_test_rows(run[1])[:5]
    exact = genrec.load(run[0], ranking="exact")
    assert exact.model == "rl_exact"
    assert exact.recommend(rows, k=6)["item_id"].equals(shop_of_run.recommend(rows, k=6)["item_id"])


def test_a_function_of_ones_own_is_a_model_too(run, tmp_path, monkeypatch):
    code = "from genrec.models.popular import Popular\ndef rank(request): return Popular(request.data.train_count)\n"
    (tmp_path / "own_model.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    own, popular = genrec.load(run[0], "own_model:rank"), genrec.load(run[0], "popular")
    assert own.recommend([["B001"]], k=3).equals(popular.recommend([["B001"]], k=3))
