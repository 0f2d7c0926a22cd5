import itertools
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from genrec.artifacts import write_json
from genrec.errors import ArtifactError
from genrec.evaluation import comparison
from genrec.evaluation.metrics import CUTOFFS
from genrec.evaluation.report import Report, ScoredRows, write_report
from genrec.stages import compare
from tests import ROOT

NAMES = ("a", "b")


def report(seed: int = 0, lift: float = 0.0, users: int = 120, fingerprint: str = "f00d") -> Report:
    """Rows of `users` users whose NDCG is their taste, noise and a lift for everyone."""
    random = np.random.default_rng(seed)
    user = np.repeat(np.arange(users, dtype=np.int32), np.random.default_rng(9).integers(1, 5, users))
    taste = np.random.default_rng(8).random(users)[user]
    score = np.clip(0.5 * taste + 0.3 * random.random(len(user)) + lift, 0, 1)
    scores = {f"{name}@{cutoff}": score for name in ("hr", "ndcg", "mrr") for cutoff in CUTOFFS}
    slices = {"tail target": user % 3 == 0, "cold target": np.zeros(len(user), dtype=bool)}
    return Report("sft", ScoredRows(fingerprint, "test", len(user), len(user), users, 50), user, scores, slices, {})


def test_a_run_against_itself_has_p_one_and_only_ties():
    found = comparison.compare_reports(report(), report(), NAMES, seed=0)
    for each in [*found.overall, *itertools.chain(*found.slices.values())]:
        assert each.p_value == 1 and each.wins == each.losses == 0
        assert (each.difference.mean, each.difference.low, each.difference.high) == (0, 0, 0)
    assert comparison.make_verdict(found).startswith("no difference shown")


def test_a_true_lift_is_found_with_its_size_and_sign():
    better = comparison.compare_reports(report(0, users=400), report(2, lift=0.05, users=400), NAMES, seed=0)
    each = next(each for each in better.overall if each.metric == "ndcg@10")
    assert 0.03 < each.difference.low < 0.05 < each.difference.high < 0.065 and each.p_value < 0.001
    assert each.wins + each.ties + each.losses == 400 and each.wins > each.losses
    assert comparison.make_verdict(better).startswith("optimized is better")
    assert comparison.make_verdict(comparison.compare_reports(report(1, 0.05), report(0), NAMES, 0)).startswith(
        "optimized is worse"
    )


def test_randomisation_test_equals_all_sign_flips_of_a_small_sample(monkeypatch):
    monkeypatch.setattr(comparison, "ROUNDS", 40_000)
    by_user = np.array([[0.3], [0.5], [-0.1], [0.2], [0.0], [0.4]])
    flips = [abs(np.dot(signs, by_user[:, 0])) for signs in itertools.product([-1, 1], repeat=6)]
    exact = np.mean([flip >= 1.3 - 1e-9 for flip in flips])
    assert comparison.randomisation_test(by_user, seed=0)[0] == pytest.approx(exact, abs=0.005)


def test_p_values_are_uniform_when_there_is_no_difference(monkeypatch):
    monkeypatch.setattr(comparison, "ROUNDS", 400)
    random = np.random.default_rng(0)
    p_values = comparison.randomisation_test(random.standard_normal((80, 500)), seed=1)
    assert 0.02 < (p_values <= 0.05).mean() < 0.085 and abs(p_values.mean() - 0.5) < 0.05


def test_slices_count_their_own_rows_and_empty_ones_are_left_out():
    one, other = report(0), report(1)
    found = comparison.compare_reports(one, other, NAMES, seed=0)
    assert list(found.slices) == ["tail target"]
    inside, each = one.slices["tail target"], found.slices["tail target"][1]
    assert each.rows == inside.sum() and each.metric == "ndcg@10"
    assert each.difference.mean == pytest.approx((other.scores["ndcg@10"] - one.scores["ndcg@10"])[inside].mean())


def test_other_test_sets_are_refused_with_both_fingerprints():
    with pytest.raises(ArtifactError, match="test set f00d .* has test set beef"):
        comparison.compare_reports(report(), report(fingerprint="beef"), NAMES, seed=0)


@pytest.fixture
def two_models(tmp_path):
    for name, made in {"one": report(0), "two": report(1, lift=0.05)}.items():
        (tmp_path / name).mkdir()
        write_report(replace(made, model=name), tmp_path / name, seed=0)
    return tmp_path


def test_the_script_writes_text_json_and_picture(two_models):
    command = [sys.executable, "compare_results.py", "--baseline", two_models / "one" / "results.json"]
    command += ["--optimized", two_models / "two", "--output_dir", two_models / "out"]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "optimized is better" in done.stdout and "wins/ties/losses" in done.stdout
    written = json.loads((two_models / "out" / "comparison.json").read_text())
    assert written["test_set"] == "f00d" and written["overall"][0]["metric"] == "hr@1"
    assert (two_models / "out" / "comparison.png").stat().st_size > 10_000


def test_a_whole_evaluation_asks_for_one_of_its_models(two_models):
    write_json(two_models / "results.json", {"models": {"one": {}, "two": {}}})
    with pytest.raises(ArtifactError, match="holds 2 models; name one: .*one, .*two"):
        compare.find_model_directory(two_models)
    assert compare.find_model_directory(two_models / "one" / "results.json") == two_models / "one"
    write_json(two_models / "results.json", {"models": {"two": {}}})
    assert compare.find_model_directory(two_models / "results.json") == two_models / "two"


def test_a_missing_file_is_one_clear_line(tmp_path):
    command = [sys.executable, "compare_results.py", "--baseline", str(tmp_path), "--optimized", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "results.json cannot be read" in done.stderr
