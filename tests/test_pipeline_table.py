"""The table of the pipeline: what is read under which configuration, and what a changed key reaches."""

from typing import get_args

import pytest

from genrec.config import REWARD_NAMES, Config, TeacherName, all_paths
from genrec.pipeline import (
    FAMILY_READS,
    REWARD_READS,
    STAGES,
    TEACHER_READS,
    affected,
    command_of,
    depends_on,
    needed_for,
    reads,
)
from genrec.places import HOME
from tests import ROOT, parse_flags


def config(*flags):
    return parse_flags(["--config", "tiny", *flags]).config


def test_stages_come_after_what_they_read_and_have_a_section_and_a_script():
    names = list(STAGES)
    for name, stage in STAGES.items():
        assert all(names.index(other) < names.index(name) for other in (*stage.reads, *stage.may_read))
        assert stage.section in Config.model_fields and (ROOT / stage.script).is_file()


def test_what_is_read_is_what_may_be_read():
    teacher, rewards = ["--sft.teacher", "sasrec_text"], ["--rl.reward_type", "semantic,sasrec"]
    for flags in ([], ["--evaluation.models", "sasrec_text,ensemble,rl"], rewards, teacher):
        for name, stage in STAGES.items():
            assert set(stage.reads) <= set(reads(name, config(*flags))) <= {*stage.reads, *stage.may_read}


@pytest.mark.parametrize(
    ("stage", "flags", "expected"),
    [
        ("sequential", [], ("data",)),
        ("sequential", ["--sequential.models", "sasrec,sasrec_text"], ("data", "embeddings")),
        ("sft", [], ("data", "sids")),
        ("sft", ["--sft.teacher", "item_knn"], ("data", "sids")),
        ("sft", ["--sft.teacher", "{sasrec: 0, item_knn: 1}"], ("data", "sids")),
        ("sft", ["--sft.teacher", "sasrec,item_knn"], ("data", "sids", "sequential")),
        ("rl", [], ("data", "sids", "sft")),
        ("rl", ["--rl.reward_type", "sasrec,semantic"], ("data", "embeddings", "sids", "sequential", "sft")),
        ("rl", ["--rl.model_path", "m"], ("data", "sids")),
        ("evaluation", ["--evaluation.models", "popular"], ("data",)),
        ("evaluation", ["--evaluation.models", "sft,sasrec"], ("data", "sids", "sequential", "sft")),
        ("evaluation", ["--evaluation.models", "sft", "--evaluation.base_model", "m"], ("data", "sids")),
    ],
)
def test_reads_by_hand(stage, flags, expected):
    assert reads(stage, config(*flags)) == expected


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["evaluation.num_beams"], ("evaluation", "analysis")),
        (["evaluation.normalization"], ("rl", "evaluation", "analysis")),
        (["rl.beta"], ("rl", "evaluation", "analysis")),
        (["sft.tasks.title_to_sid"], ("sft", "rl", "evaluation", "analysis")),
        (["sft.gradient_checkpointing"], ()),
        (["sids.alpha"], ("sids", "convert", "sft", "rl", "evaluation", "analysis")),
        (["run.seed"], tuple(STAGES)),
        (["data.user_k"], tuple(STAGES)),
    ],
)
def test_affected_by_hand(keys, expected):
    assert affected(keys) == expected


def test_with_a_configuration_only_what_is_read_is_affected():
    changed = ["sequential.dropout"]
    assert "rl" in affected(changed) and "rl" not in affected(changed, config())
    assert "rl" in affected(changed, config("--rl.reward_type", "sasrec"))
    assert "sft" not in affected(changed, config()) and "sft" in affected(changed, config("--sft.teacher", "sasrec"))


def test_needed_for_a_row_of_the_table():
    assert needed_for("popular", config()) == ("data",)
    assert needed_for("rl", config()) == ("data", "embeddings", "sids", "sft", "rl")
    assert needed_for("rl", config("--rl.reward_type", "sasrec")) == (
        "data", "embeddings", "sids", "sequential", "sft", "rl",
    )  # fmt: skip


def test_families_and_rewards_of_the_table_are_those_that_exist():
    from genrec.models.families import FAMILIES

    assert set(FAMILY_READS) == set(FAMILIES) and set(REWARD_READS) <= set(REWARD_NAMES)
    assert set(TEACHER_READS) <= set(get_args(TeacherName))


def test_every_result_key_belongs_to_a_stage():
    owned = {key for name in STAGES for key in depends_on(name)}
    assert owned <= {*all_paths(), "run.seed", "sft.scratch", "sft.lora", "rl.lora"}


def test_a_command_is_named_as_it_was_called(monkeypatch):
    monkeypatch.delenv(HOME, raising=False)
    assert command_of("data") == "genrec prepare"
    monkeypatch.setenv(HOME, str(ROOT))
    assert command_of("data") == "python data/prepare.py"
