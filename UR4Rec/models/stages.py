"""The four stages one after the other, each with early stop on valid; killed at any time, it goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from genrec.runtime.epochs import HEADER, LearnerState, Metrics, Progress, fit, highest
from genrec.runtime.tensor_file import load_weights, read_tensors, write_tensors
from UR4Rec.data.batches import EpochLoader
from UR4Rec.models.joint_trainer import CURRICULUM_EPOCHS, SCORER_OF, JointTrainer

STAGE_RUNS = "stages"  # a directory of each stage's checkpoint and best weights, needed until training is finished
STEM = "best"
BEST = f"{STEM}.safetensors"
METRIC = "ndcg@10"  # on valid, the whole catalogue ranked


@dataclass
class StagesResult:
    """What came of all stages."""

    best: float = 0.0  # METRIC of the last stage's best epoch
    curve: list[dict[str, Any]] = field(default_factory=list)  # one entry an epoch: stage, steps so far, METRIC, losses


@dataclass(frozen=True)
class StageLearner:
    """A stage of the trainer as the epoch loop sees it; epochs are numbered over all stages."""

    trainer: JointTrainer
    train_loader: EpochLoader
    first_epoch: int

    def train_epoch(self, epoch: int, save: Callable[[], None]) -> Metrics:
        return self.trainer.train_epoch(self.train_loader, self.first_epoch + epoch)

    def state(self) -> LearnerState:
        return self.trainer.state()

    def load_state(self, state: LearnerState) -> None:
        self.trainer.load_state(state)


def fit_stages(
    trainer: JointTrainer,
    train_loader: EpochLoader,
    val_loader: EpochLoader,
    epochs: dict[str, int],
    early_stop: int,
    directory: Path,
) -> StagesResult:
    """Train the stages of `epochs` {stage: at most so many} in its order; the best weights of each are what goes on.

    A stage's weights before its first epoch count too, so no stage can end below where it began. With `early_stop` 0
    every stage runs to its end. The last stage's best weights are what <directory>/best.safetensors holds.
    """
    result, first_epoch = StagesResult(), 0
    trainer.read_content(train_loader)
    trainer.curriculum_epochs = min(CURRICULUM_EPOCHS, max(retriever_epochs(epochs), 1.0))
    train_loader = trainer.batches_of(train_loader)
    for stage, most in epochs.items():
        trainer.set_training_stage(stage)
        steps = trainer.global_step
        progress = fit(
            StageLearner(trainer, train_loader, first_epoch),
            partial(validate, trainer, val_loader),
            most,
            early_stop,
            directory / STAGE_RUNS / stage,
            name=f"ur4rec: {stage}",
            bests={STEM: highest(METRIC)},
            judge_start=True,
            after_validation=partial(log_validation, trainer),
        )
        best = directory / STAGE_RUNS / stage / BEST
        load_weights(trainer.model, read_tensors(best, HEADER)[0], best, f"remove {directory}")
        result.best = progress.best[STEM][METRIC]
        result.curve += [curve_entry(stage, steps, len(train_loader), entry) for entry in progress.curve[1:]]
        first_epoch += progress.epoch
    write_tensors(directory / BEST, trainer.model.state_dict(), HEADER, {METRIC: result.best})
    return result


def retriever_epochs(epochs: dict[str, int]) -> float:
    """In how many epochs the retriever learns, where no stage ends early; of the turns it has half."""
    shares = {"pretrain_retriever": 1.0, "joint_finetune": 0.5, "end_to_end": 1.0}
    return sum(share * epochs.get(stage, 0) for stage, share in shares.items())


def validate(trainer: JointTrainer, val_loader: EpochLoader) -> Metrics:
    """METRIC of the scores that the stage trains."""
    scorer = SCORER_OF.get(trainer.stage, "fused")
    return {METRIC: trainer.measure(val_loader, scorer)[METRIC]}


def log_validation(trainer: JointTrainer, progress: Progress) -> None:
    trainer.log({f"valid/{METRIC}": progress.curve[-1][METRIC]}, trainer.global_step)


def curve_entry(stage: str, steps_before: int, steps_an_epoch: int, entry: Metrics) -> dict[str, Any]:
    """An epoch as training.json has it."""
    steps = steps_before + steps_an_epoch * int(entry["epoch"])
    losses = {name: round(value, 6) for name, value in entry.items() if name not in ("epoch", METRIC)}
    return {"stage": stage, "steps": steps, METRIC: entry[METRIC], **losses}
