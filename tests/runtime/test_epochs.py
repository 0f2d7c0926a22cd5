"""The epoch loop: kills at every point end in the same bytes; early stop and the best epoch by hand."""

import math
from pathlib import Path

import pytest
import torch

from genrec.errors import ArtifactError
from genrec.runtime import epochs
from genrec.runtime.epochs import CHECKPOINT, HEADER, PREVIOUS, LearnerState, fit, highest
from genrec.runtime.tensor_file import pack_state, read_state, unpack_state

STEPS = 4  # of an epoch
BESTS = {"best": highest("score")}


class TinyLearner:
    """A layer with dropout and AdamW; its losses are summed in the counters, so an epoch can be left in the middle."""

    def __init__(self, save_within: bool = False):
        torch.manual_seed(0)
        self.model = torch.nn.Linear(3, 2)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 0.1)
        self.save_within, self.counters, self.epochs, self.fatal = save_within, {"step": 0, "total": 0.0}, [], None

    def train_epoch(self, epoch, save):
        self.epochs.append(epoch)
        for step in range(self.counters["step"], STEPS):
            if (epoch, step) == self.fatal:
                raise KeyboardInterrupt
            torch.manual_seed(1000 * epoch + step)
            inputs = torch.nn.functional.dropout(torch.arange(6.0).view(2, 3), 0.5)
            loss = self.model(inputs).square().mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.counters = {"step": step + 1, "total": self.counters["total"] + float(loss.detach())}
            if self.save_within:
                save()
        mean = self.counters["total"] / STEPS
        self.counters = {"step": 0, "total": 0.0}
        return {"loss": mean}

    def state(self):
        return LearnerState(pack_state({"model": self.model}, {"optimizer": self.optimizer}), self.counters)

    def load_state(self, state):
        unpack_state(state.tensors, {"model": self.model}, {"optimizer": self.optimizer})
        self.counters = state.counters

    def score(self):
        return {"score": float(self.model.weight.detach().sum())}


class StillLearner:
    """Learns nothing; `scores` says what each validation gives."""

    def __init__(self, scores):
        self.scores, self.weight = iter(scores), torch.zeros(2)

    def train_epoch(self, epoch, save):
        self.weight = torch.full((2,), float(epoch + 1))
        return {}

    def state(self):
        return LearnerState({"model.weight": self.weight}, {})

    def load_state(self, state):
        self.weight = state.tensors["model.weight"]

    def validate(self):
        score = next(self.scores)
        return None if score is None else {"score": score}


def run(learner, directory: Path, num_epochs=5, patience=0, **options):
    options = {"bests": BESTS, "name": "tiny", **options}
    return fit(learner, learner.score, num_epochs, patience, directory, **options)


def run_still(scores, directory: Path, num_epochs=9, patience=0, **options):
    learner = StillLearner(scores)
    options = {"bests": BESTS, "name": "still", **options}
    return fit(learner, learner.validate, num_epochs, patience, directory, **options)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


@pytest.mark.parametrize("save_within", [False, True])
@pytest.mark.parametrize("epoch", range(5))
@pytest.mark.parametrize("step", [0, 2])
def test_a_training_killed_in_any_epoch_ends_with_the_same_bytes(tmp_path, epoch, step, save_within):
    whole = run(TinyLearner(save_within), tmp_path / "whole")
    learner = TinyLearner(save_within)
    learner.fatal = (epoch, step)
    with pytest.raises(KeyboardInterrupt):
        run(learner, tmp_path / "killed")
    again = TinyLearner(save_within)
    assert run(again, tmp_path / "killed") == whole
    assert again.epochs == list(range(epoch, 5))
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert contents(tmp_path / "whole").keys() == {CHECKPOINT, "best.safetensors"}


