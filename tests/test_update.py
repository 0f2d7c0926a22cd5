"""genrec update on a small shop: what joins, what is kept, what is refused, and kill -9 half-way.

Vectors made of the titles' letters stand for the embeddings, which take long.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from genrec import artifacts
from genrec.artifacts import read_manifest
from genrec.commandline import Command
from genrec.config_checks import validate
from genrec.embeddings import item_encoder
from genrec.quantizers import quality
from genrec.stage import run as run_stage
from genrec.stages import embed, prepare, sft, sids, update
from genrec.store import RunStore
from tests.data.later_events import LATER, dated_shop, later_walks, make_events, make_items

SFT = {"train_from_scratch": True, "scratch": {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 300},
       "tasks": {"sid_to_sid": 1, "title_to_sid": 1}, "num_epochs": 1, "valid_size": 20, "batch_size": 16,
       "micro_batch_size": 16, "sid_init": "random", "eval_step": 1}  # fmt: skip
SMALL = {"sids": {"method": "rqkmeans", "num_levels": 2, "codebook_size": 8}, "sft": SFT,
         "evaluation": {"num_beams": 10}}  # fmt: skip


def open_speller(settings):
    """An encoder: (n, 8) float32 of how often letters stand in each text, with noise that is the text's own."""

    def spell(text):
        counts = [text.count(letter) + len(text) % (3 + place) for place, letter in enumerate("aeio0123")]
        return np.array(counts) + np.random.default_rng([*text.encode()]).normal(size=8)

    return nullcontext(lambda texts: np.array([spell(text) for text in texts], dtype=np.float32))


