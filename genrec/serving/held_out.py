"""Why a user's held-out events were missed: what `genrec analyze` found of the model that is served."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from genrec import artifacts
from genrec.artifacts import read_manifest
from genrec.diagnosis.causes import CAUSES
from genrec.errors import ArtifactError


@dataclass(frozen=True)
class HeldOutRow:
    """One event that the model did not see."""

    truth: int  # item number
    rank: int | None  # its place in the list, None where it is not listed
    missed: bool  # not among the first `top_k`
    causes: list[str]  # names of genrec.diagnosis.causes


@dataclass(frozen=True)
class HeldOut:
    """The rows of one analysis, by user."""

    split: str
    top_k: int
    rows: dict[str, list[HeldOutRow]]


@lru_cache(maxsize=8)
def read_held_out(run: Path, model: str, version: str) -> HeldOut:
    """All rows of a run's analysis, read once a version.

    ArtifactError says why there are none, or that they are of another model than the run's.
    """
    directory = run / "analysis" / model
    if read_manifest(directory) is None:
        raise ArtifactError(f"'{model}' is not analysed; run: genrec analyze --run.dir {run} --model {model}")
    evaluated, own = read_manifest(run / "evaluation" / model), read_manifest(run / model)
    if evaluated is not None and own is not None and evaluated.inputs.get(model) != own.fingerprint:
        raise ArtifactError(
            f"what is analysed of '{model}' was scored by {evaluated.inputs.get(model)}, the run holds "
            f"{own.fingerprint}; evaluate and analyse it anew"
        )
    report = artifacts.read_json(directory / artifacts.BADCASE_REPORT)
    rows: dict[str, list[HeldOutRow]] = {}
    with (directory / artifacts.EVAL_RESULTS).open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            held = HeldOutRow(row["truth"], row["rank"], row["bad_case"], row["causes"])
            rows.setdefault(str(row["user"]), []).append(held)
    return HeldOut(report["split"], report["top_k"], rows)


def say_cause(name: str) -> str:
    return CAUSES[name].says
