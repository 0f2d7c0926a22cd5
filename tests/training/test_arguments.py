"""What SFT and RL tell transformers' Trainer alike."""

import pytest

from genrec.config_checks import validate
from genrec.errors import ArtifactError
from genrec.training import arguments
from genrec.training.arguments import common_arguments, framework_arguments, split_step


@pytest.mark.parametrize(
    ("processes", "batch", "micro", "expected"),
    [
        (1, 24, 8, (8, True)),
        (1, 24, 100, (24, True)),
        (1, 24, 7, (7, False)),
        (2, 24, 8, (8, False)),
        (3, 24, 4, (4, True)),
        (5, 24, 4, (4, False)),
        (4, 2, 4, (0, False)),
    ],
)
def test_passes_fill_a_step_or_not(monkeypatch, processes, batch, micro, expected):
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    assert split_step(batch, micro) == expected


def test_the_section_and_the_run_reach_the_trainer(tmp_path):
    config = validate({"run": {"device": "cpu", "seed": 7}, "sft": {"learning_rate": 0.25}})
    common = common_arguments(config.sft, config.run, tmp_path)
    assert (common["seed"], common["learning_rate"], common["use_cpu"], common["bf16"]) == (7, 0.25, True, False)
    assert common["output_dir"] == str(tmp_path) and common["report_to"] == []


def test_deepspeed_is_read_from_its_file_or_named(tmp_path, monkeypatch):
    assert framework_arguments("sft.trainer", {"max_steps": 3}) == {"max_steps": 3}
    path = tmp_path / "zero.yaml"
    path.write_text("zero_optimization: {stage: 2}")
    with pytest.raises(ArtifactError, match=r"rl\.trainer\.deepspeed is .* pip install deepspeed"):
        framework_arguments("rl.trainer", {"deepspeed": str(path)})
    monkeypatch.setattr(arguments, "installed", lambda _: "1")
    assert framework_arguments("sft.trainer", {"deepspeed": str(path)}) == {
        "deepspeed": {"zero_optimization": {"stage": 2}}
    }
    with pytest.raises(ArtifactError, match=r"sft\.trainer\.deepspeed .*none\.yaml cannot be read"):
        framework_arguments("sft.trainer", {"deepspeed": str(tmp_path / "none.yaml")})
