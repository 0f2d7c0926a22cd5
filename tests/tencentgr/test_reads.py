"""The table of what reads what, walked: an option that it lists moves the weights of a step, another leaves all of
their bits."""

import hashlib
import json
import re
import shlex
from typing import get_args

import pytest
import torch

from genrec.errors import ConfigError
from tencentgr.dataset import load_data
from tencentgr.entries import locate_source
from tencentgr.generator import write_sample
from tencentgr.learner import TencentGRLearner
from tencentgr.options import TencentGROptions, fill_in, parse_strict
from tencentgr.processes import start_processes
from tencentgr.reads import READ_BY, TRAINING, acting_knobs, acting_options, find_missing, list_ignored, spell

# For each option of the table, a value that is not its default.
OTHER = {
    "semantic_prefixes": True,
    "similarity": "cosine",
    "similarity_types": ["dot", "scaled"],
    "num_negatives": 7,
    "use_smart_sampling": True,
    "dynamic_candidates": 50,
    "temperature": 3.0,
    "temperature_end": 9.0,
    "learnable_temperature": True,
    "infonce_negatives": "batch",
    "popularity": "id",
    "popularity_factor": 3.0,
    "use_curriculum_learning": True,
    "curriculum_schedule": "exponential",
    "weight_decay": 5.0,
    "lr_step_size": 5,
}
CHOICES = ("semantic", "use_adaptive_similarity", "loss", "use_smart_sampling", "use_curriculum_learning", "optimizer",
           "lr_scheduler")  # fmt: skip


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sample")
    write_sample(directory, 40, 60, mm_emb_id=("81",), longest=12)
    creatives = load_data(locate_source(directory)).creative_id[1:61]
    codes = {str(name): [number % 3, number % 5] for number, name in enumerate(creatives)}
    (directory / "semantic_id_dict.json").write_text(json.dumps(codes))
    return directory


def weights_after_a_step(sample, **knobs) -> str:
    """A hash over all weights after one step in the middle of a training, whatever the command line would refuse."""
    small = {"hidden_size": 8, "num_layers": 1, "batch_size": 16, "tracker": "none", "device": "cpu", "dropout": 0.0}
    learner = TencentGRLearner(fill_in(TencentGROptions(data_dir=sample, **small | knobs)), start_processes("cpu"))
    learner.global_step, epoch = learner.steps // 2, learner.options.num_epochs // 2
    learner.objective.train()
    learner.train_step(next(iter(learner.loader(epoch))), epoch)
    digest = hashlib.sha256()
    for name, tensor in sorted(learner.objective.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def settings() -> list[dict]:
    """Every value of every choice, with the values that the choices above it need; the defaults once."""
    found = [{}, {"loss": "sampled", "use_smart_sampling": True}]
    for choice in CHOICES:
        needed = {other: wanted[0] for other, wanted in find_missing(TencentGROptions(), choice).items()}
        for value in get_args(TencentGROptions.model_fields[choice].annotation) or (False, True):
            if value != TencentGROptions.model_fields[choice].default:
                found.append({**needed, choice: value})
    return found


@pytest.mark.parametrize("chosen", settings(), ids=str)
def test_what_is_read_moves_the_weights_and_what_is_not_leaves_them(sample, chosen):
    torch.set_num_threads(1)
    before = weights_after_a_step(sample, **chosen)
    for name in OTHER.keys() - chosen.keys():
        acts = not find_missing(TencentGROptions(**chosen), name)
        if name == "use_curriculum_learning" and not chosen.get("use_smart_sampling"):
            continue  # the mix of negatives refuses it itself
        moved = weights_after_a_step(sample, **chosen, **{name: OTHER[name]}) != before
        assert moved is acts, f"{name} {'acts' if moved else 'does not act'}, the table says otherwise"


def test_every_option_of_the_table_is_one_and_has_another_value():
    read = {name for table in READ_BY.values() for names in table.values() for name in names}
    assert read | READ_BY.keys() <= TencentGROptions.model_fields.keys()
    of_places = {"semantic_files", "data_dir", "cache_dir", "run_dir", "result_dir", "filter_seen", "ensemble_with"}
    assert read - {*TRAINING} - of_places == OTHER.keys()


@pytest.mark.parametrize("name", OTHER)
def test_a_refused_option_is_told_a_way_on_that_works(name):
    options = TencentGROptions(loss="full", use_adaptive_similarity=name == "similarity", semantic=False)
    if not find_missing(options, name):
        options = options.model_copy(update={"loss": "bce"})
    words = shlex.split(spell(TencentGROptions(**{name: OTHER[name]}), name))
    base = [f"--loss={options.loss}", "--no-semantic"] + ["--use_adaptive_similarity"] * (name == "similarity")
    with pytest.raises(ConfigError, match=f"^--{name}.* changes nothing here; leave it out, or add --") as refused:
        parse_strict([*base, *words])
    ways = re.sub(r" \(or [^)]*\)", "", str(refused.value).partition("or add ")[2])
    assert getattr(parse_strict([*base, *words, *shlex.split(ways)]), name) == OTHER[name]


def test_the_default_itself_is_no_fault_and_is_named():
    options = parse_strict(["--loss", "infonce", "--popularity_factor", "0.75", "--weight_decay", "0.01"])
    assert list_ignored(options) == ["--popularity_factor", "--weight_decay"]
    assert not list_ignored(parse_strict(["--num_negatives", "1"]))
    assert list_ignored(parse_strict(["--run_dir", "runs/mine"])) == ["--run_dir"]


def test_inference_takes_the_file_of_the_training():
    options = parse_strict(["--inference_only", "--state_dict_path", "m", "--num_epochs", "3", "--loss", "full"])
    assert list_ignored(options) == ["--loss", "--num_epochs"]


def test_what_is_saved_is_what_acted():
    saved = acting_options(parse_strict(["--loss", "full", "--optimizer", "adamw"]))
    assert {"temperature", "weight_decay", "similarity"} <= saved.keys()
    assert not {"num_negatives", "popularity_factor", "similarity_types", "curriculum_schedule"} & saved.keys()
    assert "log_dir" in saved and "log_dir" not in acting_knobs(parse_strict([]))