@pytest.fixture(scope="module", autouse=True)
def quick_vectors():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(item_encoder, "open_encoder", open_speller)
        patch.setattr(quality, "plot_quality", lambda *told: None)
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A trained run, tables of later events, and its update."""
    home, shop = tmp_path_factory.mktemp("update"), dated_shop()
    owner = np.repeat(shop.sequences.user_id, np.diff(shop.sequences.offset))
    rows = zip(owner.tolist(), shop.catalog.item_id[shop.sequences.item], shop.sequences.time.tolist(), strict=True)
    make_events(*rows).write_csv(home / "old.csv")
    make_items(*shop.catalog.item_id).write_csv(home / "old_items.csv")
    tables = {"events": str(home / "old.csv"), "items": str(home / "old_items.csv")}
    rules = {"source": "table", "dataset": "small", "user_k": 2, "item_k": 2, "split": "leave_one_out"}
    data = {**rules, **tables, "max_history": 6}
    config = validate({"run": {"dir": str(home / "run")}, "data": data, **SMALL})
    for module, name in ((prepare, "data"), (embed, "embeddings"), (sids, "sids"), (sft, "sft")):
        run_stage(name, Command(config), module.build, getattr(module, "sources", None))
    later_walks(shop, LATER).write_csv(home / "later.csv")
    make_items("N0", "N1").write_csv(home / "later_items.csv")
    update.main(words(home))
    return home


def words(home, *more, **places):
    """The flags of an update from and to runs below `home`."""
    flags = {"from_run": "run", "events": "later.csv", "items": "later_items.csv"} | places
    return [word for name, value in flags.items() for word in (f"--{name}", str(home / value))] + [
        "--run.dir", str(home / "next"), *more]  # fmt: skip


def test_new_events_and_items_join_and_old_semantic_ids_stay(home):
    before, after = RunStore(home / "run"), RunStore(home / "next")
    assert len(after.catalog()) == len(before.catalog()) + 2 and after.catalog().title[-1].startswith("Later N")
    assert (after.index().codes[:20] == before.index().codes).all()
    assert len(np.unique(after.codes(), axis=0)) == 22
    assert (after.vectors(22)[:20] == before.vectors(20)).all()
    assert after.sid_lineage()[1:] == before.sid_lineage()


def test_training_goes_on_from_the_weights_of_the_run_with_a_replay(home):
    settings = read_manifest(home / "next/sft").config
    assert settings["sft.base_model"] == str(home / "run/sft") and settings["sft.replay"] == 0.2
    assert not settings["sft.train_from_scratch"] and settings["sft.num_epochs"] == 1
    before, after = (load_file(home / run / "sft/model.safetensors") for run in ("run", "next"))
    assert before.keys() == after.keys()
    name = "model.embed_tokens.weight"
    near = torch.nn.functional.cosine_similarity(before[name], after[name]).mean()
    assert near > 0.9 and not torch.equal(before[name], after[name])  # random rows would have 0


def test_the_table_has_both_sets_of_rows_and_every_model(home):
    told = json.loads((home / "next/update.json").read_text())
    data = RunStore(home / "next").prepared()
    assert told["compared"]["newest"]["rows"]["rows"] == len(data.splits["test"])
    assert told["compared"]["earlier"]["rows"]["rows"] == len(data.updated.earlier) == 60
    assert list(told["compared"]["newest"]["models"]) == ["SIDs grown", "updated"]
    assert told["drift"]["new_items"] == 2
    text = (home / "next/update.txt").read_text()
    assert "history lengths" in text and "The newest rows" in text and "Test rows of before, 60" in text


def test_the_run_as_it_was_recommends_no_new_item(home):
    lists = home / "next/compared/newest/evaluation"
    was, grown = (np.load(lists / name / artifacts.RECOMMENDATIONS)["item"] for name in ("as_it_was", "SIDs_grown"))
    assert was.max() < 20 and grown.max() >= 20


def test_the_same_command_again_changes_nothing(home, capsys):
    def finished():
        return {path: path.stat().st_mtime_ns for path in (home / "next").rglob("manifest.json")}

    before = finished()
    update.main(words(home))
    said = capsys.readouterr().out
    assert all(f"{name}: up to date" in said for name in ("data", "embeddings", "sids", "sft")) and finished() == before


def test_a_dry_run_tells_of_drift_and_writes_nothing(home, capsys):
    update.main([*words(home)[:-1], str(home / "dry"), "--dry-run"])
    said = capsys.readouterr().out
    assert "drift of" in said and "sft: to run (after data, sids)" in said and not (home / "dry").exists()


REFUSED = [
    ([], "--from_run is required"),
    (["--from_run", "{home}/run"], "--events is required"),
    (["--from_run", "{home}/nowhere"], "is not a directory"),
    (["--from_run", "{home}"], "data is not there, and an update goes on from a trained model; run first"),
    (
        ["--events", "{home}/old.csv", "--items", "{home}/old_items.csv"],
        "are in .*/run already; name a table with later ones",
    ),
    (["--events", "{home}/strangers.csv"], "these are another shop's ids"),
    (["--events", "{home}/empty.csv"], "has columns and no rows"),
    (["--run.dir", "{home}/run"], "is the run to go on from, which stays as it is"),
    (["--sft.base_model", "x"], "--sft.base_model is what --from_run says here"),
    (["--sft.replay", "1"], "--sft.replay is what --replay says here"),
    (["--replay", "0.5"], "next/sft was made with other settings: sft.replay is 0.2 there, 0.5 asked.*update --clean"),
    (["--evaluation.split", "valid"], "an update is measured on test rows"),
    (["--replay", "2"], "update.replay"),
]


@pytest.mark.parametrize(("flags", "message"), REFUSED, ids=[message[:30] for _, message in REFUSED])
def test_a_misuse_ends_in_one_line(home, capsys, flags, message):
    make_events(("u1", "X1", LATER), ("u2", "X2", LATER)).write_csv(home / "strangers.csv")
    make_events().write_csv(home / "empty.csv")
    given = [word.replace("{home}", str(home)) for word in flags]
    short = not flags or flags[0] == "--from_run"
    with pytest.raises(SystemExit):
        update.main(given if short else [*words(home), *given])
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert re.search(message, said), said


def test_a_run_of_published_rows_says_what_works_instead(home, tmp_path, capsys):
    shutil.copytree(home / "run", tmp_path / "run")
    for path in tmp_path.rglob("manifest.json"):
        told = path.read_text().replace('"data.source": "table"', '"data.source": "minionerec"')
        path.write_text(told.replace('"data.untitled": "keep"', '"data.untitled": "drop"'))
    with pytest.raises(SystemExit):
        update.main(["--from_run", str(tmp_path / "run"), "--events", str(home / "later.csv")])
    assert "genrec update works for every other source, by a table with the run's own ids" in capsys.readouterr().err


@pytest.mark.slow
def test_an_update_goes_on_from_an_update_and_stands_beside_one_trained_anew(home):
    walks = later_walks(RunStore(home / "next").prepared(), LATER + 10_000, seed=5)
    walks.write_csv(home / "latest.csv")
    flags = words(home, from_run="next", events="latest.csv")
    update.main([*flags[:-1], str(home / "third"), "--anew"])
    told = json.loads((home / "third/update.json").read_text())["compared"]
    assert list(told["newest"]["models"]) == ["SIDs grown", "updated", "trained anew"]
    tests = [len(RunStore(home / run).prepared().splits["test"]) for run in ("run", "next")]
    assert told["earlier"]["rows"]["rows"] == sum(tests)
    anew = read_manifest(home / "third/anew/sft").config
    assert anew["sft.train_from_scratch"] and anew["sft.replay"] is None
    assert len(RunStore(home / "third").sid_lineage()) == 3


@pytest.mark.slow
def test_killed_half_way_it_goes_on_to_the_same_artifacts(home, tmp_path):
    """The update of `home`, in a process that is killed while SFT is under way."""
    program = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from tests import test_update as t; "
        "t.item_encoder.open_encoder, t.quality.plot_quality = t.open_speller, lambda *told: None; "
        "t.update.main(sys.argv[1:])"
    )
    flags = [*words(home)[:-1], str(tmp_path / "next")]
    command = [sys.executable, "-c", program, os.getcwd(), *flags]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    until = time.time() + 120
    while time.time() < until and not (tmp_path / "next/sft.partial/.begun.json").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "next/sft").exists() and (tmp_path / "next/sids").exists()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for name in ("data", "embeddings", "sids/rqkmeans"):
        again, before = (read_manifest(place / name).fingerprint for place in (tmp_path / "next", home / "next"))
        assert again == before, name
    one, other = (load_file(place / "sft/model.safetensors") for place in (tmp_path / "next", home / "next"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_an_update_sends_its_run_and_nothing_of_the_comparison(home, tmp_path):
    shutil.copytree(home / "next", tmp_path / "next")
    url = f"file://{tmp_path}/bucket"
    update.main([*words(home), "--run.dir", str(tmp_path / "next"), "--run.remote", url])
    sent = {
        path.parent.relative_to(tmp_path / "bucket").as_posix() for path in tmp_path.glob("bucket/**/manifest.json")
    }
    assert sent == {"data", "embeddings", "sids/rqkmeans", "sft"}
