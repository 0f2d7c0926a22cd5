"""train.log: where training is seen, a line of JSON a step and a validation."""

from __future__ import annotations

import json
from pathlib import Path

LOG = "train.log"


class StepLog:
    """Opened again after a kill, it first forgets the steps that are done anew."""

    def __init__(self, path: Path, last_step: int):
        kept = []
        if path.exists():
            lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
            kept = [line for line in lines if 0 <= step_of(line) <= last_step]
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = path.open("w", encoding="utf-8")
        self.file.writelines(line + "\n" for line in kept)

    def write(self, entry: dict) -> None:
        self.file.write(json.dumps(entry) + "\n")
        self.file.flush()


def step_of(line: str) -> int:
    """The step that a line is of; -1 for a line that a kill tore."""
    try:
        step = json.loads(line)["global_step"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return -1
    return step if type(step) is int else -1
