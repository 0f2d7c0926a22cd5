"""How a training went: one record for every model that is trained, whatever trained it, in its directory.

Written when the weights are there: a directory that has it holds a finished model.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from genrec.artifacts import TRAINING, flush, write_json
from genrec.artifacts import read_record as read_record_of
from genrec.launch import note


@dataclass(frozen=True)
class TrainingRecord:
    unit: Literal["epochs", "steps"]  # what `length`, `best` and the curve are counted in
    length: Annotated[int, Field(ge=0)]  # so many were trained
    best: Annotated[int, Field(ge=0)]  # after so many it was best, and that was kept; 0: as training began
    metric: str  # what it was best by, on valid
    score: float | None  # the metric's value then; None where nothing was validated
    curve: list[dict[str, Any]]  # one entry a validation: <unit without s>, losses, metrics
    statistics: dict[str, Any] = field(default_factory=dict)  # what else the stage has to say
    losses: list[dict[str, Any]] = field(default_factory=list)  # a Trainer's, between validations: step, loss, rate

    @property
    def best_share(self) -> float:
        """Where in the training the best state was: 0 at its beginning, 1 at its end."""
        return self.best / max(self.length, 1)

    def summary(self) -> dict[str, Any]:
        """What the manifest of a stage says of it."""
        return {self.unit: self.length, "best": self.best, f"valid_{self.metric}": self.score} | self.statistics


def warn_of_rise(name: str, first: float, last: float, knob: str, rate: float) -> dict[str, str]:
    """Of a loss that is finite and worse than at the beginning: {"warning": a line}, which is printed too."""
    if last <= first:
        return {}
    text = f"the loss ended at {last:.4g}, above the {first:.4g} that it began at; lower {knob} ({rate:g})"
    note(name, f"warning: {text}")
    return {"warning": text}


def is_trained(directory: Path) -> bool:
    return (directory / TRAINING).exists()


def is_unchanged(directory: Path) -> bool:
    """Whether the model is the one that its training began from, because no step of it was better on valid."""
    return is_trained(directory) and read_record(directory).best == 0


def write_record(record: TrainingRecord, directory: Path) -> None:
    """The weights are handed to the disk first, so that a record is never there without them."""
    flush(directory)
    write_json(directory / TRAINING, asdict(record))


def read_record(directory: Path) -> TrainingRecord:
    return read_record_of(directory / TRAINING, TrainingRecord, "train the model anew")
