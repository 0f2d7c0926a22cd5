"""What an analysis starts from: the ranked lists of a model, and the exact ranking of the same rows beside them.

The lists of the run's evaluation lie in <evaluation>/<model>; those of another run are given by their directory.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from genrec.artifacts import RECOMMENDATIONS, RESULTS, read_manifest, require, sha256
from genrec.config import Analysis
from genrec.data.prepared import Prepared
from genrec.data.sequences import Examples, Past
from genrec.data.ties import mark_tied_with_previous
from genrec.diagnosis.causes import CaseLimits, Cases, number_categories
from genrec.errors import ArtifactError
from genrec.evaluation.metrics import Recommendations
from genrec.evaluation.predictions import read_predictions
from genrec.evaluation.report import mark_tail, read_results
from genrec.pipeline import command_of


def read_cases(
    directory: Path,
    results: dict[str, Any],
    data: Prepared,
    codes: np.ndarray | None,
    knobs: Analysis,
    exact: Path | None,
) -> Cases:
    """All rows of the evaluation in `directory`, its results.json read, with what the run knows of their items."""
    length = results["lists"]["length"]
    examples, recommendations = read_predictions(directory)
    check_rows_of_run(results["rows"], examples, recommendations.item, data, directory)
    split = data.splits[results["rows"]["split"]]
    if len(split) == len(examples):  # not a sample: each row's event is known
        examples = replace(examples, past=Past(data.sequences, split))
    return Cases(
        CaseLimits(knobs.top_k, min(knobs.near_miss, length), knobs.short_history, knobs.recent_items),
        examples,
        recommendations,
        data.train_count,
        mark_tail(data.train_count, knobs.tail_share),
        number_categories(data.catalog),
        codes,
        read_exact_ranking(exact, examples) if exact else None,
        mark_tied_with_previous(data.sequences)[split.end] if examples.past else None,
    )


def predictions_dir(evaluation: Path, model: str) -> Path:
    """Where the model's ranked lists lie: a directory as given, or in this run's evaluation."""
    return Path(model) if Path(model).is_dir() else evaluation / model


def require_predictions(evaluation: Path, model: str) -> Path:
    """That directory, or an error with the command that makes it."""
    directory = predictions_dir(evaluation, model)
    if read_manifest(directory):
        require(directory, command_of("evaluation"))
    if (directory / RECOMMENDATIONS).exists() and (directory / RESULTS).exists():
        return directory
    scored = sorted(path.parent.name for path in evaluation.glob(f"*/{RECOMMENDATIONS}"))
    there = f"; there are: {', '.join(scored)}" if scored else ""
    raise ArtifactError(
        f"there are no predictions of '{model}' in {directory}{there}; run: "
        f"{command_of('evaluation')} --models {model} (with your other flags)"
    )


def exact_dir(predictions: Path, given: Path | None) -> Path | None:
    """Where the same rows are ranked without a beam: as given, or the model's exact twin in the same evaluation."""
    if given:
        return given.parent if given.name == RECOMMENDATIONS else given
    family, dot, rest = predictions.name.partition(".")
    twin = predictions.with_name(f"{family}_exact{dot}{rest}")
    return twin if (twin / RECOMMENDATIONS).exists() else None


def check_list_length(length: int, knobs: Analysis, directory: Path) -> None:
    if knobs.top_k > length:
        raise ArtifactError(
            f"analysis.top_k {knobs.top_k} looks beyond the lists in {directory}, which hold {length} items; pass "
            f"--analysis.top_k {length} or less, or evaluate with at least {knobs.top_k} --evaluation.num_beams"
        )


def check_rows_of_run(
    rows: dict[str, Any], examples: Examples, lists: np.ndarray, data: Prepared, directory: Path
) -> None:
    """Every row of the predictions is a row of this run's split, over a catalogue of the same size."""
    split = data.examples(rows["split"])
    scored, own = (each.user.astype(np.int64) * rows["items"] + each.target for each in (examples, split))
    strange = int((~np.isin(scored, own)).sum())
    if strange or rows["items"] != len(data.catalog):
        raise ArtifactError(
            f"{directory} was scored on other data: {strange:,} of its {len(examples):,} rows are not in this run's "
            f"{rows['split']} split, and it ranks {rows['items']:,} items where this run has {len(data.catalog):,}; "
            "pass the --run.dir whose data it was scored on"
        )
    largest = max(int(array.max(initial=-1)) for array in (lists, examples.history))
    ordered = np.sort(lists, axis=1)
    twice = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1)
    if largest >= rows["items"] or twice.any():
        raise ArtifactError(
            f"{directory} ranks item {largest} of {rows['items']:,}, and {twice.sum():,} lists name an item twice; "
            f"it is no evaluation of this program, make it anew: {command_of('evaluation')} --clean"
        )


def read_exact_ranking(directory: Path, examples: Examples) -> Recommendations:
    """The exact ranking of the same rows."""
    rows, exact = read_predictions(directory)
    if not (np.array_equal(rows.user, examples.user) and np.array_equal(rows.target, examples.target)):
        raise ArtifactError(
            f"analysis.exact {directory} ranks {len(rows):,} other rows than the {len(examples):,} analysed; "
            "evaluate both with the same split, limit and seed"
        )
    return exact


def fingerprint_inputs(evaluation: Path, knobs: Analysis) -> dict[str, str]:
    """Hashes of the ranked lists, as far as they exist; an error where they cannot be analysed as asked."""
    directory = predictions_dir(evaluation, knobs.model)
    if evaluation.exists() or directory.exists():
        require_predictions(evaluation, knobs.model)
        check_list_length(read_results(directory)["lists"]["length"], knobs, directory)
    files = {"predictions": directory / RECOMMENDATIONS}
    if exact := exact_dir(directory, knobs.exact):
        files["exact"] = exact / RECOMMENDATIONS
    return {name: sha256(path)[:16] for name, path in files.items() if path.exists()}
