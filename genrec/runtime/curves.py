"""Training curves: SwanLab (local, no account) or TensorBoard, as `run.tracker` says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from genrec.config import Run
from genrec.errors import ArtifactError
from genrec.stage import installed

if TYPE_CHECKING:
    from transformers import TrainerCallback

Record = Callable[[dict[str, float], int], None]  # ({"loss/train": ...}, step) -> None


def tracker_callbacks(run: Run, stage: str) -> list[TrainerCallback]:
    """What the Trainer calls to record a stage under <run>/logs."""
    tracker = run.tracker
    if tracker == "none":
        return []
    check_installed(tracker)
    logs = run.dir / "logs" / tracker
    if tracker == "tensorboard":
        from transformers.integrations import TensorBoardCallback

        os.environ["TENSORBOARD_LOGGING_DIR"] = str(logs / stage)
        return [TensorBoardCallback()]
    from swanlab.integration.transformers import SwanLabCallback

    logs.mkdir(parents=True, exist_ok=True)
    return [
        SwanLabCallback(project="genrec", experiment_name=f"{run.dir.name}-{stage}", mode="offline", logdir=str(logs))
    ]


def check_installed(tracker: str) -> None:
    if tracker not in ("tensorboard", "swanlab"):
        raise ArtifactError(f"no tracker '{tracker}'; known: none, tensorboard, swanlab")
    if installed(tracker) is None:
        raise ArtifactError(f"the tracker {tracker} is not installed; pip install {tracker}, or choose none")


def scalar_log(tracker: str, logs: Path, name: str) -> Record:
    """`open_curves` below <logs>/<tracker>, where several loops may write side by side."""
    directory = logs / tracker
    return open_curves(tracker, directory / name if tracker == "tensorboard" else directory, name)


def open_curves(tracker: str, directory: Path, name: str, last_step: int | None = None) -> Record:
    """For loops of our own: a function that records numbers by name at a step, in `directory`.

    TensorBoard forgets what an earlier process recorded after `last_step`.
    """
    if tracker == "none":
        return lambda values, step: None
    check_installed(tracker)
    directory.mkdir(parents=True, exist_ok=True)
    return tensorboard(directory, last_step) if tracker == "tensorboard" else swanlab(directory, name)


def tensorboard(directory: Path, last_step: int | None) -> Record:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(directory), purge_step=None if last_step is None else last_step + 1)

    def record(values: dict[str, float], step: int) -> None:
        for key, value in values.items():
            writer.add_scalar(key, value, step)
        writer.flush()

    return record


def swanlab(directory: Path, name: str) -> Record:
    """Local, without an account."""
    import swanlab

    run = swanlab.init(project="genrec", experiment_name=name, mode="offline", logdir=str(directory))
    return lambda values, step: run.log(values, step=step)
