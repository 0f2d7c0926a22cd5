"""The recipe's places are links into the run that was last made, and a person's own file is never written over."""

import os
import time

import numpy as np
import pytest

from genrec import recipe_places, stage
from genrec.artifacts import MANIFEST, read_json, write_json
from genrec.commandline import Command
from genrec.pipeline import artifact_dir
from genrec.places import HOME
from genrec.recipe_places import link_places, model_size
from genrec.run_choice import record_run
from tests.small_shop import small_config, small_shop, write_data, write_sids


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A checkout whose scripts were called, with a run of data and semantic IDs."""
    monkeypatch.setenv(HOME, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    config = configured(tmp_path)
    write_data(config, small_shop())
    write_sids(config, small_shop())
    return tmp_path


def configured(home, place="outputs/small", **sections):
    config = small_config(home / place)
    return config.model_copy(
        update={name: getattr(config, name).model_copy(update=keys) for name, keys in sections.items()}
    )


def finish(name, config, clean=False, **files):
    def build(config, directory):
        for file, text in files.items():
            (directory / file).write_text(text)
        return {}

    return stage.run(name, Command(config, clean, False), build).config


def test_the_index_is_a_link_into_the_run(home, capsys):
    index = home / "data" / "Amazon" / "index"
    for name in ("small.index.json", "small.item.json"):
        assert (index / name).is_symlink()
        assert (index / name).resolve() == (artifact_dir(configured(home), "sids") / name).resolve()
        assert not os.path.isabs(os.readlink(index / name))  # a checkout may be moved
    for path in index.iterdir():
        path.unlink()
    link_places("sids", configured(home))
    said = capsys.readouterr().out
    assert "sids: also at data/Amazon/index/small.index.json, data/Amazon/index/small.item.json\n" in said
    link_places("sids", configured(home))
    assert capsys.readouterr().out == ""


def test_a_file_of_ones_own_stays_and_is_named(home, capsys):
    place = home / "data" / "Amazon" / "index" / "small.item.json"
    place.unlink()
    place.write_text("mine")
    link_places("sids", configured(home))
    assert place.read_text() == "mine"
    assert f"{place} is a file of your own and stays" in capsys.readouterr().out
    place.unlink()
    (home / "mine.json").write_text("mine")
    place.symlink_to(home / "mine.json")
    link_places("sids", configured(home))
    assert place.read_text() == "mine"


def test_models_have_the_recipes_names_and_an_older_time_goes(home):
    config = finish("sft", configured(home), model="one")
    old = next((home / "outputs").glob("sft_0.5b_small_2*"))
    assert old.resolve() == (home / "outputs/small/sft").resolve() and (old / "model").read_text() == "one"
    os.utime(home / "outputs/small/sft" / MANIFEST, (time.time() - 9000,) * 2)
    link_places("sft", config)
    (new,) = (home / "outputs").glob("sft_0.5b_small_2*")
    assert new.name < old.name
    finish("rl", config, model="two")
    assert (home / "outputs/rl_model/model").read_text() == "two"


@pytest.mark.parametrize(
    ("model", "size"),
    [("Qwen/Qwen2.5-0.5B-Instruct", "0.5b"), ("/m/Qwen2.5-1.5B-Instruct", "1.5b"), ("meta-llama/Llama-3.2-1B", "1b"),
     ("/models/mine", "0.5b"), ("Llama-7b-hf", "7b")],
)  # fmt: skip
def test_the_size_is_the_base_models(model, size):
    sft = small_config("x").sft
    assert model_size(sft.model_copy(update={"base_model": model})) == size
    assert model_size(sft.model_copy(update={"train_from_scratch": True})) == "scratch"


def test_runs_elsewhere_rounds_and_valid_rows_leave_no_link(home, tmp_path_factory):
    outside = tmp_path_factory.mktemp("elsewhere")
    for config in (
        small_config(outside / "run"),
        configured(home, "outputs/small/rounds/1"),
        configured(home, evaluation={"split": "valid"}),
    ):
        assert not recipe_places.belongs_to(home, config)
    assert recipe_places.belongs_to(home, configured(home))


def test_vectors_are_linked_below_the_root_that_names_the_run(home):
    root = home / "data" / "Amazon18" / "small"
    root.mkdir(parents=True)
    record_run(root, home / "outputs/small")
    config = configured(home, run={"root": root})
    np.save(artifact_dir(config, "embeddings") / "small.emb.npy", np.zeros((2, 2)))
    link_places("embeddings", config)
    assert np.load(root / "small.emb.npy").shape == (2, 2) and (root / "small.emb.npy").is_symlink()
    link_places("embeddings", configured(home, run={"root": home / "outputs/small"}))
    assert not (home / "outputs/small" / "small.emb.npy").exists()


def test_results_of_a_named_model_have_its_name(home):
    config = configured(home)
    (home / "outputs/small/evaluation/sft").mkdir(parents=True)
    write_json(home / "outputs/small/evaluation/sft/results.json", {"model": "sft"})
    write_json(home / "outputs/small/evaluation/results.json", {"models": {}})
    finish("sft", config, model="one")
    link_places("evaluation", config, {"baseline_model": "sft"})
    assert read_json(home / "evaluation" / "baseline_results.json") == {"model": "sft"}
    assert read_json(home / "evaluation" / "results.json") == {"models": {}}


def test_other_settings_begin_a_new_run_and_the_same_again_finds_it(home, capsys):
    asked = {"when_changed": "new_run"}
    first = finish("sft", configured(home, run=asked, sft={"num_epochs": 1.0}), model="one")
    assert first.run.dir == home / "outputs/small" and not (home / "outputs/baseline_model").exists()
    capsys.readouterr()
    changed = configured(home, run=asked, sft={"num_epochs": 2.0})
    second = finish("sft", changed, model="two")
    said = capsys.readouterr().out
    assert (
        f"sft: {home}/outputs/small was made with other settings; this is {home}/outputs/small_2, begun from it" in said
    )
    assert second.run.dir == home / "outputs/small_2" and second.run.from_run == home / "outputs/small"
    assert (home / "outputs/small_2/data" / MANIFEST).samefile(home / "outputs/small/data" / MANIFEST)
    assert (home / "outputs/baseline_model/model").read_text() == "one"
    assert (home / "outputs/optimized_model/model").read_text() == "two"
    assert finish("sft", changed, model="three").run.dir == second.run.dir
    assert "sft: up to date" in capsys.readouterr().out and not (home / "outputs/small_3").exists()
    assert finish("sft", configured(home, run=asked, sft={"num_epochs": 1.0})).run.dir == home / "outputs/small"
    third = finish("sft", configured(home, run=asked, sft={"num_epochs": 3.0}), model="four")
    assert third.run.dir == home / "outputs/small_3"


def test_a_later_stage_is_not_taken_to_a_run_of_other_inputs(home):
    """small_2 has another sft and no rl; another rl of the first sft is begun in small_3."""
    asked = {"when_changed": "new_run"}
    finish("sft", configured(home, run=asked, sft={"num_epochs": 1.0}), model="one")
    finish("rl", configured(home, run=asked, rl={"beta": 0.1}), model="rl one")
    finish("sft", configured(home, run=asked, sft={"num_epochs": 2.0}), model="two")
    third = finish("rl", configured(home, run=asked, rl={"beta": 0.2}), model="rl two")
    assert third.run.dir == home / "outputs/small_3"
    assert (home / "outputs/small_3/sft/model").read_text() == "one"
    assert (home / "outputs/rl_model/model").read_text() == "rl two"
    assert (home / "outputs/baseline_model/model").read_text() == "rl one"
