"""Config files: found by name, merged in order, refused with one line where they cannot be meant."""

import pytest

from genrec.errors import ConfigError
from genrec.presets import find_config, is_float, load_layers
from tests import ROOT, parse_flags


def test_files_merge_left_to_right_then_flags(tmp_path):
    base, over = tmp_path / "base.yaml", tmp_path / "over.yaml"
    base.write_text("sft: {learning_rate: 1e-3, num_epochs: 1}\n")
    over.write_text("extends: base.yaml\nsft: {num_epochs: 2}\n")
    config = parse_flags(["--config", str(over), "--sft.batch_size", "64"]).config
    assert (config.sft.learning_rate, config.sft.num_epochs, config.sft.batch_size) == (1e-3, 2, 64)


def test_a_task_mixture_is_replaced_and_trainer_arguments_are_added(tmp_path):
    base, over = tmp_path / "base.yaml", tmp_path / "over.yaml"
    base.write_text("sft: {tasks: {sid_to_sid: 1, sid_to_title: 1}, trainer: {adam_beta2: 0.9}}\n")
    over.write_text("sft: {tasks: {sid_to_sid: 2}, trainer: {max_grad_norm: 2}}\n")
    sft = parse_flags(["--config", str(base), "--config", str(over)]).config.sft
    assert sft.tasks == {"sid_to_sid": 2} and sft.trainer == {"adam_beta2": 0.9, "max_grad_norm": 2}


def test_a_reward_replaces_the_mixture_it_is_laid_on(tmp_path):
    base, over = tmp_path / "base.yaml", tmp_path / "over.yaml"
    base.write_text("rl: {reward_type: {ranking: 1, prefix: 0.5}}\n")
    over.write_text("rl: {reward_type: {sasrec: 1}}\n")
    found = parse_flags(["--config", str(base), "--config", str(over)]).config.rl.reward_type
    assert found == {"sasrec": 1}


def test_a_typo_in_a_file_names_the_nearest_key(tmp_path):
    path = tmp_path / "typo.yaml"
    path.write_text("sids: {codebok_size: 64}\n")
    with pytest.raises(ConfigError, match="unknown key 'sids.codebok_size'; did you mean 'sids.codebook_size'"):
        parse_flags(["--config", str(path)])


def test_broken_yaml_is_one_clear_line(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("sft: {learning_rate: [1\n")
    with pytest.raises(ConfigError, match="is not valid YAML"):
        parse_flags(["--config", str(path)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: loop.yaml\n", "extends itself"),
        ("extends: [a]\n", "one file"),
        ("run: {}\nrun: {}\n", "stands twice"),
    ],
)
def test_a_preset_that_cannot_be_meant_is_one_clear_line(tmp_path, text, message):
    path = tmp_path / "loop.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        parse_flags(["--config", str(path)])


@pytest.mark.parametrize("name", ["quickstart", "quickstart.yaml", "config/quickstart.yaml", "datasets/toys_and_games"])
def test_a_preset_is_found_by_its_name_from_any_directory(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert find_config(name).is_relative_to(ROOT / "config")


def test_a_file_at_hand_comes_before_a_preset_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart.yaml").write_text("run: {seed: 7}\n")
    assert parse_flags(["--config", "quickstart.yaml"]).config.run.seed == 7
    assert parse_flags(["--config", "quickstart"]).config.run.seed == 42


def test_a_file_of_ones_own_extends_a_preset_by_name(tmp_path):
    own = tmp_path / "mine.yaml"
    own.write_text("extends: quickstart\nrun: {seed: 7}\n")
    assert [layer.origin for layer in load_layers(own)] == ["0.5b.yaml", "quickstart.yaml", "mine.yaml"]
    config = parse_flags(["--config", str(own)]).config
    assert (config.run.seed, config.data.source) == (7, "movielens")


def test_a_name_nobody_has_suggests_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'quickstart'"):
        find_config("config/quikstart.yaml")


@pytest.mark.parametrize(
    ("text", "number"), [("5e-4", True), ("1E3", True), ("12", False), ("inf", False), ("e", False)]
)
def test_scientific_notation_is_a_number(text, number):
    assert is_float(text) is number


def test_a_file_that_means_more_than_it_holds_is_refused(tmp_path):
    bomb = tmp_path / "bomb.yaml"
    levels = [f"b{n}: &b{n} [{', '.join([f'*b{n - 1}'] * 9)}]" for n in range(1, 10)]
    bomb.write_text("\n".join(["b0: &b0 [x]", *levels]))
    with pytest.raises(ConfigError, match="alias .b0, line 2; write the value out"):
        parse_flags(["--config", str(bomb)])
    deep = tmp_path / "deep.yaml"
    deep.write_text("run: " + "[" * 5000)
    with pytest.raises(ConfigError, match="nested too deeply|not valid YAML"):
        parse_flags(["--config", str(deep)])


def test_json_is_read_as_json(tmp_path):
    path = tmp_path / "c.json"
    path.write_text('{\n\t"extends": "0.5b",\n\t"sft": {"learning_rate": 5e-4, "base_model": "/m/\\u00e9\\/x"}\n}\n')
    sft = parse_flags(["--config", str(path)]).config.sft
    assert (sft.learning_rate, sft.base_model) == (5e-4, "/m/é/x")
    for text, message in (('{"sft": {}, "sft": {}}', "'sft' stands twice"), ('{"sft":', "is not valid JSON")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            parse_flags(["--config", str(path)])