@pytest.mark.parametrize("write", range(10))
def test_a_kill_at_any_write_ends_with_the_same_bytes(tmp_path, monkeypatch, write):
    whole, original, count = run(TinyLearner(), tmp_path / "whole", judge_start=True), epochs.write_tensors, [0]

    def dies_at_the_write(*arguments):
        if count[0] == write:
            count[0] += 1
            raise KeyboardInterrupt
        count[0] += 1
        original(*arguments)

    monkeypatch.setattr(epochs, "write_tensors", dies_at_the_write)
    try:
        run(TinyLearner(), tmp_path / "killed", judge_start=True)
        assert count[0] <= write  # so many writes there are not
    except KeyboardInterrupt:
        assert run(TinyLearner(), tmp_path / "killed", judge_start=True) == whole
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_finished_training_is_loaded_and_trains_no_more(tmp_path):
    first, second = TinyLearner(), TinyLearner()
    whole = run(first, tmp_path)
    assert run(second, tmp_path) == whole and second.epochs == []
    assert torch.equal(first.model.weight, second.model.weight)


@pytest.mark.parametrize(
    ("patience", "scores", "ends", "best"),
    [
        (0, [0.1, 0.3, 0.2, 0.2, 0.2, 0.9], 6, 6),
        (3, [0.1, 0.3, 0.2, 0.2, 0.2, 0.9], 5, 2),  # three in a row were not better than 0.3
        (1, [0.5, 0.5], 2, 1),  # an equal one is not better
        (2, [0.1, 0.0, 0.2, 0.1, 0.3, 0.4], 6, 6),
    ],
)
def test_it_stops_after_so_many_validations_without_a_better_one(tmp_path, patience, scores, ends, best):
    progress = run_still(scores, tmp_path, num_epochs=6, patience=patience)
    assert (progress.epoch, progress.best["best"]["epoch"]) == (ends, best)
    tensors, entry = read_state(tmp_path / "best.safetensors", HEADER)
    assert tensors["weight"].tolist() == [best, best] and entry == {"epoch": best, "score": max(scores[:ends])}


def test_validations_come_every_n_epochs_and_at_the_end(tmp_path):
    progress = run_still([0.3, 0.2, 0.1], tmp_path, num_epochs=7, every=3)
    assert [entry["epoch"] for entry in progress.curve] == [3, 6, 7] and progress.stale == 2
    assert run_still([0.3, 0.2, 0.1], tmp_path / "patient", 9, patience=1, every=3).epoch == 6


def test_the_state_before_the_first_epoch_can_stay_the_best(tmp_path):
    progress = run_still([0.3, 0.2, 0.1], tmp_path, patience=2, judge_start=True)
    assert progress.best == {"best": {"epoch": 0, "score": 0.3}} and progress.epoch == 2
    assert read_state(tmp_path / "best.safetensors", HEADER)[0]["weight"].tolist() == [0, 0]


def test_where_there_is_nothing_to_judge_patience_waits(tmp_path):
    progress = run_still([None, None, 0.3, 0.2], tmp_path, patience=1)
    assert [entry["epoch"] for entry in progress.curve] == [3, 4] and progress.epoch == 4


def test_each_best_has_its_file_and_patience_counts_by_the_first(tmp_path):
    bests = {"high": highest("score"), "low": lambda entry, best: best is None or entry["score"] < best["score"]}
    kept = []
    progress = run_still(
        [0.5, 0.4, 0.3, 0.2],
        tmp_path,
        patience=2,
        bests=bests,
        keep=lambda path, entry: kept.append((path.stem, entry)),
    )
    assert progress.epoch == 3 and [(stem, entry["epoch"]) for stem, entry in kept] == [
        ("high", 1), ("low", 1), ("low", 2), ("low", 3)
    ]  # fmt: skip


def test_what_follows_a_validation_is_repeated_by_a_kill_and_never_left_out(tmp_path):
    seen = []

    def dies_in_the_second(progress):
        seen.append(progress.epoch)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(TinyLearner(), tmp_path, after_validation=dies_in_the_second)
    run(TinyLearner(), tmp_path, after_validation=dies_in_the_second)
    assert seen == [1, 2, 2, 3, 4, 5]


class Second:
    """The second of two processes: it validates nothing and writes nothing, and is told what the first measured."""

    first = False

    def __init__(self, entries):
        self.entries = iter(entries)

    def share(self, entry):
        assert entry is None
        return next(self.entries)


