"""Where training is seen: a line of JSON a step, and the same numbers as curves."""

from __future__ import annotations

import atexit
import json
from collections.abc import Callable
from pathlib import Path

from genrec.errors import ArtifactError
from genrec.stage import installed

LOG = "train.log"

Record = Callable[[int, dict[str, float]], None]  # (global step, {"Loss/train": ...}) -> None


class StepLog:
    """train.log: one JSON object a line. Opened again after a kill, it first forgets the steps that are done anew."""

    def __init__(self, path: Path, done: int):
        kept = []
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if line.endswith("}") and json.loads(line)["global_step"] <= done]
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = path.open("w", encoding="utf-8")
        self.file.writelines(line + "\n" for line in kept)

    def write(self, entry: dict) -> None:
        self.file.write(json.dumps(entry) + "\n")
        self.file.flush()


def open_curves(tracker: str, directory: Path, name: str, done: int) -> Record:
    """A function that records numbers of a step; TensorBoard also drops what was recorded after step `done`."""
    if tracker == "none":
        return lambda step, values: None
    if installed(tracker) is None:
        raise ArtifactError(f"--tracker is {tracker}, which is not installed; pip install {tracker}, or --tracker none")
    directory.mkdir(parents=True, exist_ok=True)
    return tensorboard(directory, done) if tracker == "tensorboard" else swanlab(directory, name)


def tensorboard(directory: Path, done: int) -> Record:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(directory), purge_step=done + 1)
    atexit.register(writer.close)

    def record(step: int, values: dict[str, float]) -> None:
        for key, value in values.items():
            writer.add_scalar(key, value, step)

    return record


def swanlab(directory: Path, name: str) -> Record:
    """Local, without an account."""
    import swanlab

    swanlab.init(project="tencentgr", experiment_name=name, mode="offline", logdir=str(directory))
    return lambda step, values: swanlab.log(values, step=step)
