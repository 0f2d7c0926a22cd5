"""The one epoch loop: train, validate, keep the best, stop early, and go on after a kill as if there had been none.

    learner.train_epoch(epoch, save)   one pass; everything random in it comes from the seed and `epoch`
    validate()                         metrics of the learner as it is, or None while there is nothing to judge
    bests                              {file stem: whether an entry beats the best so far}; patience counts by the first
    <directory>/checkpoint.safetensors the learner's state and the progress, after every validation; the one before it
                                       stands beside it until training ends, in case the newest is damaged
    <directory>/<stem>.safetensors     what is kept of the best epoch

A state within an epoch is written by calling `save`; its learner then goes on in the middle, by its own counters. A
loss, weight or metric that is no finite number ends the training before anything of it is kept.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tqdm import tqdm

from genrec.artifacts import flush_path
from genrec.errors import ArtifactError
from genrec.launch import note
from genrec.lines import Milestones
from genrec.runtime.finite import describe_not_finite, diverged
from genrec.runtime.tensor_file import (
    MODEL,
    Tensors,
    check_readable,
    checksum,
    read_state,
    select,
    write_tensors,
)

CHECKPOINT = "checkpoint.safetensors"
PREVIOUS = "checkpoint.previous.safetensors"  # the one before it, while training: where the newest is damaged
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"  # no pace, so that the metric has room
HEADER = "training"  # the key of its header, {"progress", "counters", "checksum"}

Metrics = dict[str, float]  # name -> value; an entry of the curve has "epoch" beside them
Better = Callable[[Metrics, Metrics | None], bool]  # (new entry, best entry so far) -> the new one is better


class LearnerState(NamedTuple):
    """All that the coming epochs depend on."""

    tensors: Tensors  # names begin with "model." where they are the model's weights
    counters: dict[str, Any]  # JSON values


class Learner(Protocol):
    def train_epoch(self, epoch: int, save: Callable[[], None]) -> Metrics:
        """Pass number `epoch`, from 0; mean losses by name. `save()` writes the state within the epoch."""

    def state(self) -> LearnerState: ...

    def load_state(self, state: LearnerState) -> None: ...


@dataclass
class Progress:
    """How far training is; saved with every checkpoint."""

    epoch: int = 0  # finished epochs
    stale: int = 0  # validations since the first of `bests` was last better
    best: dict[str, Metrics] = field(default_factory=dict)  # file stem -> entry; epoch 0 is the state before the first
    curve: list[Metrics] = field(default_factory=list)  # one entry a validation: epoch, losses, metrics


class Group(Protocol):
    """Processes that train one model together."""

    @property
    def first(self) -> bool: ...

    def share(self, entry: Metrics | None) -> Metrics | None:
        """What the first process passes, in all of them."""


class Alone:
    first = True

    def share(self, entry: Metrics | None) -> Metrics | None:
        return entry


def highest(metric: str) -> Better:
    """The higher value is better; of equal ones the earlier."""
    return lambda entry, best: best is None or entry[metric] > best[metric]


def fit(
    learner: Learner,
    validate: Callable[[], Metrics | None],
    epochs: int,
    patience: int,
    directory: Path,
    *,
    name: str,
    bests: dict[str, Better],
    every: int = 1,
    judge_start: bool = False,
    keep: Callable[[Path, Metrics], None] | None = None,
    after_validation: Callable[[Progress], None] | None = None,
    group: Group | None = None,
) -> Progress:
    """Train up to `epochs`, or until `patience` validations (0: without end) in a row were not better.

    Validates after every `every` epochs and the last one, with `judge_start` also before the first. `keep(path, entry)`
    writes the best state (else the model's weights are written); `after_validation` sees the progress before it is
    saved, so a kill repeats what it does. Of a group only the first process validates and writes. A finished training
    is loaded and returned.
    """
    loop = Loop(learner, validate, directory, name, bests, keep, after_validation, group or Alone())
    progress = loop.resume()
    if judge_start and progress.epoch == 0 and not progress.curve:
        loop.judge({})
    milestones = Milestones(epochs, progress.epoch)
    shown = {"desc": name, "bar_format": BAR, "disable": None if loop.group.first else True}
    with tqdm(total=epochs, initial=progress.epoch, **shown) as bar:
        while progress.epoch < epochs and not (patience and progress.stale >= patience):
            losses = learner.train_epoch(progress.epoch, loop.save)
            progress.epoch += 1
            check_numbers(name, "the loss", losses, progress.epoch)
            if progress.epoch % every == 0 or progress.epoch == epochs:
                loop.judge(losses)
                loop.save()
                if bar.disable and loop.group.first and milestones.reached(progress.epoch):
                    note(name, f"epoch {progress.epoch}/{epochs}: {progress_line(progress, next(iter(bests)))}")
                bar.set_postfix_str(describe_best(progress, next(iter(bests))), refresh=False)
            bar.update()
    if loop.group.first:
        (directory / PREVIOUS).unlink(missing_ok=True)
    return progress


@dataclass
class Loop:
    """What `fit` was called with, and where it stands."""

    learner: Learner
    validate: Callable[[], Metrics | None]
    directory: Path
    name: str
    bests: dict[str, Better]
    keep: Callable[[Path, Metrics], None] | None
    after_validation: Callable[[Progress], None] | None
    group: Group
    progress: Progress = field(default_factory=Progress)

    def resume(self) -> Progress:
        """Go on from the newest whole state; a damaged one is named, and without any training begins anew."""
        for path in (self.directory / CHECKPOINT, self.directory / PREVIOUS):
            if not path.exists():
                continue
            try:
                self.go_on_from(path)
                break
            except DamagedState as damage:
                older = path.name == CHECKPOINT and (self.directory / PREVIOUS).exists()
                note(self.name, f"{damage}; {'the state before it is tried' if older else 'training begins anew'}")
        return self.progress

    def go_on_from(self, path: Path) -> None:
        tensors, header = self.read_whole(path)
        self.learner.load_state(LearnerState(tensors, header["counters"]))
        self.progress = Progress(**header["progress"])

    def read_whole(self, path: Path) -> tuple[Tensors, dict[str, Any]]:
        try:
            tensors, header = read_state(path, HEADER)
            check_header(header, path)
            for stem in header["progress"]["best"]:
                check_readable(self.directory / f"{stem}.safetensors")
        except ArtifactError as error:
            raise DamagedState(str(error)) from None
        if (now := checksum(tensors)) != header["checksum"]:
            raise DamagedState(f"{path} is not what was written: checksum {header['checksum']} then, {now} now")
        return tensors, header

    def judge(self, losses: Metrics) -> None:
        """A validation: the curve, the best states, the patience."""
        entry = self.group.share(self.measure(losses) if self.group.first else None)
        if entry is None:
            return
        progress = self.progress
        progress.curve.append(entry)
        better = {stem: beats(entry, progress.best.get(stem)) for stem, beats in self.bests.items()}
        progress.best |= {stem: entry for stem, won in better.items() if won}
        progress.stale = 0 if better[next(iter(self.bests))] else progress.stale + 1
        if not self.group.first:
            return
        for stem in (stem for stem, won in better.items() if won):
            self.keep_best(self.directory / f"{stem}.safetensors", entry)
        if self.after_validation:
            self.after_validation(progress)

    def measure(self, losses: Metrics) -> Metrics | None:
        epoch = self.progress.epoch
        check_finite(self.name, self.learner.state().tensors, epoch)
        metrics = self.validate()
        if metrics is None:
            return None
        check_numbers(self.name, "the validation's", metrics, epoch)
        return {"epoch": epoch, **losses, **metrics}

    def keep_best(self, path: Path, entry: Metrics) -> None:
        if self.keep:
            self.keep(path, entry)
        else:
            write_tensors(path, select(MODEL, self.learner.state().tensors), HEADER, entry)

    def save(self) -> None:
        if not self.group.first:
            return
        tensors, counters = self.learner.state()
        check_finite(self.name, tensors, self.progress.epoch)
        header = {"progress": asdict(self.progress), "counters": counters, "checksum": checksum(tensors)}
        newest = self.directory / CHECKPOINT
        if newest.exists():
            os.replace(newest, self.directory / PREVIOUS)  # a kill between the two writes goes on from it
        write_tensors(newest, tensors, HEADER, header)
        flush_path(self.directory)


class DamagedState(Exception):
    """A state that cannot be gone on from, and why."""


def check_header(header: Any, path: Path) -> None:
    kinds = {"progress": dict, "counters": dict, "checksum": str}
    if not isinstance(header, dict) or any(not isinstance(header.get(key), kind) for key, kind in kinds.items()):
        raise DamagedState(f"{path} lacks {', '.join(kinds)} in its header")
    if header["progress"].keys() != asdict(Progress()).keys():
        raise DamagedState(f"{path} says of its progress {', '.join(header['progress']) or 'nothing'}")


def describe_best(progress: Progress, stem: str) -> str:
    """The last entry's last metric, as much as a bar of 80 columns has room for."""
    if not progress.curve:
        return ""
    name, value = list(progress.curve[-1].items())[-1]
    best = f", best {progress.best[stem]['epoch']}" if stem in progress.best else ""
    return f"{name} {value:.4f}{best}"


def progress_line(progress: Progress, stem: str) -> str:
    """The last entry's numbers, and after which epoch it was best."""
    if not progress.curve:
        return "nothing to judge yet"
    numbers = ", ".join(f"{name} {value:.4f}" for name, value in progress.curve[-1].items() if name != "epoch")
    return f"{numbers}, best after epoch {progress.best[stem]['epoch']}" if stem in progress.best else numbers


def check_numbers(name: str, what: str, values: Metrics, epoch: int) -> None:
    for key, value in values.items():
        if not math.isfinite(value):
            raise diverged(name, f"{what} '{key}' is {value}", f"after epoch {epoch}")


def check_finite(name: str, tensors: Tensors, epoch: int) -> None:
    if fault := describe_not_finite(tensors.items()):
        raise diverged(name, fault, f"after epoch {epoch}")
