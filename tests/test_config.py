"""The config refuses what it does not know, and every preset in the repository is valid."""

import pytest
import yaml

from genrec.config import TASK_NAMES, Config, all_paths, other_spellings
from genrec.config_checks import RL_OWNERS, SFT_OWNERS, validate
from genrec.data.tasks import TASKS
from genrec.errors import ConfigError
from genrec.places import presets_dir
from genrec.presets import preset_names
from tests import ROOT, parse_flags


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_parses(preset):
    parse_flags(["--config", preset])


def test_the_reference_run_is_the_seeds():
    config = parse_flags(["--config", str(ROOT / "config/0.5b.yaml")]).config
    assert config.data.dataset == "Industrial_and_Scientific" and config.sft.base_model == "Qwen/Qwen2.5-0.5B-Instruct"
    assert config.embeddings.plm_checkpoint == "BAAI/bge-small-en-v1.5" and config.sids.method == "rqkmeans_plus"
    sft = config.sft
    assert (sft.num_epochs, sft.batch_size, sft.micro_batch_size) == (3, 128, 16)
    assert (sft.learning_rate, sft.cutoff_len, config.evaluation.num_beams) == (5e-4, 256, 50)


def test_a_knob_written_in_a_preset_is_in_the_schema():
    known = set(all_paths())
    for preset in preset_names():
        for section, values in yaml.safe_load((presets_dir() / f"{preset}.yaml").read_text()).items():
            for key in values if isinstance(values, dict) else ():
                assert any(path.startswith(f"{section}.{key}") for path in known), (preset, section, key)


def test_task_names_of_the_config_are_the_tasks():
    assert set(TASK_NAMES) == set(TASKS)


def test_a_trainer_argument_that_is_refused_names_a_knob_that_exists():
    known = set(all_paths())
    for owner in {*SFT_OWNERS.values(), *RL_OWNERS.values()}:
        assert owner in known or owner.startswith("the stage itself"), owner


def test_other_spellings_are_no_keys_and_belong_to_one_key():
    def check(model):
        spellings = other_spellings(model)
        listed = [name for field in model.model_fields.values() for name in field.json_schema_extra["spellings"]]
        assert len(listed) == len(spellings) and not spellings.keys() & model.model_fields.keys()

    for section in Config.model_fields.values():
        check(section.annotation)


def test_a_mistyped_section_is_held_against_sections_first():
    with pytest.raises(ConfigError, match="unknown key 'dat'; did you mean 'data'"):
        validate({"dat": {"source": "table"}})


def test_what_must_hold_within_a_section_names_both_values_and_not_the_whole_section():
    with pytest.raises(ConfigError) as caught:
        validate({"evaluation": {"cold_share": 0.05, "normalization": "vocab", "num_beams": 7}})
    assert "cold_share 0.05" in str(caught.value) and "normalization vocab" in str(caught.value)
    assert "num_beams" not in str(caught.value) and "got" not in str(caught.value)
