"""Flags of UR4Rec's programs: the spellings of its first publication, the printed commands, and where defaults lie."""

import subprocess
import sys

import pytest

from genrec.commandline import options_program, parse_strict
from genrec.config import other_spellings
from genrec.errors import ConfigError
from genrec.places import HOME
from tests import ROOT
from UR4Rec.options import (
    BatchesOptions,
    CollectionOptions,
    GeneratorOptions,
    PreprocessOptions,
    TrainOptions,
    acting_knobs,
    read_options,
)

PROGRAMS = {
    "UR4Rec/data/dataset_loader.py": CollectionOptions,
    "UR4Rec/data/multimodal_dataset.py": BatchesOptions,
    "UR4Rec/scripts/preprocess_multimodal_dataset.py": PreprocessOptions,
    "UR4Rec/scripts/train.py": TrainOptions,
    "UR4Rec/models/llm_generator.py": GeneratorOptions,
}


def parse(schema, flags: str):
    return parse_strict(options_program("program", "", schema), flags.split(" ") if flags else []).config


@pytest.mark.parametrize("old, new", other_spellings(TrainOptions).items())
def test_a_published_spelling_sets_the_same_key(old, new):
    assert parse(TrainOptions, f"--{old} 1") == parse(TrainOptions, f"--{new} 1") != parse(TrainOptions, "")


@pytest.mark.parametrize(
    "flags, values",
    [
        ("--num_users 10 --num_items 50", {"num_users": 10, "num_items": 50, "model_name": "qwen-flash"}),
        ("--skip_items", {"skip_items": True, "skip_users": False}),
        ("--skip_users --base_url http://localhost:8000/v1 --model_name my-model", {"model_name": "my-model"}),
        ("--backend none --dry_run", {"backend": "none", "dry_run": True}),
    ],
)
def test_printed_commands_of_the_generator(flags, values):
    options = parse(GeneratorOptions, flags)
    assert values == {name: getattr(options, name) for name in values}


def test_experts_are_names_and_may_be_none():
    assert parse(TrainOptions, "--experts description,image").experts == ["description", "image"]
    assert parse(TrainOptions, "--experts ").experts == []
    with pytest.raises(ConfigError, match="'preference', 'description' or 'image'"):
        parse(TrainOptions, "--experts poster")


@pytest.mark.parametrize(
    "unread, read",
    [
        ("--num_negatives 4", "--loss bpr"),
        ("--top_k 1 --retriever text", "--retriever moe"),
        ("--experts description,image --retriever multimodal --images x", "--retriever moe"),
        ("--preferences x --experts description", "--experts preference"),
        ("--images x --experts description", "--experts image"),
        ("--image_encoder x", "--images y"),
        (f"--image_encoder x --images {__file__}", "--images y"),
        ("--encoder x --experts image", "--experts description"),
        ("--descriptions x --experts image", "--experts preference"),
        ("--plots x --experts image --images y --image_encoder z", "--experts image,description"),
        ("--fixed_alternation true --joint_finetune_epochs 0", "--joint_finetune_epochs 1"),
    ],
)
def test_a_flag_that_changes_nothing_is_refused_and_the_way_on_makes_it_act(unread, read, capsys):
    name, flags = unread.split()[0], {word: value for word, value in zip(*[iter(unread.split())] * 2, strict=True)}
    with pytest.raises(SystemExit):
        read_options("train.py", "", TrainOptions, unread.split())
    assert f"{name} changes nothing here; leave it out, or add " in capsys.readouterr().err
    flags |= dict([read.split()])
    read_options("train.py", "", TrainOptions, [word for pair in flags.items() for word in pair])


def test_what_is_recorded_is_what_acts():
    plain, bpr = (parse(TrainOptions, flags) for flags in ("--experts description", "--loss bpr"))
    assert not {"num_negatives", "images", "image_encoder", "preferences"} & acting_knobs(plain).keys()
    assert acting_knobs(bpr)["num_negatives"] == 5 and "preferences" in acting_knobs(bpr)
    learned = parse(TrainOptions, "--experts image --images x")
    assert "encoder" in acting_knobs(learned), "a small encoder learns posters beside their texts"


def test_defaults_lie_below_the_checkout_and_flags_below_the_working_directory(monkeypatch, tmp_path):
    monkeypatch.setenv(HOME, str(tmp_path))
    assert parse(TrainOptions, "").output_dir == tmp_path / "outputs/ur4rec"
    assert str(parse(TrainOptions, "--output_dir here").output_dir) == "here"


@pytest.mark.parametrize("script, schema", PROGRAMS.items(), ids=[script.split("/")[-1] for script in PROGRAMS])
def test_help_answers_from_anywhere_and_without_torch(script, schema, tmp_path):
    """Run as a script is: nothing but the installed package is on the path."""
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['{script}', '--help']\n"
        f"try: runpy.run_path({str(ROOT / script)!r}, run_name='__main__')\n"
        "finally: assert 'torch' not in sys.modules"
    )
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(f"--{name}" in done.stdout for name in schema.model_fields)
