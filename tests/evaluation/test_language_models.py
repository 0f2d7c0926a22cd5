"""Evaluation of a language model: what beams lose, several processes, a catalogue that has grown."""

import json
import os
import shutil
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import torch

from genrec import artifacts
from genrec.artifacts import read_manifest
from genrec.commandline import Command
from genrec.data import prompts
from genrec.data.catalog import Catalog
from genrec.data.prompts import prompt_fingerprint
from genrec.data.tasks import RECOMMEND, Texts
from genrec.errors import ArtifactError
from genrec.evaluation.predictions import read_predictions
from genrec.models.card import Card, check_card, load_card, prompts_of_evaluation, prompts_of_rl, save_card
from genrec.models.language import catalog_texts, make_scratch, teach_sids, train_tokenizer
from genrec.quantizers.grow import join_catalogs, write_grown
from genrec.sids import load_index, make_index, save_index
from genrec.stages import evaluate
from genrec.stages.compare import write_comparison
from genrec.store import RunStore
from tests import ROOT
from tests.small_shop import small_config, small_shop, write_data, write_sids


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """A run with data, SIDs and a model of random weights; returns what makes its config."""
    home = tmp_path_factory.mktemp("run")
    config, shop = (
        small_config(home / "run", sft={"scratch": {"hidden_size": 16, "num_layers": 1}}),
        small_shop(num_items=17),
    )
    write_data(config, shop)
    write_sids(config, shop)
    sids = RunStore.of(config).path("sids")
    texts = Texts(shop.catalog, load_index(sids / artifacts.SID_INDEX), config.data.source)
    torch.manual_seed(0)
    tokenizer = train_tokenizer(catalog_texts(shop.catalog, [texts.prompt(RECOMMEND, []).text]), 400)
    model = make_scratch(config.sft.scratch, tokenizer, 512)
    teach_sids(model, tokenizer, texts.index, None)
    model.save_pretrained(home / "model")
    tokenizer.save_pretrained(home / "model")
    fingerprint = artifacts.read_manifest(sids).fingerprint
    card = Card(fingerprint, prompt_fingerprint(), config.data.source, cutoff_len=256, profile=[])
    save_card(home / "model", card, texts.index)

    def make(**options):
        chosen = {"models": ["sft"], "base_model": str(home / "model"), "num_beams": 3, "batch_size": 2}
        return small_config(home / "run", evaluation=chosen | options)

    return make


def run(config):
    """Rows of a model that is given are called by its directory, sft.model; each call begins from none."""
    shutil.rmtree(config.run.dir / "evaluation", ignore_errors=True)
    evaluate.evaluate(Command(config), named=True)
    return config.run.dir / "evaluation"


def test_exact_ranking_stands_beside_the_beams_and_says_what_they_lost(ready, capsys):
    directory = run(ready(models=["popular", "sft"], ranking="exact", num_beams=8))
    results = json.loads((directory / "results.json").read_text())
    assert list(results["models"]) == ["popular", "sft.model", "sft_exact.model"]
    examples, beams = read_predictions(directory / "sft.model")
    exact = read_predictions(directory / "sft_exact.model")[1]
    lost = sum(
        target in best[:8].tolist() and target not in found[:8].tolist()
        for target, found, best in zip(examples.target, beams.item, exact.item, strict=True)
    )
    told = results["beam_loss"]["sft.model"]
    assert 0 < lost == told["@8"]["lost"] and told["@8"]["mean"] == pytest.approx(lost / len(examples), abs=1e-6)
    assert (
        f"beam loss of 'sft.model' in {len(examples)} rows: targets {lost} of the exact top 8"
        in capsys.readouterr().out
    )


def test_enough_beams_lose_nothing(ready):
    results = json.loads((run(ready(ranking="exact", num_beams=50)) / "results.json").read_text())
    assert {results["beam_loss"]["sft.model"][f"@{k}"]["lost"] for k in (1, 10, 17)} == {0}
    assert results["models"]["sft.model"]["metrics"] == results["models"]["sft_exact.model"]["metrics"]


def test_a_frontier_is_a_row_of_its_own_with_the_exact_lists(ready, capsys):
    directory = run(ready(models=["sft"], ranking="exact", num_beams=8))
    evaluate.evaluate(Command(ready(models=["sft"], decoding="frontier", num_beams=8)), named=True)
    row = directory / "sft.model.decoding-frontier.frontier_budget-1000"
    found, exact = (read_predictions(place)[1] for place in (row, directory / "sft_exact.model"))
    np.testing.assert_allclose(found.score, exact.score, atol=1e-5)
    lists = json.loads((row / "results.json").read_text())["lists"]
    assert (lists["ranking"], lists["num_beams"], lists["length"]) == ("frontier", None, 17)
    rows = read_manifest(row).statistics["rows"]
    assert read_manifest(row).statistics["proven"] == rows
    assert f"{rows} of {rows} lists are proven to be exact" in "".join(capsys.readouterr())
    assert json.loads((row / "eval_results.jsonl").read_text().splitlines()[0])["exact"] is True
    assert "evaluation.decoding" not in read_manifest(directory / "sft.model").config  # as it ever was


