"""Reports and results at advise, compare and iterate: older ones, others' ones, and none at all."""

import copy
import json
import shutil

import pytest

from genrec.artifacts import MANIFEST
from tests.adversarial.shop import call, put, rewrite_json, rewrite_npz

REPORT = "analysis/sft/badcase_report.json"
RESULTS = "evaluation/sft/results.json"
MISSING = object()


def changed(report, key, value):
    """The report with one dotted key replaced, or left out."""
    report = copy.deepcopy(report)
    *parents, last = key.split(".")
    inside = report
    for name in parents:
        inside = inside[name]
    inside.pop(last, None)
    if value is not MISSING:
        inside[last] = value
    return report


TOP = ("model", "valid", "sid_quality", "training", "config")
CAUSES = "valid.failure_patterns"  # of valid rows: advice reads nothing of the others
BELOW = (
    "valid.summary",
    CAUSES,
    *(f"valid.summary.{key}" for key in ("bad_cases_count", "failure_rate", "total_samples")),
    *(f"{CAUSES}.{key}" for key in ("long_tail", "cold_item", "near_miss", "beam_loss", "short_history")),
    *(f"{CAUSES}.long_tail.{key}" for key in ("share", "finding", "share_among_hits", "lift", "says")),
    f"{CAUSES}.long_tail.share.mean",
    *(f"sid_quality.{key}" for key in ("items", "collision")),
    "training.best_at",
    *(f"config.{key}" for key in ("sft", "sids", "rl", "data", "evaluation", "sequential")),
    *(f"config.sft.{key}" for key in ("tasks", "balance", "num_epochs", "half_life", "train_from_scratch")),
    "valid.top_k",
)
WRONG = (None, "words", [])
RIGHT = (("model", "words"), ("training", None), (f"{CAUSES}.long_tail.finding", "words"),
         (f"{CAUSES}.long_tail.says", "words"), (f"{CAUSES}.long_tail.share.mean", None))  # fmt: skip
EVERY = "long_tail,cold_start,short_history,sid_quality,recency_bias,hyperparameter"


@pytest.mark.parametrize("key", [*TOP, *BELOW])
def test_an_older_report_that_lacks_something(finished, tmp_path, monkeypatch, key):
    """Refused by the key's name, never guessed."""
    monkeypatch.chdir(tmp_path)
    report = json.loads((finished.run / REPORT).read_text())
    put(tmp_path / "report.json", json.dumps(changed(report, key, MISSING)))
    for how in (["--auto_recommend"], ["--strategies", EVERY]):
        done = call("advise", "--badcase_report", "report.json", *how)
        done.check(1, f"report.json is not a report of .*{key.split('.')[-1]}")
        assert not (tmp_path / "optimized_config.json").exists()


@pytest.mark.parametrize("key", [*TOP, *BELOW])
def test_a_report_with_another_kind_of_value(finished, tmp_path, monkeypatch, key):
    monkeypatch.chdir(tmp_path)
    report = json.loads((finished.run / REPORT).read_text())
    for value in WRONG:
        put(tmp_path / "report.json", json.dumps(changed(report, key, value)))
        if (key, value) in RIGHT:
            continue
        done = call("advise", "--badcase_report", "report.json", "--strategies", EVERY)
        done.check(1, f"report.json is not a report of .*{key.split('.')[-1]}")


WHOLE = {
    b"": "not valid JSON", b"null": "not a report", b"[]": "not a report", b"3": "not a report", b"{}": "not a report",
    b"\xff\xfe": "not valid JSON", b"[" * 100_000: "not valid JSON", b'{"model": NaN': "not valid JSON",
}  # fmt: skip


@pytest.mark.parametrize("content", WHOLE, ids=lambda content: str(content[:9]))
def test_a_report_that_is_none(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "badcase_report.json", content)
    for place in ("badcase_report.json", "."):
        call("advise", "--badcase_report", place, "--auto_recommend").check(1, f"badcase_report.json.*{WHOLE[content]}")
    assert not (tmp_path / "optimized_config.json").exists()


ADVISE = {
    "--badcase_report nowhere --auto_recommend": "nowhere cannot be read: No such file",
    "--badcase_report . --auto_recommend": "badcase_report.json cannot be read: No such file",
    "--badcase_report R": "nothing chosen and no terminal to ask on; pass --auto_recommend or --strategies",
    "--badcase_report R --strategies nothing": "unknown strategy 'nothing'; there are: long_tail",
    "--badcase_report R --auto_recommend --output_config .": "is a directory; name the file to write",
    "--badcase_report R --auto_recommend --output_config file/below.json": "Not a directory|File exists",
    "--badcase_report R --auto_recommend --output_config R": "would be overwritten|is the report itself",
}


