"""The checkpoints of a stage that trains: resumed from after a kill, removed once the model is written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from transformers.trainer import TRAINER_STATE_NAME

from genrec import artifacts


def newest_checkpoint(directory: Path) -> str | None:
    """The newest whole checkpoint; one that a kill cut short lacks the trainer's state, which is written last."""
    whole = [path.parent for path in directory.glob(f"checkpoint-*/{TRAINER_STATE_NAME}")]
    return str(max(whole, key=lambda path: int(path.name.split("-")[1]))) if whole else None


def leave_checkpoints(directory: Path) -> dict[str, Any]:
    """The model is written: its checkpoints are no longer needed. Returns what training.json says."""
    for checkpoint in directory.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    return artifacts.read_json(directory / artifacts.TRAINING)
