"""What the epoch loop trains: its rates, its seeds, its negatives, and losses that are no numbers."""

import pytest

from genrec.errors import ArtifactError
from tencentgr.generator import write_sample
from tencentgr.learner import TencentGRLearner, step_seed
from tencentgr.losses import Objective
from tencentgr.options import parse_strict
from tencentgr.processes import start_processes


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sample")
    write_sample(directory, 160, 60, mm_emb_id=("81",))
    return directory


def learner_of(sample, out, *flags: str) -> TencentGRLearner:
    """10 steps in 2 epochs."""
    places = ["--data_dir", str(sample), "--log_dir", str(out), "--tracker", "none"]
    small = ["--num_epochs", "2", "--hidden_size", "16", "--num_layers", "1", "--batch_size", "32"]
    return TencentGRLearner(parse_strict([*places, *small, *flags]), start_processes("cpu"))


def test_smart_sampling_is_a_switch(sample, tmp_path):
    for more, smart in ([], False), (["--use_smart_sampling"], True):
        learner = learner_of(sample, tmp_path, *more)
        assert learner.objective.sampler.mix.smart is smart
        assert learner.objective.sampler.mix.popular_ratio(0.5) == (0.3 if smart else 0.0)


def test_rates_of_the_schedules(sample, tmp_path):
    def rates(*more: str) -> list[float]:
        learner = learner_of(sample, tmp_path, *more)
        shares = []
        for step in range(learner.steps):
            shares.append(learner.schedule.rate(step // learner.epoch_steps, step))
        return shares

    cosine = rates("--num_epochs", "2")
    assert cosine[0] == 1.0 and cosine[5] == pytest.approx(0.5) and cosine[-1] < 0.1  # 10 steps
    halved = rates("--num_epochs", "21", "--lr_scheduler", "step")
    assert (halved[0], halved[50], halved[100]) == (1.0, 0.5, 0.25)
    assert rates("--lr_scheduler", "none", "--warmup_steps", "4")[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_a_seed_for_every_step_and_process():
    seeds = {step_seed(seed, step, rank) for seed in (0, 1) for step in range(50) for rank in (0, 1)}
    assert len(seeds) == 200


@pytest.mark.parametrize("more", [[], ["--infonce_negatives", "batch"]])
def test_no_batch_of_infonce_has_one_user_and_valid_batches_are_as_those_of_training(
    sample, tmp_path, monkeypatch, more
):
    """The batch size is such that one sequence is left over."""
    found = learner_of(sample, tmp_path)
    number, held_out = len(found.sequences), len(found.rows["valid"])
    size = next(size for size in range(5, number) if number % size == 1)
    learner = learner_of(sample, tmp_path, "--loss", "infonce", "--batch_size", str(size), *more)
    sizes, honest = [], Objective.forward
    count = lambda self, batch, progress: sizes.append(len(batch["pos"])) or honest(self, batch, progress)  # noqa: E731
    monkeypatch.setattr(Objective, "forward", count)
    assert learner.train_epoch(0, save=lambda: None)["train_loss"] > 0
    assert len(sizes) == learner.epoch_steps and sizes == [size] * (number // size - 1) + [size + 1]
    sizes.clear()
    learner.validate()
    assert sum(sizes) == held_out and 2 <= min(sizes) and max(sizes) <= size + 1


def test_a_loss_that_is_no_number_ends_the_run(sample, tmp_path, monkeypatch):
    honest = Objective.forward
    monkeypatch.setattr(Objective, "forward", lambda self, *given: honest(self, *given) * float("nan"))
    with pytest.raises(ArtifactError, match="the loss is nan at step 1"):
        learner_of(sample, tmp_path).train_epoch(0, save=lambda: None)


def test_a_state_put_back_takes_the_same_steps(sample, tmp_path):
    first = learner_of(sample, tmp_path / "first")
    first.train_epoch(0, save=lambda: None)
    state = first.state()
    tensors = {name: value.clone() for name, value in state.tensors.items()}
    expected = first.train_epoch(1, save=lambda: None)
    second = learner_of(sample, tmp_path / "second")
    second.load_state(state._replace(tensors=tensors))
    assert second.train_epoch(1, save=lambda: None) == expected
    assert second.validate() == first.validate()
