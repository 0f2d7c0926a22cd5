"""The checkpoints of a stage that trains: resumed from after a kill, removed once the model is written."""

from __future__ import annotations

import shutil
from pathlib import Path

from transformers.trainer import TRAINER_STATE_NAME


def find_newest_checkpoint(directory: Path) -> str | None:
    """The newest whole checkpoint; one that a kill cut short lacks the trainer's state, which is written last."""
    whole = [path.parent for path in directory.glob(f"checkpoint-*/{TRAINER_STATE_NAME}")]
    return str(max(whole, key=lambda path: int(path.name.split("-")[1]))) if whole else None


def remove_checkpoints(directory: Path) -> None:
    """The model is written: its checkpoints are no longer needed."""
    for checkpoint in directory.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