@pytest.mark.parametrize("words", ADVISE)
def test_an_advice_that_cannot_be_given(finished, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    shutil.copy(finished.run / REPORT, tmp_path / "R")
    (tmp_path / "file").write_text("mine")
    before = (tmp_path / "R").read_bytes()
    call("advise", *words.split()).check(1, ADVISE[words])
    assert (tmp_path / "file").read_text() == "mine" and (tmp_path / "R").read_bytes() == before


def test_an_overlay_that_was_written_can_be_laid_over(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call("advise", "--badcase_report", finished.run / REPORT, "--strategies", EVERY).check(0, "written:")
    call("sft", *finished.flags("--config", "optimized_config.json", "--dry-run")).check(0, "sft: ")


COMPARE = {
    "missing results": (lambda d: (d / "results.json").unlink(), "results.json cannot be read: there is no such file"),
    "empty results": (lambda d: put(d / "results.json", b""), "results.json cannot be read"),
    "list": (lambda d: put(d / "results.json", b"[]"), "results.json is not the results.json of one model"),
    "no rows": (lambda d: rewrite_json(d / "results.json", rows=None), "it has no 'rows'"),
    "other rows": (lambda d: rewrite_json(d / "results.json", rows={"split": 3}), "results.json is not"),
    "beyond": (lambda d: rewrite_json(d / "results.json", beyond_accuracy=3), "results.json is not|beyond"),
    "missing arrays": (lambda d: (d / "per_example.npz").unlink(), "per_example.npz cannot be read"),
    "empty arrays": (lambda d: put(d / "per_example.npz", b""), "per_example.npz cannot be read"),
    "array missing": (
        lambda d: rewrite_npz(d / "per_example.npz", score=None),
        "lacks the array 'score'",
    ),
    "fewer names": (lambda d: rewrite_npz(d / "per_example.npz", score_name=["a"]), "per_example.npz"),
    "fewer users": (lambda d: rewrite_npz(d / "per_example.npz", user=[1]), "per_example.npz|other rows|rows"),
    "score in a row": (lambda d: rewrite_npz(d / "per_example.npz", score=[1.0]), "per_example.npz"),
    "slices in a row": (lambda d: rewrite_npz(d / "per_example.npz", slice=[True]), "per_example.npz"),
}


@pytest.mark.parametrize("kind", COMPARE)
def test_results_that_cannot_be_compared(finished, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        shutil.copytree(finished.run / "evaluation/sft", tmp_path / name / "sft")
        (tmp_path / name / "sft" / MANIFEST).unlink()  # handed on without it
    change, says = COMPARE[kind]
    change(tmp_path / "b" / "sft")
    for pair in (("a", "b"), ("b", "a")):
        call("compare", "--baseline", f"{pair[0]}/sft", "--optimized", f"{pair[1]}/sft").check(1, says)
    assert not (tmp_path / "outputs").exists()


def test_changed_results_of_a_run_are_not_compared(shop):
    rewrite_npz(shop.run / "evaluation/sft/per_example.npz", user=[1])
    pair = ["--baseline", str(shop.run / "evaluation/sft"), "--optimized", str(shop.run / "evaluation/popular")]
    call("compare", *pair).check(1, "per_example.npz was changed after it was made")


PLACES = {
    "--baseline nowhere --optimized E/sft": "nowhere/results.json cannot be read",
    "--baseline E --optimized E/sft": "holds 3 models; name one",
    "--baseline E/sft --optimized E/sft/eval_results.jsonl": "results.json cannot be read|Not a directory|not the",
    "--baseline E/sft --optimized E/popular --output_dir file": "File exists|Not a directory",
    "--baseline E/sft --optimized E/popular --output_dir file/below": "Not a directory|File exists",
}


@pytest.mark.parametrize("words", PLACES)
def test_a_comparison_of_what_is_not_there(finished, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "E").symlink_to(finished.run / "evaluation")
    (tmp_path / "file").write_text("mine")
    call("compare", *words.split()).check(1, PLACES[words])
    assert (tmp_path / "file").read_text() == "mine"


ITERATE = {
    "--analysis.model popular": "the loop improves one of .*analysis.model is 'popular'",
    "--analysis.model nobody": "the loop improves one of .*analysis.model is 'nobody'",
    "--evaluation.split valid": "the loop improves.*reports test rows.*valid",
    "--evaluation.models popular": "the loop improves.*evaluation.models .'popular'.",
}


@pytest.mark.parametrize("words", ITERATE)
def test_a_loop_that_cannot_begin(shop, words):
    shop.call("iterate", *words.split()).check(1, ITERATE[words])
    assert not (shop.run / "rounds").exists()


def test_clean_of_the_loop_leaves_foreign_files(shop):
    mine = {"rounds/notes.txt": "mine", "rounds/7/thesis.txt": "mine", "evaluation_valid/thesis.txt": "mine"}
    for name, content in mine.items():
        put(shop.run / name, content)
    shop.call("iterate", "--clean").check(1, "(notes|thesis).txt is no file of this (program|artifact)")
    assert {name: (shop.run / name).read_text() for name in mine} == mine


def test_clean_of_the_loop_removes_its_own_rounds(shop, monkeypatch):
    from genrec.stages import iterate

    for name in ("rounds/1/sft", "rounds/1/data.partial", "rounds/2/evaluation/sft"):
        shutil.copytree(shop.run / "convert", shop.run / name)
    put(shop.run / "rounds/1/data.partial/.begun.json", "{}")
    for name in ("rounds/rounds.json", "rounds/base.json", "rounds/1/config.json", "rounds/1/logs/sft.log"):
        put(shop.run / name, "{}")
    assert (shop.run / "evaluation_valid").exists()
    monkeypatch.setattr(iterate, "run_loop", lambda command: None)
    shop.call("iterate", "--clean").check(0, "")
    assert not (shop.run / "rounds").exists() and not (shop.run / "evaluation_valid").exists()
    assert (shop.run / "sft").exists()
