"""The rows of the evaluation's table: an artifact each, what each is called, and which belong together.

A row is called as its family (`sft`); one of a model that is given adds the name of its directory
(`sft.baseline_model`), and one of other settings than the row of that name adds what differs (`sft.num_beams-20`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from genrec import artifacts, stage
from genrec.artifacts import read_manifest
from genrec.config import Config
from genrec.evaluation.report import read_results
from genrec.guard import Made, read_made
from genrec.pipeline import FAMILY_READS, artifact_dir, command_of, keep_word
from genrec.stage import Job


@dataclass(frozen=True)
class ScoredRow:
    name: str
    family: str
    directory: Path
    results: dict[str, Any]
    statistics: dict[str, Any]  # of the manifest
    stale: str  # the stage that was made anew since; empty where none was


def name_row(job: Job) -> Job:
    """The same job with its row's name, by what is there already."""
    asked = job.identity
    plain = replace(job, row=plain_name(job.config, job.family))
    there = read_what_made(plain)
    if there is None:
        return plain
    differing = {key: value for key, value in asked["config"].items() if there["config"].get(key) != value}
    if differing:
        words = (f"{key.rpartition('.')[2]}-{value}" for key, value in differing.items())
        return replace(job, row=".".join([plain.row, *map(keep_word, words)]))
    model = asked["inputs"].get("base_model", "")
    if there["inputs"].get("base_model", "") != model:  # another directory of the same name
        return replace(job, row=f"{plain.row}.{model[:6]}")
    return plain


def plain_name(config: Config, family: str) -> str:
    given = config.evaluation.base_model
    if given is None or "sft" not in FAMILY_READS[family]:
        return keep_word(family)
    return f"{family}.{keep_word(given.resolve().name)}"


def read_what_made(job: Job) -> Made | None:
    """What the row of this name was made with, or was begun with by a run that was killed; None where there is none."""
    if manifest := read_manifest(job.final):
        return manifest.made
    begun = job.partial / stage.BEGUN
    return read_made(begun) if begun.exists() else None


def list_rows(config: Config) -> list[ScoredRow]:
    """The finished rows of a split, in the order of the families."""
    directory = artifact_dir(config, "evaluation")
    rows = [read_row(path.parent, config) for path in directory.glob(f"*/{artifacts.MANIFEST}")]
    order = {family: place for place, family in enumerate(FAMILY_READS)}
    return sorted(rows, key=lambda row: (order.get(row.family, len(order)), row.name))


def read_row(directory: Path, config: Config) -> ScoredRow:
    manifest = artifacts.require(directory, command_of("evaluation"))
    now = {name: read_manifest(artifact_dir(config, name)) for name in manifest.inputs if name in FAMILY_INPUTS}
    stale = (name for name, other in now.items() if other and other.fingerprint != manifest.inputs[name])
    results, statistics = read_results(directory), manifest.statistics
    return ScoredRow(directory.name, manifest.config["family"], directory, results, statistics, next(stale, ""))


FAMILY_INPUTS = {"data", *(name for names in FAMILY_READS.values() for name in names)}  # stages of the run
