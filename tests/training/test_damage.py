"""Trainings whose newest checkpoint was damaged end in the weights of one that was left alone; NaN ends a training."""

import copy
import shutil

import pytest
import torch

from genrec.data.tasks import RECOMMEND
from genrec.errors import ArtifactError
from genrec.training.finite_steps import check_weights
from genrec.training.rows import RowBuilder, to_dataset
from genrec.training.supervised import train_sft
from tests import parse_flags
from tests.training.killed import KilledAfter

STEPS, EVERY = 8, 2
FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "whole.json")
DAMAGES = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
}
FLAGS = ["--run.device", "cpu", "--sft.batch_size", "2", "--sft.micro_batch_size", "2", "--sft.num_epochs", "2",
         "--sft.eval_step", "0.25", "--sft.early_stop", "0", "--sft.learning_rate", "1e-2"]  # fmt: skip


@pytest.fixture(scope="module")
def rows(texts, tokenizer):
    builder = RowBuilder(tokenizer, texts, 512)
    return to_dataset(builder.row(RECOMMEND, torch.arange(1 + row % 5).numpy(), row) for row in range(8))


class Rising:
    """Scores of valid by the step: each beats all before it, or with `best` only up to that step."""

    def __init__(self, model, best=None):
        self.model, self.best = model, best

    def __call__(self):
        step = self.model.step
        return {"ndcg@10": (step if self.best is None or step <= self.best else self.best - step) / 100, "hr@10": 0.0}


class Steps(KilledAfter):
    """Tells the model its step; stops the run in the step after `step`."""

    def __init__(self, model, step=STEPS):
        super().__init__(step)
        self.model = model

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.model.step = state.global_step
        super().on_step_end(args, state, control, **kwargs)


@pytest.fixture(scope="module")
def train(model, tokenizer, rows):
    def run(directory, killed_at=STEPS, best=None, flags=(), rows=rows):
        config = parse_flags([*FLAGS, *flags]).config
        own = copy.deepcopy(model)
        torch.manual_seed(0)
        callbacks = [Steps(own, killed_at)]
        train_sft(config.sft, config.run, directory, own, tokenizer, rows, Rising(own, best), callbacks)
        return {name: value.clone() for name, value in own.state_dict().items()}

    return run


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module", params=[None, 2], ids=["the last is best", "an early one is best"])
def killed(request, train, tmp_path_factory):
    """(weights of an unbroken run, directory of one killed after its third checkpoint, the step that is best)."""
    directory = tmp_path_factory.mktemp("sft")
    unbroken = train(directory / "unbroken", best=request.param)
    with pytest.raises(KeyboardInterrupt):
        train(directory / "killed", killed_at=6, best=request.param)
    return unbroken, directory / "killed", request.param


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_newest_checkpoint_ends_in_the_same_weights(killed, train, tmp_path, capfd, name, damage):
    unbroken, directory, best = killed
    shutil.copytree(directory, tmp_path / "run")
    path = tmp_path / "run" / "checkpoint-6" / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    capfd.readouterr()
    assert same(unbroken, train(tmp_path / "run", best=best))
    out, err = capfd.readouterr()
    older = "checkpoint-4" if best is None else "checkpoint-2"
    lines = [line for line in out.splitlines() if "cannot be used" in line]
    assert len(lines) == 1 and lines[0].startswith("sft: checkpoint-6 cannot be used: ")
    assert lines[0].endswith(f"; going on from {older}") and "Traceback" not in err


def test_without_a_whole_one_training_begins_anew_and_says_so(killed, train, tmp_path, capfd):
    unbroken, directory, best = killed
    shutil.copytree(directory, tmp_path / "run")
    for path in (tmp_path / "run").glob("checkpoint-*/optimizer.pt"):
        path.write_bytes(b"")
    assert same(unbroken, train(tmp_path / "run", best=best))
    assert "; training begins anew\n" in capfd.readouterr().out


def test_a_run_that_was_moved_keeps_its_best_model(killed, train, tmp_path):
    unbroken, directory, best = killed
    shutil.copytree(directory, tmp_path / "moved")
    shutil.move(directory, tmp_path / "away")
    try:
        assert same(unbroken, train(tmp_path / "moved", best=best))
    finally:
        shutil.move(tmp_path / "away", directory)


def test_a_best_model_that_is_gone_is_not_replaced_by_the_last(train, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, killed_at=6, best=2)
    shutil.rmtree(tmp_path / "checkpoint-2")
    with pytest.raises(ArtifactError, match="checkpoint-2, best on valid, is no longer there; nothing was published"):
        train(tmp_path, best=2)


def test_a_planted_nan_ends_the_training_at_its_step_and_before_any_checkpoint(train, rows, tmp_path):
    weights = [[float("nan")] * len(one) if place == 5 else one for place, one in enumerate(rows["weight"])]
    planted = rows.remove_columns("weight").add_column("weight", weights)
    with pytest.raises(
        ArtifactError, match="sft: the loss is nan at step [1-4]; nothing of it was published"
    ) as caught:
        train(tmp_path, rows=planted)
    assert "Lower sft.learning_rate (0.01; then with --clean)" in str(caught.value) and "\n" not in str(caught.value)
    steps = {int(path.name.split("-")[1]) for path in tmp_path.glob("checkpoint-*")}
    assert steps <= {2}


def test_weights_that_are_no_numbers_are_never_in_a_checkpoint(train, tmp_path, monkeypatch):
    monkeypatch.setattr(Steps, "on_step_end", poison)
    said = "sft: 1 of 32 values of 'model.norm.weight' are no finite numbers after step 4"
    with pytest.raises(ArtifactError, match=said):
        train(tmp_path)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]


def poison(self, args, state, control, model=None, **kwargs):
    self.model.step = state.global_step
    if state.global_step == 4:
        with torch.no_grad():
            model.model.norm.weight[0] = float("inf")


def test_an_infinite_gradient_is_named_by_its_parameter(train, tmp_path, monkeypatch):
    monkeypatch.setattr(Steps, "on_train_begin", plant_infinity)
    said = "sft: the gradient's norm is inf by that of 'model.norm.weight' at step 1"
    with pytest.raises(ArtifactError, match=said):
        train(tmp_path)


def plant_infinity(self, args, state, control, model=None, **kwargs):
    model.model.norm.weight.register_hook(lambda gradient: torch.full_like(gradient, float("inf")))


def test_a_weight_that_is_no_number_is_named_before_it_is_published():
    layer = torch.nn.Linear(3, 2)
    check_weights("rl", layer)
    with torch.no_grad():
        layer.bias[1] = float("nan")
    with pytest.raises(ArtifactError, match="rl: 1 of 2 values of 'bias' are no finite numbers after training"):
        check_weights("rl", layer)
