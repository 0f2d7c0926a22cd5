"""optimized_config.json is complete in itself: read alone, it is the next run."""

import json

import pytest

from genrec.advice.next_run import complete_overlay, next_directory, subtract
from genrec.presets import merge
from tests import parse_flags


def read_back(tmp_path, content):
    path = tmp_path / "optimized_config.json"
    path.write_text(json.dumps(content))
    return parse_flags(["--config", str(path)]).config.model_dump(mode="json")


@pytest.mark.parametrize("preset", ["0.5b", "quickstart", "industrial_small", "tiny"])
def test_read_alone_it_is_the_analysed_run_with_the_advice(preset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ["--config", preset, "--sft.base_model", "/m/x", "--rl.reward_type", "{rule: 2}", "--data.dataset", "D"]
    analysed = parse_flags([*flags, "--run.dir", "outputs/mine"]).config.model_dump(mode="json")
    overlay = {"sft": {"learning_rate": 0.25, "tasks": {"sid_to_sid": 1.0}}}
    content = complete_overlay(analysed, overlay)
    assert content["extends"] == preset and content["run"]["dir"] == "outputs/mine_optimized"
    next_run = {"run": {"dir": "outputs/mine_optimized", "from_run": "outputs/mine"}}
    assert read_back(tmp_path, content) == merge(merge(analysed, overlay), next_run)


def test_the_key_that_no_preset_says_makes_the_file_longer_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    analysed = parse_flags(["--config", "quickstart"]).config.model_dump(mode="json")
    content = complete_overlay(analysed, {"sids": {"num_levels": 4}})
    begun = {"dir": "outputs/quickstart_optimized", "from_run": "outputs/quickstart"}
    assert content == {"extends": "quickstart", "run": begun, "sids": {"num_levels": 4}}


def test_without_advice_it_is_the_analysed_run_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    analysed = parse_flags(["--config", "quickstart"]).config.model_dump(mode="json")
    assert complete_overlay(analysed, {}) == {"extends": "quickstart"}


def test_a_number_that_is_taken_is_passed_over(tmp_path):
    assert next_directory(tmp_path / "run") == tmp_path / "run_optimized"
    (tmp_path / "run_optimized").mkdir()
    assert next_directory(tmp_path / "run") == tmp_path / "run_optimized_2"
    assert next_directory(tmp_path / "run_optimized") == tmp_path / "run_optimized_2"
    assert next_directory(tmp_path / "run" / "rounds" / "1") == tmp_path / "run_optimized_2"


def test_what_a_preset_has_too_many_cannot_be_taken_away():
    assert subtract({"trainer": {}}, {"trainer": {"a": 1}}) is None
    assert subtract({"tasks": {}}, {"tasks": {"a": 1}}) == {"tasks": {}}
    assert subtract({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}) == {"a": {"c": 2}}
