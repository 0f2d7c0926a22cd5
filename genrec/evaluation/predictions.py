"""Ranked lists on disk: recommendations.npz for programs, eval_results.jsonl for people, five examples for the screen.

E examples, H history, k cut-off
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from genrec.artifacts import EVAL_RESULTS, RECOMMENDATIONS, load_arrays, save_arrays, write_json_lines
from genrec.data.catalog import Catalog
from genrec.data.sequences import Examples, Sequences
from genrec.data.texts import escape_controls
from genrec.errors import ArtifactError
from genrec.evaluation.metrics import Recommendations, TargetRanks, ranks
from genrec.tables import WIDTH


def write_predictions(
    directory: Path, examples: Examples, recommendations: Recommendations, catalog: Catalog, sequences: Sequences
) -> None:
    targets = recommendations.targets
    save_arrays(
        directory / RECOMMENDATIONS,
        user=examples.user,
        history=examples.history,
        target=examples.target,
        item=recommendations.item.astype(np.int32),
        score=recommendations.score.astype(np.float32),
        **({} if targets is None else {"target_rank": targets.rank, "target_rank_exact": targets.exact}),
    )
    rank = ranks(recommendations.item, examples.target)
    lines = (
        describe_row(row, examples, recommendations, int(rank[row]), catalog, sequences) for row in range(len(examples))
    )
    write_json_lines(directory / EVAL_RESULTS, lines)


def describe_row(
    row: int, examples: Examples, recommendations: Recommendations, rank: int, catalog: Catalog, sequences: Sequences
) -> dict[str, Any]:
    """One line of eval_results.jsonl; `rank` counts from 1 there, null where the truth is not in the list."""
    history = examples.history[row][examples.history[row] >= 0].tolist()
    listed = recommendations.item[row] >= 0
    proof = {} if recommendations.exact is None else {"exact": bool(recommendations.exact[row])}
    return {
        "row": row,
        "user": str(sequences.user_id[examples.user[row]]),
        "history": history,
        "history_titles": catalog.title[history].tolist(),
        "truth": int(examples.target[row]),
        "truth_title": str(catalog.title[examples.target[row]]),
        "predictions": recommendations.item[row][listed].tolist(),
        "scores": [round(float(score), 6) for score in recommendations.score[row][listed]],
        "rank": rank + 1 if rank >= 0 else None,
        **proof,
        **describe_target(row, recommendations.targets),
    }


def describe_target(row: int, targets: TargetRanks | None) -> dict[str, Any]:
    """Where the truth stands among all items, null where no list may hold it; unproven, it stands there or further."""
    if targets is None:
        return {}
    return {"target_rank": int(targets.rank[row]) or None, "target_rank_exact": bool(targets.exact[row])}


def read_predictions(directory: Path) -> tuple[Examples, Recommendations]:
    arrays = load_arrays(directory / RECOMMENDATIONS, "user", "history", "target", "item", "score")
    examples = Examples(arrays["user"], arrays["history"], arrays["target"])
    ranked = "target_rank" in arrays
    targets = TargetRanks(arrays["target_rank"], arrays["target_rank_exact"]) if ranked else None
    recommendations = Recommendations(arrays["item"], arrays["score"], targets=targets)
    check_arrays(directory / RECOMMENDATIONS, examples, recommendations)
    return examples, recommendations


def check_arrays(path: Path, examples: Examples, recommendations: Recommendations) -> None:
    """Rows of one length, of integers, and finite scores, or ArtifactError."""
    rows, lists = examples.user.shape, recommendations.item.shape
    whole = (examples.user, examples.target, examples.history, recommendations.item)
    if (
        any(array.dtype.kind != "i" for array in whole)
        or len(rows) != 1
        or rows[0] == 0
        or examples.target.shape != rows
        or (examples.history.ndim, examples.history.shape[:1]) != (2, rows)
        or (len(lists), lists[:1]) != (2, rows)
        or recommendations.score.shape != lists
        or not np.isfinite(recommendations.score[recommendations.item >= 0]).all()
    ):
        shapes = f"rows {rows}, histories {examples.history.shape}, lists {lists}, scores {recommendations.score.shape}"
        raise ArtifactError(
            f"{path} must hold rows (E,), histories (E, H) and lists (E, k) of item numbers with finite scores; "
            f"it holds {shapes}"
        )


def show_examples(
    examples: Examples,
    recommendations: Recommendations,
    catalog: Catalog,
    sequences: Sequences,
    seed: int,
    count: int = 5,
) -> str:
    """A few users drawn by seed: their last items, what is recommended, what they took, all by title."""
    rows = np.sort(np.random.default_rng(seed).choice(len(examples), min(count, len(examples)), replace=False))
    rank = ranks(recommendations.item, examples.target)
    return "\n\n".join(show_row(row, examples, recommendations, int(rank[row]), catalog, sequences) for row in rows)


def show_row(
    row: int, examples: Examples, recommendations: Recommendations, rank: int, catalog: Catalog, sequences: Sequences
) -> str:
    history = examples.history[row][examples.history[row] >= 0]
    earlier = f"  ({len(history) - 5} earlier)" if len(history) > 5 else ""
    place = f"rank {rank + 1}" if rank >= 0 else f"not in the first {(recommendations.item[row] >= 0).sum()}"
    lines = [f"user {escape_controls(str(sequences.user_id[examples.user[row]]))}"]
    for at, item in enumerate(history[-5:]):
        lines.append(show_title("  history      ", str(catalog.title[item]), "" if at else earlier))
    for item in recommendations.item[row, :5]:
        if item >= 0:
            mark = "*" if item == examples.target[row] else " "
            lines.append(show_title(f"  recommended {mark}", str(catalog.title[item])))
    lines.append(show_title("  truth        ", str(catalog.title[examples.target[row]]), f"  ({place})"))
    return "\n".join(lines)


def show_title(before: str, title: str, after: str = "") -> str:
    """One line of the screen; a long title is cut."""
    return f"{before}{shorten(title, WIDTH - len(before) - len(after))}{after}"


def shorten(title: str, width: int) -> str:
    title = escape_controls(title)
    return title if len(title) <= width else title[: width - 1] + "…"