def test_proven_ranks_of_targets_are_places_of_the_exact_lists_and_tell_beam_loss_without_them(ready, capsys):
    exactly = json.loads((run(ready(ranking="exact", num_beams=8)) / "results.json").read_text())["beam_loss"]
    exact = read_predictions(ready().run.dir / "evaluation" / "sft_exact.model")[1]
    directory = run(ready(num_beams=8, target_ranks=True))
    examples, lists = read_predictions(directory / "sft.model")
    place = (exact.item == examples.target[:, None]).argmax(1) + 1  # 17 items, all in the exact lists
    assert lists.targets is not None and lists.targets.rank.tolist() == place.tolist() and lists.targets.exact.all()
    told = json.loads((directory / "results.json").read_text())["beam_loss"]["sft.model"]
    assert told == exactly["sft.model"] | {"undecided": 0} and told["@8"]["lost"] > 0
    screen = "".join(capsys.readouterr())
    assert f"sft: the ranks of {len(examples)} of {len(examples)} targets are proven\n" in screen
    lines = [json.loads(line) for line in (directory / "sft.model" / "eval_results.jsonl").read_text().splitlines()]
    assert [line["target_rank"] for line in lines] == place.tolist() and all(
        line["target_rank_exact"] for line in lines
    )


def test_a_budget_too_small_leaves_ranks_unproven_and_says_of_how_many_targets(ready, capsys):
    directory = run(ready(num_beams=8, target_ranks=True, frontier_budget=1))
    targets = read_predictions(directory / "sft.model")[1].targets
    assert targets is not None and not targets.exact.all()
    undecided = int((~targets.exact & (targets.rank <= 8)).sum())
    told = json.loads((directory / "results.json").read_text())["beam_loss"]["sft.model"]
    assert told["undecided"] == undecided > 0
    screen = "".join(capsys.readouterr())
    assert "a larger --evaluation.frontier_budget proves more" in screen and f"; {undecided} more may be, " in screen


def test_lists_end_with_the_beams(ready, capsys):
    directory = run(ready(models=["popular", "sft"], num_beams=10))
    models = json.loads((directory / "results.json").read_text())["models"]
    assert models["sft.model"]["lists"]["length"] == models["sft.model"]["lists"]["num_beams"] == 10
    assert {name.partition("@")[2] for name in models["sft.model"]["metrics"]} == {"1", "3", "5", "10"}
    assert {name.partition("@")[2] for name in models["popular"]["metrics"]} == {"1", "3", "5", "10", "17"}
    screen = capsys.readouterr().out
    assert "MRR@10" in screen and "lists of 'sft.model' end at 10 items, by 10 beams" in screen
    assert "not in the first 10)" in screen


def test_three_beams_have_no_metric_at_ten(ready, capsys):
    directory = run(ready(num_beams=3))
    metrics = json.loads((directory / "sft.model" / "results.json").read_text())["metrics"]
    assert set(metrics) == {f"{name}@{k}" for name in ("hr", "ndcg", "mrr") for k in (1, 3)}
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("sft.model "))
    assert row.split()[:4] == ["sft.model", "-", "-", "-"]


def test_the_same_weights_at_10_and_17_beams_differ_by_no_more_than_their_lists(ready, tmp_path):
    for beams in (10, 17):
        shutil.copytree(run(ready(num_beams=beams)) / "sft.model", tmp_path / str(beams))
    text = write_comparison(tmp_path / "10", tmp_path / "17", tmp_path / "out", seed=0)
    assert "hr@20" not in text and "num_beams 10 against 17" in text and "no difference shown" in text


