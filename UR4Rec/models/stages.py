"""The four stages one after the other, each with early stop on valid; killed at any time, it goes on where it was."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors.torch import load_file
from tqdm import tqdm

from genrec.runtime.tensor_file import write_tensors
from UR4Rec.data.batches import EpochLoader
from UR4Rec.models.joint_trainer import PART_OF, STATE, JointTrainer

CHECKPOINT, BEST = "checkpoint.safetensors", "best.safetensors"
METRIC = "ndcg@10"  # on valid, the whole catalogue ranked


@dataclass
class Progress:
    """How far training is; saved with every checkpoint."""

    stage: int = 0
    epoch: int = 0  # of this stage
    total: int = 0  # of all stages
    best: float = -1.0
    best_epoch: int = 0
    curve: list[dict] = field(default_factory=list)  # one entry an epoch: stage, losses, METRIC on valid, steps so far


def fit(
    trainer: JointTrainer,
    train_loader: EpochLoader,
    val_loader: EpochLoader,
    epochs: dict[str, int],
    patience: int,
    directory: Path,
) -> Progress:
    """Train the stages of `epochs` {stage: at most so many} in its order; the best state of each is what goes on.

    A stage's state before its first epoch counts too, so no stage can end below where it began. With `patience` 0
    every stage runs to its end.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path, progress = directory / CHECKPOINT, Progress()
    if path.exists():
        progress = Progress(**trainer.load_checkpoint(path))
    for stage, most in list(epochs.items())[progress.stage :]:
        if progress.epoch == 0:
            begin_stage(trainer, stage, val_loader, directory, progress)
        with tqdm(total=most, initial=progress.epoch, desc=f"ur4rec: {stage}", disable=None) as bar:
            while progress.epoch < most and not (patience and progress.epoch - progress.best_epoch >= patience):
                run_epoch(trainer, train_loader, val_loader, directory, progress)
                trainer.save_checkpoint(path, **asdict(progress))
                bar.update()
                bar.set_postfix_str(f"valid {METRIC} {progress.curve[-1][METRIC]:.4f}, best {progress.best:.4f}")
        trainer.model.load_state_dict(load_file(directory / BEST))
        progress.stage, progress.epoch = progress.stage + 1, 0
        trainer.save_checkpoint(path, **asdict(progress))
    return progress


def begin_stage(trainer: JointTrainer, stage: str, val_loader, directory: Path, progress: Progress) -> None:
    trainer.set_training_stage(stage)
    progress.best, progress.best_epoch = valid_score(trainer, val_loader), 0
    keep_best(trainer, directory)


def run_epoch(trainer: JointTrainer, train_loader, val_loader, directory: Path, progress: Progress) -> None:
    losses = trainer.train_epoch(train_loader, progress.total)
    score = valid_score(trainer, val_loader)
    progress.epoch += 1
    progress.total += 1
    trainer.log({f"valid/{METRIC}": score}, trainer.global_step)
    entry = {"stage": trainer.stage, "steps": trainer.global_step, METRIC: score}
    progress.curve.append(entry | {name: round(loss, 6) for name, loss in losses.items()})
    if score > progress.best:
        progress.best, progress.best_epoch = score, progress.epoch
        keep_best(trainer, directory)


def valid_score(trainer: JointTrainer, val_loader: EpochLoader) -> float:
    """Of the part that the stage trains."""
    return trainer.evaluate(val_loader, part=PART_OF.get(trainer.stage, "fused"))[METRIC]


def keep_best(trainer: JointTrainer, directory: Path) -> None:
    write_tensors(directory / BEST, trainer.model.state_dict(), STATE, {})
