"""The evaluation stage from the data artifact to its table."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from genrec import artifacts, stage
from genrec.commandline import Command
from genrec.config import MODEL_NAMES, Config
from genrec.data.repeats import leaves_out_seen
from genrec.errors import ArtifactError, ConfigError
from genrec.evaluation.predictions import read_predictions
from genrec.evaluation.report import read_report
from genrec.evaluation.rows import list_rows
from genrec.models import families
from genrec.models.families import FAMILIES, fingerprints_outside
from genrec.pipeline import reads
from genrec.stages import evaluate
from genrec.store import RunStore
from tests import ROOT, parse_flags
from tests.small_shop import small_config, small_shop, write_data, write_sids

BASELINES = ["popular", "popular_recent", "last_item", "item_knn"]


def run(config: Config, clean: bool = False, named: bool = True) -> None:
    evaluate.evaluate(Command(config, clean, dry_run=False), named)


def fingerprints(config: Config) -> dict:
    return {row.name: stage.read_manifest(row.directory).fingerprint for row in list_rows(config)}


@pytest.fixture
def ready(tmp_path):
    """A run with the small shop's data, and its config."""

    def make(**options) -> Config:
        config = small_config(tmp_path / "run", evaluation={"models": BASELINES, **options})
        write_data(config, small_shop())
        return config

    return make


def test_every_model_of_the_config_has_a_family_and_back():
    twins = (f"{name}_exact" for name in MODEL_NAMES if f"{name}_exact" in FAMILIES)
    assert {*MODEL_NAMES, *twins} == set(FAMILIES)


def test_baselines_need_the_data_alone_and_end_in_one_table(ready, capsys):
    config = ready()
    run(config)
    directory, screen = config.run.dir / "evaluation", capsys.readouterr().out
    table = [line.split()[0] for line in screen[: screen.index("(100% of test)")].splitlines() if "[" in line][1:]
    assert table == BASELINES
    assert "Five users" in screen and str(directory / "results.json") in screen
    assert (directory / "summary.txt").read_text().strip() in screen
    results = json.loads((directory / "results.json").read_text())["models"]
    assert list(results) == BASELINES
    assert results["last_item"]["metrics"]["hr@5"]["mean"] > results["popular"]["metrics"]["hr@5"]["mean"]


def test_rows_on_disk_say_who_what_and_at_which_rank(ready):
    config = ready(models=["last_item"])
    run(config)
    directory, shop = config.run.dir / "evaluation" / "last_item", small_shop()
    lines = [json.loads(line) for line in (directory / "eval_results.jsonl").read_text().splitlines()]
    examples, recommendations = read_predictions(directory)
    report = read_report(directory)
    assert len(lines) == len(examples) == 60
    for row, line in enumerate(lines):
        history = examples.history[row][examples.history[row] >= 0]
        assert line["history"] == history.tolist() and line["history_titles"] == shop.catalog.title[history].tolist()
        assert line["truth"] == shop.sequences.item[shop.splits["test"].end[row]]
        assert line["predictions"] == recommendations.item[row, :20].tolist()
        expected = line["predictions"].index(line["truth"]) + 1 if line["truth"] in line["predictions"] else None
        assert line["rank"] == expected
        assert report.scores["mrr@20"][row] == pytest.approx(1 / expected if expected else 0)


def test_same_command_again_does_nothing_and_further_models_add_rows(ready, capsys):
    run(ready(models=["popular"]))
    first = fingerprints(ready())
    run(ready(models=["popular"]))
    assert "evaluation: popular: up to date" in capsys.readouterr().out
    run(ready(models=["popular", "last_item"]))
    assert fingerprints(ready()) == first | {"last_item": fingerprints(ready())["last_item"]}
    table = re.findall(r"^(\w+) +[01]\.\d{4} ", capsys.readouterr().out, re.MULTILINE)
    assert table == ["popular", "last_item"]


def test_what_a_run_does_not_have_is_left_out_with_a_line_and_an_error_where_it_was_named(ready, capsys):
    config = ready(models=["popular", "sft"])
    run(config, named=False)
    missing = config.run.dir / "sids/rqkmeans_plus"
    assert f"evaluation: sft is left out: {missing} is not there; `genrec sids` makes it" in capsys.readouterr().out
    assert list(fingerprints(config)) == ["popular"]
    evaluate.plan_rows(config, named=False, dry_run=True)
    assert f"evaluation: sft: to run, where {missing} is there by then" in capsys.readouterr().out
    with pytest.raises(ArtifactError, match="none of sft is there to be scored"):
        run(ready(models=["sft"]), named=False)


def test_a_row_of_data_that_were_made_anew_is_not_in_the_table(ready, capsys):
    config = ready(models=["popular", "last_item"])
    run(config)
    stage.remove_directories(config.run.dir / "data")
    write_data(config, small_shop(seed=1))
    with pytest.raises(ArtifactError, match="popular was made with other settings: data is now"):
        run(config)
    run(ready(models=["last_item"]), clean=True)
    assert "not in the table: popular, of an earlier data" in capsys.readouterr().out