@pytest.mark.slow
def test_two_processes_write_what_one_writes(ready, tmp_path):
    config = ready(ranking="exact")
    directory = run(config)
    names = [
        f"{model}/{name}"
        for model in ("sft.model", "sft_exact.model")
        for name in ("recommendations.npz", "results.json")
    ]
    alone = {name: (directory / name).read_bytes() for name in [*names, "results.json"]}
    artifacts.write_json(tmp_path / "config.yaml", json.loads(config.model_dump_json()))
    directory.rename(tmp_path / "alone")
    launch = ["-m", "accelerate.commands.launch", "--config_file", "config/accelerate/cpu_2proc.yaml"]
    command = [sys.executable, *launch, "evaluate.py", "--config", str(tmp_path / "config.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("Five users") == 1
    assert {name: (directory / name).read_bytes() for name in alone} == alone


def test_a_changed_prompt_is_refused_where_the_model_is_asked_with_it(ready, monkeypatch):
    config = ready()
    model = config.evaluation.base_model
    card, store = load_card(model), RunStore.of(config)
    check_card(model, card, store, prompts_of_rl(card, config.rl))
    with monkeypatch.context() as patch:
        patch.setitem(prompts.INSTRUCTIONS, ("title", "sid"), "Name the {item}.")
        check_card(model, card, store, prompts_of_evaluation(card))
        with pytest.raises(ArtifactError, match="was trained with the text of 'title -> sid' [0-9a-f]+, but this run"):
            check_card(model, card, store, prompts_of_rl(card, config.rl))
    with monkeypatch.context() as patch:
        patch.setitem(prompts.INSTRUCTIONS, ("sid history", "sid"), "Go on with the {items}.")
        with pytest.raises(ArtifactError, match="the text of 'sid history -> sid'"):
            run(config)


def test_a_task_or_source_that_is_added_leaves_earlier_models_as_they_are(ready, monkeypatch):
    config, added = ready(), ("title", "brand")
    card = load_card(config.evaluation.base_model)
    monkeypatch.setitem(prompts.INSTRUCTIONS, added, "Give the brand of the {item} with this title.")
    monkeypatch.setitem(prompts.NOUNS, "books", ("book", "books", "read"))
    assert set(prompt_fingerprint()) - set(card.prompts) == {"title -> brand", "books"}
    check_card(config.evaluation.base_model, card, RunStore.of(config), prompts_of_rl(card, config.rl))
    run(config)


def test_rl_may_ask_what_the_model_was_never_taught(ready):
    config = ready()
    card = load_card(config.evaluation.base_model)
    assert config.rl.tasks["title_to_sid"] > 0
    del card.prompts["title -> sid"]
    check_card(config.evaluation.base_model, card, RunStore.of(config), prompts_of_rl(card, config.rl))


def test_a_card_of_other_fields_is_one_clear_error(ready, tmp_path):
    written = json.loads((ready().evaluation.base_model / "genrec.json").read_text())
    for broken in (written | {"prompts": "0123456789abcdef"}, {"sids": "x"}, []):
        artifacts.write_json(tmp_path / "genrec.json", broken)
        with pytest.raises(ArtifactError, match="genrec.json is no Card.*train the model anew"):
            load_card(tmp_path)


@pytest.fixture
def grown(ready):
    """Three new items beside the 17 of the shop, and two old ones retired."""
    config = ready()
    sids = RunStore.of(config).path("sids")
    index, catalog = load_index(sids / artifacts.SID_INDEX), small_shop(num_items=17).catalog
    free = [codes for codes in product(*map(range, index.sizes)) if codes not in set(map(tuple, index.codes.tolist()))]
    codes = np.concatenate([index.codes, free[:3]])
    texts = np.array([f"new item {item}" for item in range(3)], dtype=object)
    allowed = np.ones(len(codes), dtype=bool)
    allowed[[4, 7]] = False
    vectors = np.eye(3, 4, dtype=np.float32)
    whole = join_catalogs(catalog, Catalog(texts, texts, texts, texts, texts))
    write_grown(
        config.data.dataset,
        RunStore.of(config).grown_dir,
        make_index(codes, index.sizes),
        whole,
        allowed,
        [vectors],
        {},
    )
    yield allowed
    shutil.rmtree(RunStore.of(config).grown_dir)


@pytest.mark.parametrize("ranking", ["beam", "exact"])
def test_new_items_are_recommended_and_retired_ones_are_not(ready, grown, ranking):
    directory = run(ready(models=["popular", "sft"], index="sids_grown", ranking=ranking, num_beams=50))
    listed = read_predictions(directory / ("sft_exact.model" if ranking == "exact" else "sft.model"))[1].item
    for row in listed:
        assert sorted(row[row >= 0]) == np.flatnonzero(grown).tolist()
    last = json.loads((directory / "sft.model" / "eval_results.jsonl").read_text().splitlines()[0])
    assert len(last["predictions"]) == grown.sum()
    assert read_predictions(directory / "popular")[1].item.max() < len(grown)
    old = read_predictions(run(ready(num_beams=50)) / "sft.model")[1].item
    assert old.max() == len(grown) - 4 and {4, 7} <= set(old[0].tolist())


def test_a_grown_catalogue_of_other_sids_is_refused(ready, grown):
    config = ready(index="sids_grown")
    index = load_index(RunStore.of(config).grown_dir / artifacts.SID_INDEX)
    save_index(make_index(index.codes[::-1], index.sizes), RunStore.of(config).grown_dir / artifacts.SID_INDEX)
    with pytest.raises(ArtifactError, match="did not grow from the semantic IDs in use"):
        run(config)
