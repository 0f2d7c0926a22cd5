"""Training curves: SwanLab (local, no account) or TensorBoard, as `run.tracker` says, and how they are looked at."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from genrec.config import Run
from genrec.errors import ArtifactError
from genrec.launch import note
from genrec.stage import installed

if TYPE_CHECKING:
    from transformers import TrainerCallback

Record = Callable[[dict[str, float], int], None]  # ({"loss/train": ...}, step) -> None


class Tracker(NamedTuple):
    """What writes curves, and what shows them."""

    packages: tuple[str, ...]  # that writing and showing need
    requirement: str  # for pip, of all of them
    command: str  # that shows what lies in {directory}
    address: str  # where it then is


TRACKERS = {
    # local mode writes through the dashboard's package; without it nothing would be there to look at
    "swanlab": Tracker(
        ("swanlab", "swanboard"), "swanlab[dashboard]", "swanlab watch {directory}", "http://127.0.0.1:5092"
    ),
    "tensorboard": Tracker(
        ("tensorboard",), "tensorboard", "tensorboard --logdir {directory}", "http://localhost:6006"
    ),
}


def tracker_callbacks(run: Run, stage: str) -> list[TrainerCallback]:
    """What the Trainer calls to record a stage under <run>/logs."""
    tracker = run.tracker
    if tracker == "none":
        return []
    check_installed(tracker)
    logs = log_dir(run)
    if tracker == "tensorboard":
        from transformers.integrations import TensorBoardCallback

        os.environ["TENSORBOARD_LOGGING_DIR"] = str(logs / stage)
        return [TensorBoardCallback()]
    from swanlab.integration.transformers import SwanLabCallback

    logs.mkdir(parents=True, exist_ok=True)
    return [
        SwanLabCallback(project="genrec", experiment_name=f"{run.dir.name}-{stage}", mode="local", logdir=str(logs))
    ]


def log_dir(run: Run) -> Path:
    return run.dir / "logs" / run.tracker


def note_dashboard(stage: str, run: Run) -> None:
    """After a training: the command that shows its curves."""
    if run.tracker != "none":
        note(stage, describe_dashboard(run.tracker, log_dir(run)))


def describe_dashboard(tracker: str, directory: Path) -> str:
    """'curves: `tensorboard --logdir runs/a/logs/tensorboard` shows them at http://localhost:6006'"""
    command = TRACKERS[tracker].command.format(directory=shlex.quote(str(directory)))
    return f"curves: `{command}` shows them at {TRACKERS[tracker].address}"


def check_installed(tracker: str) -> None:
    """Before any work: a tracker that could write nothing, or nothing that can be looked at, is refused."""
    if tracker == "none":
        return
    if tracker not in TRACKERS:
        raise ArtifactError(f"no tracker '{tracker}'; known: none, {', '.join(TRACKERS)}")
    if missing := [package for package in TRACKERS[tracker].packages if installed(package) is None]:
        raise ArtifactError(
            f"the tracker {tracker} needs {' and '.join(missing)}, which is not installed; "
            f"pip install {shlex.quote(TRACKERS[tracker].requirement)}, or choose another: --run.tracker none"
        )


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
    note("curves", describe_dashboard(tracker, directory).removeprefix("curves: "))
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

    run = swanlab.init(project="genrec", experiment_name=name, mode="local", logdir=str(directory))
    return lambda values, step: run.log(values, step=step)
