"""Which run a command belongs to: one rule, the same in every command.

--run.dir DIR, or run.dir of a file        that one; {dataset} in it stands for data.dataset
--root DIR, or a model directory DIR       the run that DIR came from: it lies in one, or a record or link says
none of them                               outputs/<data.dataset>
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from genrec.artifacts import MANIFEST, read_json, read_manifest, write_json
from genrec.config import Config, value_at
from genrec.errors import ArtifactError, ConfigError
from genrec.objects import open_store
from genrec.pipeline import STAGES
from genrec.presets import Tree

RECORD = ".genrec_run.json"  # in a directory that a run's files were written to: which run, as a path from there
MODEL_KEYS = (
    "evaluation.base_model",
    "analysis.model",
    "rl.model_path",
    "export.model",
)  # may name the run by a directory of it
BY_DATASET = "the data set's name"


@dataclass(frozen=True)
class RunChoice:
    """A run directory, and by what it was chosen."""

    directory: Path
    reason: str
    given: Path | None = None  # the directory that led to it, as it was given
    lost: bool = False  # --root was given, and came from no run


def choose_run(config: Config, origins: Mapping[str, str]) -> RunChoice:
    """The run of a command line; `origins` says which keys something set."""
    if "run.dir" in origins:
        return RunChoice(config.run.dir, origins["run.dir"])
    for key in ("run.root", *MODEL_KEYS):
        place = value_at(config, key) if key in origins else None
        if place and Path(place).is_dir() and (run := find_run(Path(place), config.data.dataset)):
            return RunChoice(shorten(run), f"where {origins[key]} came from", Path(place))
    return RunChoice(config.run.dir, BY_DATASET, lost=config.run.root is not None)


def require_known_root(root: Path | None, choice: RunChoice) -> None:
    """--root names a run by a directory of its files; one that came from none says nothing to most commands."""
    if choice.lost:
        raise ConfigError(
            f"--root {root} came from no run: it lies in none and holds no {RECORD}; name the run by --run.dir DIR, or "
            f"leave --root out for {choice.directory}"
        )


def find_run(place: Path, dataset: str) -> Path | None:
    """The run that a directory came from, absolute, or None."""
    if (place / RECORD).is_file():
        return follow_record(place)
    links = sorted(path for path in place.glob(f"{dataset}.*") if path.is_symlink())
    return next((run for path in (place, *links) if (run := enclosing_run(path.resolve()))), None)


def follow_record(place: Path) -> Path:
    record = read_json(place / RECORD)
    named = record.get("run") if isinstance(record, dict) else None
    if not isinstance(named, str):
        raise ArtifactError(f"{place / RECORD} names no run (found {record!r:.80}); remove it, and pass --run.dir")
    run = Path(os.path.normpath(place.resolve() / named))
    if not run.is_dir():
        raise ArtifactError(f"{place} came from the run {run}, which is not there; pass --run.dir, or remove {RECORD}")
    return run


def enclosing_run(path: Path) -> Path | None:
    """The nearest directory around a path that holds a stage's artifact."""
    return next((parent for parent in (path, *path.parents) if is_run(parent)), None)


def is_run(directory: Path) -> bool:
    manifests = ((name, read_manifest(directory / name)) for name in STAGES if (directory / name / MANIFEST).is_file())
    return any(manifest and manifest.stage == name for name, manifest in manifests)


def record_run(place: Path, run: Path) -> None:
    """Leave in a directory, filled from a run, which run that was."""
    write_json(place / RECORD, {"run": os.path.relpath(run.resolve(), place.resolve())})


def shorten(path: Path) -> Path:
    """Below the working directory as a path from there."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def data_settings(run: Path, keys: Collection[str], remote: str | None = None) -> Tree:
    """{"data": the settings that the run's data were made with, here or at `remote`}; {} where there are none yet.

    A command that names no file takes them over, so that what was said once, to `prepare`, need not be said again.
    """
    manifest = read_manifest(run / "data") or (open_store(remote).read_manifest("data") if remote else None)
    if manifest is None:
        return {}
    own = {key: value for key, value in manifest.config.items() if key.startswith("data.") and key in keys}
    return {"data": {key.removeprefix("data."): value for key, value in own.items()}}


def place_in_run(config: Config, choice: RunChoice) -> Config:
    """The configuration in its run; RL from the run's own sft, given by its directory, is RL from the run's own sft."""
    run = config.run.model_copy(update={"dir": choice.directory})
    rl = config.rl
    if same_place(rl.model_path, choice.directory / "sft"):
        rl = rl.model_copy(update={"model_path": None})
    return config.model_copy(update={"run": run, "rl": rl})


def same_place(path: Path | str | None, place: Path) -> bool:
    return path is not None and Path(path).resolve() == place.resolve() and place.is_dir()
