"""The config refuses what it does not know, and every preset in the repository is valid."""

import subprocess
import sys
from typing import get_args

import pytest
import yaml

from genrec.commandline import help_text, parse_strict, presets
from genrec.config import TaskName, all_paths
from genrec.config_checks import RL_OWNERS, SFT_OWNERS
from genrec.data.tasks import TASKS
from genrec.errors import ConfigError
from tests import ROOT

SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.py", "data/*.py", "rq/**/*.py")
    for path in ROOT.glob(pattern)
    if "stage.main(" in path.read_text() or "parse(" in path.read_text()
)


@pytest.mark.parametrize("preset", presets())
def test_every_preset_parses(preset):
    parse_strict(["--config", str(ROOT / preset)])


def test_files_merge_left_to_right_then_flags(tmp_path):
    base, over = tmp_path / "base.yaml", tmp_path / "over.yaml"
    base.write_text("sft: {learning_rate: 1e-3, num_epochs: 1}\n")
    over.write_text("extends: base.yaml\nsft: {num_epochs: 2}\n")
    config = parse_strict(["--config", str(over), "--sft.batch_size", "64"]).config
    assert (config.sft.learning_rate, config.sft.num_epochs, config.sft.batch_size) == (1e-3, 2, 64)


def test_a_task_mixture_is_replaced_and_trainer_arguments_are_added(tmp_path):
    base, over = tmp_path / "base.yaml", tmp_path / "over.yaml"
    base.write_text("sft: {tasks: {sid_to_sid: 1, sid_to_title: 1}, trainer: {adam_beta2: 0.9}}\n")
    over.write_text("sft: {tasks: {sid_to_sid: 2}, trainer: {max_grad_norm: 2}}\n")
    sft = parse_strict(["--config", str(base), "--config", str(over)]).config.sft
    assert sft.tasks == {"sid_to_sid": 2} and sft.trainer == {"adam_beta2": 0.9, "max_grad_norm": 2}


def test_a_reward_replaces_the_mixture_it_is_laid_on(tmp_path):
    base, over = tmp_path / "base.yaml", tmp_path / "over.yaml"
    base.write_text("rl: {reward_type: {ranking: 1, prefix: 0.5}}\n")
    over.write_text("rl: {reward_type: {sasrec: 1}}\n")
    found = parse_strict(["--config", str(base), "--config", str(over)]).config.rl.reward_type
    assert found == {"sasrec": 1}