@pytest.mark.parametrize("filter_seen", ["auto", True, False])
def test_every_row_of_the_table_leaves_out_the_whole_past_or_none_does(ready, filter_seen, capsys):
    config = ready(filter_seen=filter_seen)
    run(config)
    shop, screen = small_shop(), capsys.readouterr().out
    left_out = leaves_out_seen(filter_seen, shop)
    assert left_out == (filter_seen is True)  # every tenth target of this shop repeats
    assert f"lists {'leave out' if left_out else 'may hold'} what the user had before" in screen
    pasts = shop.examples("test").past.items()
    for name in BASELINES:
        results = json.loads((config.run.dir / "evaluation" / name / "results.json").read_text())
        assert results["lists"]["filter_seen"] == left_out
        lists = read_predictions(config.run.dir / "evaluation" / name)[1].item
        shared = [set(row[row >= 0]) & set(past) for row, past in zip(lists, pasts, strict=True)]
        assert any(shared) != left_out
        if left_out:
            assert results["slices"]["repeat purchase"]["hr@10"]["mean"] == 0


def test_limit_draws_rows_by_seed_in_order(ready):
    config = ready(models=["popular"], limit=10, split="valid")
    run(config)
    report = read_report(config.run.dir / "evaluation_valid" / "popular")
    assert (report.rows.rows, report.rows.rows_of_split, report.rows.split) == (10, 60, "valid")
    assert (np.diff(report.user) > 0).all()


def test_a_killed_evaluation_keeps_the_finished_families(ready, monkeypatch):
    config = ready(models=["popular", "last_item"])
    loaded = []

    def load(name, fails):
        def count(*arguments):
            loaded.append(name)
            if fails:
                raise KeyboardInterrupt
            return original[name](*arguments)

        return count

    original = dict(FAMILIES)
    monkeypatch.setitem(families.FAMILIES, "popular", load("popular", False))
    monkeypatch.setitem(families.FAMILIES, "last_item", load("last_item", True))
    with pytest.raises(KeyboardInterrupt):
        run(config)
    monkeypatch.setitem(families.FAMILIES, "last_item", load("last_item", False))
    run(config)
    assert loaded == ["popular", "last_item", "last_item"]


def test_two_runs_make_the_same_bytes(ready):
    config = ready()
    run(config)
    first = fingerprints(config)
    run(config, clean=True)
    assert fingerprints(config) == first


def test_a_language_model_is_required_by_name_and_replaced_by_base_model(ready, tmp_path):
    config = ready(models=["popular", "sft"])
    assert reads("evaluation", config) == ("data", "sids", "sft")
    with pytest.raises(ArtifactError, match="run first: genrec sids"):
        run(config)
    write_sids(config, small_shop())
    with pytest.raises(ArtifactError, match="run first: genrec sft"):
        run(config)
    given, store = ready(models=["popular", "sft"], base_model=str(tmp_path)), RunStore.of(config)
    with pytest.raises(ArtifactError, match="is not a model of this project"):
        fingerprints_outside(store, given.evaluation, "sft")
    (tmp_path / artifacts.CARD).write_text("{}")
    assert reads("evaluation", given) == ("data", "sids") and "base_model" in fingerprints_outside(
        store, given.evaluation, "sft"
    )
    with pytest.raises(ConfigError, match="which evaluation.models"):
        ready(models=["popular"], base_model=str(tmp_path))


def test_colliding_sids_give_both_levels_of_score(ready, monkeypatch, capsys):
    """A family that answers in SIDs names both items of the shared one; it is stood in for by one that always does."""
    config = ready(models=["sft"])
    write_sids(config, small_shop(), collide=True)
    stage.run("sft", Command(config, False, False), lambda config, directory: {})

    class Always:
        def recommend(self, examples, k):
            item = np.full((len(examples), k), -1, np.int32)
            item[:, :3], score = [4, 0, 1], np.full((len(examples), k), -np.inf, np.float32)
            score[:, :3] = [2, 1, 1]
            return evaluate.Recommendations(item, score)

    monkeypatch.setitem(families.FAMILIES, "sft", lambda request: Always())
    run(config)
    report = read_report(config.run.dir / "evaluation" / "sft")
    target = small_shop().examples("test").target
    shared = np.isin(target, [0, 1])
    assert (
        shared.any() and report.scores["sid_hr@10"][shared].all() and (report.scores["sid_mrr@10"][shared] == 0.5).all()
    )
    assert report.scores["mrr@10"][shared] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert "SID NDCG@10" in capsys.readouterr().out


def test_data_made_with_other_knobs_is_refused(ready):
    config = ready()
    config.data.max_history = 3
    with pytest.raises(ArtifactError, match="data.max_history is 6 there, 3 asked"):
        run(config)


def test_models_may_be_named_with_commas_and_typos_are_told():
    assert parse_flags(["--models", "popular,item_knn"], "evaluation").config.evaluation.models == [
        "popular",
        "item_knn",
    ]
    with pytest.raises(ConfigError, match="popullar"):
        parse_flags(["--models", "popullar"], "evaluation")


def test_evaluation_of_baselines_needs_no_torch():
    script = "import sys, genrec.evaluation.report, genrec.evaluation.predictions, genrec.stages.evaluate; "
    done = subprocess.run(
        [sys.executable, "-c", script + "print('torch' in sys.modules)"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == "False", done.stderr
