"""Training curves: SwanLab (local, no account) or TensorBoard, as `run.tracker` says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from transformers import TrainerCallback

from genrec.config import Run
from genrec.errors import ArtifactError
from genrec.stage import installed


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
    if installed(tracker) is None:
        raise ArtifactError(f"the tracker {tracker} is not installed; pip install {tracker}, or choose none")


def scalar_log(tracker: str, logs: Path, name: str) -> Callable[[dict[str, float], int], None]:
    """For loops of our own: a function that records numbers by name at a step, under <logs>/<tracker>."""
    if tracker == "none":
        return lambda values, step: None
    if tracker not in ("tensorboard", "swanlab"):
        raise ArtifactError(f"no tracker '{tracker}'; known: none, tensorboard, swanlab")
    check_installed(tracker)
    directory = logs / tracker
    directory.mkdir(parents=True, exist_ok=True)
    if tracker == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(directory / name))

        def write(values: dict[str, float], step: int) -> None:
            for key, value in values.items():
                writer.add_scalar(key, value, step)
            writer.flush()

        return write
    import swanlab

    run = swanlab.init(project="genrec", experiment_name=name, mode="offline", logdir=str(directory))
    return lambda values, step: run.log(values, step=step)