def test_own_section_is_plain_and_others_go_by_path():
    flags = ["--learning_rate", "3e-4", "--scratch.hidden_size", "64", "--data.dataset=Office_Products"]
    config = parse_strict(flags, section="sft").config
    assert (config.sft.learning_rate, config.sft.scratch.hidden_size) == (3e-4, 64)
    assert config.data.dataset == "Office_Products"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--sft.lerning_rate", "1"], "did you mean 'sft.learning_rate'"),
        (["--sids.epochs", "9"], "unknown key 'sids.epochs'; did you mean 'sids.num_epochs'"),
        (["--sids.hidden", "[64]"], "unknown key 'sids.hidden'; did you mean 'sids.hidden_sizes'"),
        (["--lerning_rate", "1"], "did you mean 'learning_rate'"),
        (["--sft.batch_size", "many"], "sft.batch_size"),
        (["--sft.learning_rate", "-1"], "got -1"),
        (["--sft.batch_size", "100", "--sft.micro_batch_size", "16"], "100 is not a multiple"),
        (["--data.st_year", "2018", "--data.ed_year", "2017"], "window is empty"),
        (["--config", "nowhere.yaml"], "no config file nowhere.yaml"),
        (["--sft.learning_rate"], "needs a value"),
        (["--sft.trainer.lerning_rate", "1"], "lerning_rate"),
        (["--sft.tasks.sid_to_sit", "1"], "sid_to_sit"),
        (["sft"], "starts with --"),
        (["--sft.trainer.output_dir", "x"], "sft.trainer.output_dir is set by"),
        (["--sft.trainer.learning_rate", "1"], "is set by sft.learning_rate"),
        (["--sft.tasks", "{sid_to_sid: 0}"], "no task with a share above 0"),
        (["--sft.valid_size", "0"], "sft.valid_size"),
        (["--config", "config"], "cannot be read"),
        (["--rl.reward_type", "{zzz: 1}"], "unknown reward 'zzz'; known: rule, ranking_only"),
    ],
)
def test_bad_input_is_one_clear_line(argv, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_strict(argv, section="sft")
    assert "\n" not in str(caught.value)


def test_a_typo_in_a_file_names_the_nearest_key(tmp_path):
    path = tmp_path / "typo.yaml"
    path.write_text("sids: {codebok_size: 64}\n")
    with pytest.raises(ConfigError, match="unknown key 'sids.codebok_size'; did you mean 'sids.codebook_size'"):
        parse_strict(["--config", str(path)])


def test_broken_yaml_is_one_clear_line(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("sft: {learning_rate: [1\n")
    with pytest.raises(ConfigError, match="is not valid YAML"):
        parse_strict(["--config", str(path)])


def test_the_reference_run_is_the_seeds():
    config = parse_strict(["--config", str(ROOT / "config/0.5b.yaml")]).config
    assert config.data.dataset == "Industrial_and_Scientific" and config.sft.base_model == "Qwen/Qwen2.5-0.5B-Instruct"
    assert config.embeddings.plm_checkpoint == "BAAI/bge-small-en-v1.5" and config.sids.method == "rqkmeans_plus"
    sft = config.sft
    assert (sft.num_epochs, sft.batch_size, sft.micro_batch_size) == (3, 128, 16)
    assert (sft.learning_rate, sft.cutoff_len, config.evaluation.num_beams) == (5e-4, 256, 50)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_teaches_without_heavy_imports(script):
    """--help lists the script's knobs and imports neither torch nor transformers, so that it answers at once."""
    code = (
        "import os, runpy, sys; sys.path[0] = os.path.dirname(sys.argv[1]); sys.argv = [sys.argv[1], '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'faiss', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code, str(ROOT / script)], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    assert "--config" in done.stdout or "--baseline" in done.stdout


def test_help_names_the_values_a_knob_takes_and_the_short_flags():
    data, evaluate, rl = (help_text(section, "") for section in ("data", "evaluate", "rl"))
    assert "which reader (amazon18 | amazon23 | movielens | minionerec | toy; default amazon18)" in data
    assert "--category is --data.dataset" in evaluate and "--dataset is" not in data
    assert "| ensemble; default popular,last_item,sft)" in evaluate and "| diversity; default {'ranking': 1.0})" in rl
    assert "None" not in data + evaluate + rl


def test_a_knob_written_in_a_preset_is_in_the_schema():
    known = set(all_paths())
    for preset in presets():
        for section, values in yaml.safe_load((ROOT / preset).read_text()).items():
            for key in values if isinstance(values, dict) else ():
                assert any(path.startswith(f"{section}.{key}") for path in known), (preset, section, key)


def test_task_names_of_the_config_are_the_tasks():
    assert set(get_args(TaskName)) == set(TASKS)


def test_a_trainer_argument_that_is_refused_names_a_knob_that_exists():
    known = set(all_paths())
    for owner in {*SFT_OWNERS.values(), *RL_OWNERS.values()}:
        assert owner in known or owner.startswith("the stage itself"), owner


def test_strings_and_paths_are_taken_as_they_stand():
    config = parse_strict(["--run.dir", "runs/run #1: a", "--data.dataset", "2018", "--data.raw_dir", "~/raw"]).config
    assert str(config.run.dir) == "runs/run #1: a" and config.data.dataset == "2018"
    assert str(config.data.raw_dir).startswith("/")


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
        parse_strict(["--config", str(path)])
