"""Launch files: accelerate's own loader reads each, and each says what its name promises."""

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import DistributedType

from genrec.errors import ArtifactError
from genrec.training import arguments
from genrec.training.arguments import framework_arguments
from tests import ROOT, parse_flags

LAUNCH = ROOT / "config" / "accelerate"
KINDS = {
    "one_gpu": (DistributedType.NO, 1),
    "ddp": (DistributedType.MULTI_GPU, 4),
    "multi_node": (DistributedType.MULTI_GPU, 16),
    "zero2": (DistributedType.DEEPSPEED, 4),
    "zero3": (DistributedType.DEEPSPEED, 4),
    "cpu_2proc": (DistributedType.MULTI_GPU, 2),
}


def test_every_launch_file_is_expected():
    assert {path.stem for path in LAUNCH.iterdir()} == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_accelerate_reads_the_launch_file(name):
    loaded = load_config_from_file(str(LAUNCH / f"{name}.yaml"))
    assert (loaded.distributed_type, loaded.num_processes) == KINDS[name]
    assert not loaded.use_cpu and loaded.mixed_precision == "no"  # sft.bf16 decides
    if name.startswith("zero"):
        assert loaded.deepspeed_config["zero_stage"] == int(name[-1])


def test_zero2_leaves_to_the_trainer_what_the_config_decides(monkeypatch):
    config = parse_flags(["--sft.trainer.deepspeed", str(ROOT / "config/zero2_opt.yaml")]).config
    monkeypatch.setattr(arguments, "installed", lambda _: "0.19.8")
    read = framework_arguments("sft.trainer", config.sft.trainer)["deepspeed"]
    assert read["zero_optimization"]["stage"] == 2
    assert {read[key] for key in ("gradient_clipping", "gradient_accumulation_steps", "train_batch_size")} == {"auto"}


def test_a_deepspeed_file_that_cannot_be_used_says_why(monkeypatch, tmp_path):
    given = {"deepspeed": str(tmp_path / "no.yaml")}
    monkeypatch.setattr(arguments, "installed", lambda _: None)
    with pytest.raises(ArtifactError, match="not installed"):
        framework_arguments("sft.trainer", given)
    monkeypatch.setattr(arguments, "installed", lambda _: "0.19.8")
    with pytest.raises(ArtifactError, match="No such file"):
        framework_arguments("sft.trainer", given)
    (tmp_path / "no.yaml").write_text("a: [1")
    with pytest.raises(ArtifactError, match="cannot be read"):
        framework_arguments("sft.trainer", given)
    assert framework_arguments("sft.trainer", {"optim": "sgd"}) == {"optim": "sgd"}
