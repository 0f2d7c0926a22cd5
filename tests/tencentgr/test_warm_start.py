"""Training that begins from a model, and finished training that is given more epochs."""

import json

import pytest
import torch

from genrec.errors import ArtifactError
from tencentgr.checkpoints import read_weights
from tencentgr.generator import write_sample
from tencentgr.learner import TencentGRLearner
from tencentgr.options import parse_strict
from tencentgr.processes import start_processes
from tencentgr.training import train


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sample")
    write_sample(directory, 60, 60, mm_emb_id=("81",), longest=12)
    return directory


def options(sample, out, *more: str):
    places = ["--data_dir", str(sample), "--log_dir", str(out), "--tracker", "none", "--device", "cpu"]
    small = ["--num_epochs", "1", "--hidden_size", "8", "--num_layers", "1", "--batch_size", "32", "--save_freq", "0"]
    return parse_strict([*places, *small, *more])


@pytest.fixture(scope="module")
def trained(sample, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "logs"
    train(options(sample, out))
    return out


def steps_of(out) -> list[dict]:
    entries = [json.loads(line) for line in (out / "train.log").read_text().splitlines()]
    return [entry for entry in entries if "loss" in entry]


def test_training_starts_from_the_weights_it_is_given(sample, trained, tmp_path, capsys):
    path = trained / "best_model.pt"
    learner = TencentGRLearner(options(sample, tmp_path, "--state_dict_path", str(path)), start_processes("cpu"))
    wanted, _ = read_weights(path)
    actual = learner.model.state_dict()
    assert all(torch.equal(actual[name], wanted[name]) for name in wanted)
    assert f"starts from the weights of {path}" in capsys.readouterr().out


def test_another_start_is_another_run(sample, trained, tmp_path, capsys):
    train(options(sample, tmp_path, "--state_dict_path", str(trained)))
    capsys.readouterr()
    train(options(sample, tmp_path))
    assert "start is '" in (said := capsys.readouterr().out) and "there, None asked" in said


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--hidden_size", "16"], "hidden_size is 8 there, 16 here; pass the flags and data of its training"),
        (["--norm_first"], "norm_first is False there, True here"),
        (["--mm_emb_id", "none"], "item_emb is {'81': 32} there, {} here"),
    ],
)
def test_a_start_of_another_model_is_refused(sample, trained, tmp_path, flags, said):
    with pytest.raises(ArtifactError, match=said):
        train(options(sample, tmp_path, "--state_dict_path", str(trained / "best_model.safetensors"), *flags))


def test_a_start_that_would_be_written_over_is_refused(sample, trained):
    with pytest.raises(ArtifactError, match="which this training writes; .* raise --num_epochs"):
        train(options(sample, trained, "--state_dict_path", str(trained / "best_model.pt"), "--lr", "0.01"))


def test_more_epochs_go_on_from_the_end(sample, tmp_path, capsys):
    train(options(sample, tmp_path))
    before = steps_of(tmp_path)
    train(options(sample, tmp_path, "--num_epochs", "3"))
    assert (
        "goes on from the end of the finished run, epoch 1, to epoch 3 under a schedule of its own (cosine)"
        in capsys.readouterr().out
    )
    after = steps_of(tmp_path)
    assert after[: len(before)] == before and len(after) == 3 * len(before)  # not one step is done again
    assert after[len(before)]["learning_rate"] == 1e-3 and after[len(before)]["epoch"] == 2
    assert json.loads((tmp_path / "run.json").read_text())["schedule_ends"] == [1]
    assert not list(tmp_path.glob("earlier-*"))
    train(options(sample, tmp_path, "--num_epochs", "3"))
    assert "is finished" in capsys.readouterr().out and steps_of(tmp_path) == after


def test_more_epochs_killed_at_their_beginning_still_come(sample, tmp_path, monkeypatch):
    train(options(sample, tmp_path))

    def killed(self, epoch, save):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TencentGRLearner, "train_epoch", killed)
        train(options(sample, tmp_path, "--num_epochs", "2"))
    train(options(sample, tmp_path, "--num_epochs", "2"))
    assert {entry["epoch"] for entry in steps_of(tmp_path)} == {1, 2}
    assert json.loads((tmp_path / "run.json").read_text())["schedule_ends"] == [1]


def test_more_epochs_after_an_early_stop_are_refused_with_a_way_on(sample, tmp_path, monkeypatch):
    honest = TencentGRLearner.validate
    monkeypatch.setattr(TencentGRLearner, "validate", lambda self: honest(self) | {"ndcg@10": 0.1})
    train(options(sample, tmp_path, "--num_epochs", "4", "--early_stop", "1"))
    with pytest.raises(ArtifactError, match="after 2 of 4 epochs by --early_stop 1.* --state_dict_path .*best_model"):
        train(options(sample, tmp_path, "--num_epochs", "6", "--early_stop", "1"))