def test_processes_that_do_not_validate_stop_where_the_first_does(tmp_path):
    first = run_still([0.3, 0.2, 0.1], tmp_path / "first", patience=2)
    (tmp_path / "second").mkdir()
    second = run_still([], tmp_path / "second", patience=2, group=Second(first.curve))
    assert second == first and not any((tmp_path / "second").iterdir())


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_loss_that_is_no_number_ends_the_training_and_keeps_what_was(tmp_path, epoch):
    learner = TinyLearner()
    honest = learner.train_epoch

    def overflowing(number, save):
        losses = honest(number, save)
        return losses if number < epoch else {"loss": math.inf}

    learner.train_epoch = overflowing
    with pytest.raises(ArtifactError, match=rf"tiny: the loss 'loss' is inf after epoch {epoch + 1}; nothing of it"):
        run(learner, tmp_path)
    if epoch:
        assert read_state(tmp_path / CHECKPOINT, HEADER)[1]["progress"]["epoch"] == epoch
    else:
        assert not any(tmp_path.iterdir())


def test_a_weight_that_is_no_number_is_named_before_it_is_scored_or_kept(tmp_path):
    learner = TinyLearner()
    run(learner, tmp_path, num_epochs=1)
    before = contents(tmp_path)
    with torch.no_grad():
        learner.model.weight[0, 1] = math.nan
    loop = epochs.Loop(learner, pytest.fail, tmp_path, "tiny", BESTS, None, None, epochs.Alone())
    with pytest.raises(ArtifactError, match="tiny: 1 of 6 values of 'model.weight' are no finite"):
        loop.judge({})
    with pytest.raises(ArtifactError, match=r"model\.weight"):
        loop.save()
    assert contents(tmp_path) == before


def test_a_metric_that_is_no_number_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="still: the validation's 'score' is nan after epoch 2"):
        run_still([0.1, math.nan], tmp_path)


DAMAGES = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
    "zeros at the end": lambda content: content[:-8] + bytes(8),
}


def kill_in_epoch_3(directory, save_within=False):
    learner = TinyLearner(save_within)
    learner.fatal = (3, 2)
    with pytest.raises(KeyboardInterrupt):
        run(learner, directory)


@pytest.mark.parametrize("save_within", [False, True])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_named_and_the_one_before_it_ends_in_the_same_bytes(tmp_path, capsys, damage, save_within):
    whole = run(TinyLearner(save_within), tmp_path / "whole")
    kill_in_epoch_3(tmp_path / "killed", save_within)
    newest = tmp_path / "killed" / CHECKPOINT
    newest.write_bytes(DAMAGES[damage](newest.read_bytes()))
    again = TinyLearner(save_within)
    assert run(again, tmp_path / "killed") == whole
    assert again.epochs == ([3, 4] if save_within else [2, 3, 4])
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    lines = list_faults(capsys)
    assert len(lines) == 1 and lines[0].startswith(f"tiny: {newest} ")
    assert lines[0].endswith("; the state before it is tried")


def list_faults(capsys) -> list[str]:
    """The lines that are not an epoch's."""
    return [line for line in capsys.readouterr().out.splitlines() if not line.startswith("tiny: epoch ")]


@pytest.mark.parametrize("names", [(CHECKPOINT, PREVIOUS), ("best.safetensors",)])
def test_without_a_whole_state_or_its_best_one_training_begins_anew(tmp_path, capsys, names):
    whole = run(TinyLearner(), tmp_path / "whole")
    kill_in_epoch_3(tmp_path / "killed")
    for name in names:
        (tmp_path / "killed" / name).write_bytes(b"")
    again = TinyLearner()
    assert run(again, tmp_path / "killed") == whole and again.epochs == list(range(5))
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert list_faults(capsys)[-1].endswith("; training begins anew")


def test_a_kill_between_the_two_writes_of_a_state_goes_on_from_the_one_before(tmp_path):
    whole = run(TinyLearner(), tmp_path / "whole")
    kill_in_epoch_3(tmp_path / "killed")
    (tmp_path / "killed" / CHECKPOINT).unlink()
    again = TinyLearner()
    assert run(again, tmp_path / "killed") == whole and again.epochs == [2, 3, 4]
