"""What a model scored on which rows: scores and slices by example; means, intervals, tables, results.json from those.

E examples, U users, M metrics, B resamples, N items
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from genrec.artifacts import PER_EXAMPLE, RESULTS, load_arrays, read_json, save_arrays, write_json
from genrec.config import Analysis
from genrec.data.catalog import Catalog, pick_categories
from genrec.data.repeats import mark_repeated_targets
from genrec.data.sequences import Examples, Sequences
from genrec.errors import ArtifactError
from genrec.evaluation.metrics import (
    CUTOFFS,
    GAINS,
    MISSED,
    ListSettings,
    Recommendations,
    beyond_accuracy,
    cutoffs_within,
    item_scores,
    own_scores,
    ranks,
    sid_scores,
)
from genrec.pipeline import command_of
from genrec.tables import render_table

RESAMPLES = 2000
LEVEL = 0.95
TAIL_SHARE, SHORT_HISTORY = Analysis().tail_share, Analysis().short_history  # fixed, so that reports can be compared
HEADLINE_CUTOFF = 10
REPEATS = "repeat purchase"  # the slice of targets that the user had before
MIN_ROWS = 30  # with fewer rows a slice shows their number, and nothing is claimed of it


@dataclass(frozen=True)
class ScoredRows:
    """Which held-out rows were scored; two reports can be compared when these are equal."""

    fingerprint: str
    split: str
    rows: int
    rows_of_split: int
    users: int
    items: int


@dataclass(frozen=True)
class Report:
    """Scores come one an example; everything else is derived from them."""

    model: str
    rows: ScoredRows
    user: np.ndarray  # (E,) int32
    scores: dict[str, np.ndarray]  # {"ndcg@10": (E,) float, "sid_ndcg@10": ... where SIDs collide}
    slices: dict[str, np.ndarray]  # {"tail target": (E,) bool}
    beyond: dict[str, float]  # {"coverage@10": 0.3, ...}
    lists: ListSettings


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% interval; NaN where there are no rows, or one user, of whom no interval can be drawn."""

    mean: float
    low: float
    high: float


def describe_rows(
    examples: Examples, catalog: Catalog, sequences: Sequences, split: str, rows_of_split: int
) -> ScoredRows:
    """The fingerprint covers the catalogue and each row's user and target by the shop's own ids, in order.

    Histories are left out on purpose: a model that looks further back answers the same questions.
    """
    digest = hashlib.sha256()
    for ids in (catalog.item_id, sequences.user_id[examples.user], catalog.item_id[examples.target]):
        digest.update("\n".join(ids).encode() + b"\0")
    users = len(np.unique(examples.user))
    return ScoredRows(digest.hexdigest()[:16], split, len(examples), rows_of_split, users, len(catalog))


def estimate_means(user: np.ndarray, scores: dict[str, np.ndarray], seed: int) -> dict[str, Estimate]:
    """Mean and interval of scores in 0..1: a bootstrap of users with all their rows; exact where all rows are alike."""
    values, users = np.stack(list(scores.values()), axis=1), len(np.unique(user))  # (E, M)
    estimates = estimate_ratios(user, values, np.ones_like(values), seed)
    return {
        name: bound_unanimous(estimate, column, users)
        for name, estimate, column in zip(scores, estimates, values.T, strict=True)
    }


def estimate_slice(user: np.ndarray, scores: dict[str, np.ndarray], seed: int) -> dict[str, Estimate]:
    """The same of a slice; fewer than MIN_ROWS rows have no interval."""
    estimates = estimate_means(user, scores, seed)
    if len(user) >= MIN_ROWS:
        return estimates
    return {name: Estimate(estimate.mean, np.nan, np.nan) for name, estimate in estimates.items()}


def bound_unanimous(estimate: Estimate, values: np.ndarray, users: int) -> Estimate:
    """Clopper-Pearson where every row scores 0, or every row 1: resamples of them do not differ.

    Of U users none (all) has it: the interval ends at 1 - (alpha/2)^(1/U) (begins at (alpha/2)^(1/U)), alpha = 0.05.
    A user counts once, since rows of one user hang together. It also bounds a score in 0..1 that is no share: its mean
    is at most the share of rows above 0, and at least the share of rows at 1.
    """
    if users < 2 or not ((values == 0).all() or (values == 1).all()):
        return estimate
    edge = ((1 - LEVEL) / 2) ** (1 / users)
    return Estimate(1.0, edge, 1.0) if values[0] == 1 else Estimate(0.0, 0.0, 1 - edge)


def estimate_ratios(user: np.ndarray, values: np.ndarray, weights: np.ndarray, seed: int) -> list[Estimate]:
    """Each column's sum(values * weights) / sum(weights), with percentile intervals; (E, M), (E, M) -> M estimates.

    No interval from a column in which one user alone has weight.
    """
    draws = draw_ratios(user, values, weights, seed)  # (B, M)
    users = (sum_by_user(user, weights) > 0).sum(axis=0)  # (M,)
    edges = (1 - LEVEL) / 2, (1 + LEVEL) / 2
    mean = divide_or_nan((values * weights).sum(axis=0), weights.sum(axis=0))
    results = []
    for column in range(values.shape[1]):
        column_draws = draws[~np.isnan(draws[:, column]), column]
        low, high = np.quantile(column_draws, edges) if users[column] > 1 else (np.nan, np.nan)
        results.append(Estimate(float(mean[column]), float(low), float(high)))
    return results


def draw_ratios(user: np.ndarray, values: np.ndarray, weights: np.ndarray, seed: int) -> np.ndarray:
    """The same ratio under RESAMPLES draws of users with replacement, (B, M); NaN where a draw has no weight.

    Rows are summed by user first, so a draw is one product with the number of times each user was drawn.
    """
    top, bottom = sum_by_user(user, values * weights), sum_by_user(user, weights)  # (U, M)
    random = np.random.default_rng(seed)
    return np.concatenate(
        [divide_or_nan(times @ top, times @ bottom) for times in count_draws(random, len(top), RESAMPLES, chunk=100)]
    )


def sum_by_user(user: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(E,), (E, M) -> (U, M), U the users that occur."""
    _, cluster = np.unique(user, return_inverse=True)
    summed = np.zeros((cluster.max(initial=-1) + 1, values.shape[1]))
    np.add.at(summed, cluster, values)
    return summed


def count_draws(random: np.random.Generator, num_users: int, resamples: int, chunk: int):
    """Blocks of (chunk, U): how often each user was drawn in each resample."""
    for begin in range(0, resamples, chunk):
        size = min(chunk, resamples - begin)
        places = random.integers(max(num_users, 1), size=(size, num_users)) + num_users * np.arange(size)[:, None]
        yield np.bincount(places.reshape(-1), minlength=size * num_users).reshape(size, num_users).astype(float)


def divide_or_nan(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """top / bottom, NaN where bottom is 0."""
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)


def make_slices(examples: Examples, catalog: Catalog, train_count: np.ndarray) -> dict[str, np.ndarray]:
    """{name: (E,) bool}. A row may be in several slices or none."""
    target, history = examples.target, examples.history
    return {
        "cold target": train_count[target] == 0,
        "tail target": mark_tail(train_count)[target] & (train_count[target] > 0),
        "short history": (history >= 0).sum(axis=1) <= SHORT_HISTORY,
        REPEATS: mark_repeated_targets(examples),
        **make_category_slices(target, catalog),
    }


def mark_tail(train_count: np.ndarray, share: float = TAIL_SHARE) -> np.ndarray:
    """(N,) bool: the rarest items that together hold this share of all training events."""
    order = np.argsort(train_count, kind="stable")
    held = np.cumsum(train_count[order])
    tail = np.zeros(len(train_count), dtype=bool)
    tail[order] = held <= share * held[-1]
    return tail


def make_category_slices(target: np.ndarray, catalog: Catalog, largest: int = 5) -> dict[str, np.ndarray]:
    """The targets' most frequent categories, taken at the coarsest level that tells items apart."""
    category = pick_categories(catalog.categories)[target]  # (E,)
    names, counts = np.unique(category[category != ""], return_counts=True)
    chosen = names[np.argsort(-counts, kind="stable")[:largest]]
    return {f"category: {name}": category == name for name in chosen}


def make_report(
    model: str,
    rows: ScoredRows,
    examples: Examples,
    recommendations: Recommendations,
    slices: dict[str, np.ndarray],
    train_count: np.ndarray,
    lists: ListSettings,
    item_to_sid: np.ndarray | None = None,
    metrics: Sequence[str] = (),
) -> Report:
    """Scores by item, and by SID beside them where items share one; item_to_sid (N,) numbers the SIDs.

    No score beyond the lists' length.
    """
    cutoffs = cutoffs_within(lists.length)
    scores = item_scores(recommendations, examples.target, item_to_sid, cutoffs)
    if item_to_sid is not None and item_to_sid.max() + 1 < len(item_to_sid):
        scores |= sid_scores(recommendations, examples.target, item_to_sid, cutoffs)
    for name in metrics:
        scores |= own_scores(name, ranks(recommendations.item, examples.target), cutoffs)
    beyond = beyond_accuracy(recommendations, examples.target, train_count, min(HEADLINE_CUTOFF, lists.length))
    return Report(model, rows, examples.user, scores, slices, beyond, lists)


def measure_beam_loss(
    examples: Examples, beams: Recommendations, exact: Recommendations, length: int, seed: int
) -> dict[str, Any]:
    """Targets that stand in the exact top k but not in that of the beams: {"rows": E, "@10": {"lost": n, "mean": ..}}.

    `mean` is their share of all rows; HR@k of the beams is HR@k of the exact ranking less that, plus what stands in the
    beams' top k only because better items were lost. No k is beyond the beams' lists of `length` items.
    """
    return count_lost(examples, beams, ranks(exact.item, examples.target), length, seed)


def measure_certified_loss(examples: Examples, beams: Recommendations, length: int, seed: int) -> dict[str, Any]:
    """The same by the proven ranks of targets; `undecided` counts rows whose target may stand in the top `length`."""
    targets = beams.targets
    if targets is None:
        raise ValueError("these lists say nothing of where their targets stand")
    undecided = ~targets.exact & (targets.rank > 0) & (targets.rank <= length)
    proven = np.where(targets.exact, targets.rank - 1, MISSED)
    return count_lost(examples, beams, proven, length, seed) | {"undecided": int(undecided.sum())}


def count_lost(examples: Examples, beams: Recommendations, rank: np.ndarray, length: int, seed: int) -> dict[str, Any]:
    """`rank` (E,) is each target's place from 0 among all items, MISSED where it is in no exact list."""
    cutoffs, found = cutoffs_within(length), ranks(beams.item, examples.target)
    inside = {name: {k: (at >= 0) & (at < k) for k in cutoffs} for name, at in (("beams", found), ("exact", rank))}
    lost = {f"@{k}": (inside["exact"][k] & ~inside["beams"][k]).astype(float) for k in cutoffs}
    shares = estimate_means(examples.user, lost, seed)
    return {"rows": len(examples)} | {k: {"lost": int(lost[k].sum()), **estimate_to_json(shares[k])} for k in lost}


def describe_beam_loss(model: str, loss: dict[str, Any]) -> str:
    parts = []
    longest = max(int(name[1:]) for name in loss if name.startswith("@"))
    for k in dict.fromkeys((f"@{min(HEADLINE_CUTOFF, longest)}", f"@{longest}")):
        share = f"{loss[k]['mean']:.2%} {format_bounds(loss[k], '.2%')}"
        parts.append(f"{loss[k]['lost']:,} of the exact top {k[1:]} ({share})")
    undecided = f"; {loss['undecided']:,} more may be, their ranks are not proven" if loss.get("undecided") else ""
    return f"beam loss of '{model}' in {loss['rows']:,} rows: targets {', '.join(parts)}{undecided}"


# On disk: results.json for people and tools, per_example.npz beside it for everything that is derived later.


def write_report(report: Report, directory: Path, seed: int) -> None:
    save_arrays(
        directory / PER_EXAMPLE,
        user=report.user.astype(np.int32),
        score_name=np.array(list(report.scores)),
        score=np.stack(list(report.scores.values()), axis=1).astype(np.float32),
        slice_name=np.array(list(report.slices)),
        slice=np.stack(list(report.slices.values()), axis=1),
    )
    write_json(directory / RESULTS, summarize_report(report, seed))


def read_report(directory: Path) -> Report:
    """The report of one model's evaluation directory."""
    content, arrays = (
        read_results(directory),
        load_arrays(directory / PER_EXAMPLE, "user", "score_name", "score", "slice_name", "slice"),
    )
    check_score_arrays(directory / PER_EXAMPLE, arrays)
    scores = dict(zip(arrays["score_name"].tolist(), arrays["score"].T.astype(float), strict=True))
    slices = dict(zip(arrays["slice_name"].tolist(), arrays["slice"].T, strict=True))
    rows, lists = ScoredRows(**content["rows"]), ListSettings(**content["lists"])
    if rows.rows != len(arrays["user"]):
        raise ArtifactError(
            f"{directory / RESULTS} tells of {rows.rows:,} rows, {PER_EXAMPLE} beside it has {len(arrays['user']):,}; "
            f"make both anew: {command_of('evaluation')} --clean"
        )
    return Report(content["model"], rows, arrays["user"], scores, slices, content["beyond_accuracy"], lists)


def check_score_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """A row an example, a column a name, or ArtifactError."""
    for kind, values in (("score", "f"), ("slice", "b")):
        array, names = arrays[kind], arrays[f"{kind}_name"]
        expected = (*arrays["user"].shape, *names.shape)
        if array.ndim != 2 or array.shape != expected or array.dtype.kind != values or names.dtype.kind != "U":
            raise ArtifactError(
                f"{path}: {kind} is {array.dtype} {array.shape}, where user and {kind}_name tell of {expected}; "
                f"score the model anew: {command_of('evaluation')} --clean"
            )


def summarize_report(report: Report, seed: int) -> dict[str, Any]:
    """The content of results.json."""
    return {
        "model": report.model,
        "rows": asdict(report.rows),
        "lists": asdict(report.lists),
        "interval": {"level": LEVEL, "resamples": RESAMPLES, "clusters": "user", "seed": seed},
        "metrics": {
            name: estimate_to_json(estimate)
            for name, estimate in estimate_means(report.user, report.scores, seed).items()
        },
        "beyond_accuracy": {name: round(value, 6) for name, value in report.beyond.items()},
        "slices": summarize_slices(report, seed),
    } | count_repeats(report)


def count_repeats(report: Report) -> dict[str, Any]:
    """How many targets the user had before: where lists leave those items out, none of them can be hit."""
    if REPEATS not in report.slices:
        return {}
    repeats = report.slices[REPEATS]
    return {"targets_that_repeat": {"rows": int(repeats.sum()), "share": round(float(repeats.mean()), 6)}}


def summarize_slices(report: Report, seed: int) -> dict[str, Any]:
    content, k = {}, min(HEADLINE_CUTOFF, report.lists.length)
    for name, inside in report.slices.items():
        scores = {metric: report.scores[metric][inside] for metric in (f"hr@{k}", f"ndcg@{k}")}
        content[name] = {"rows": int(inside.sum()), "share": round(float(inside.mean()), 6)}
        content[name] |= {
            m: estimate_to_json(value) for m, value in estimate_slice(report.user[inside], scores, seed).items()
        }
    return content


def estimate_to_json(estimate: Estimate) -> dict[str, float | None]:
    """For JSON, which has no NaN."""
    return {name: None if np.isnan(value) else round(value, 6) for name, value in asdict(estimate).items()}


def read_results(directory: Path) -> dict[str, Any]:
    """The results.json of one model's evaluation directory."""
    path = directory / RESULTS
    if not path.exists():
        raise ArtifactError(f"{path} cannot be read: there is no such file; `{command_of('evaluation')}` writes it")
    content = read_json(path)
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} is not the results.json of one model: it holds {type(content).__name__}")
    if missing := {"model", "rows", "metrics", "beyond_accuracy"} - set(content):
        raise ArtifactError(f"{path} is not the results.json of one model: it has no '{sorted(missing)[0]}'")
    if "lists" not in content:
        raise ArtifactError(
            f"{path} does not say how long its lists are, so its metrics may go beyond them; "
            f"score the model anew: {command_of('evaluation')} --clean"
        )
    try:
        TypeAdapter(ScoredRows).validate_python(content["rows"])
        TypeAdapter(ListSettings).validate_python(content["lists"])
        TypeAdapter(dict[str, dict[str, float | None]]).validate_python(content["metrics"])
        TypeAdapter(dict[str, float | None]).validate_python(content["beyond_accuracy"])
    except ValidationError as error:
        fault = f"{'.'.join(map(str, error.errors()[0]['loc']))}: {error.errors()[0]['msg']}"
        raise ArtifactError(f"{path} is not the results.json of one model ({fault})") from None
    if not isinstance(content["model"], str):
        raise ArtifactError(f"{path} is not the results.json of one model: its model is {content['model']!r:.80}")
    return content


def make_table(contents: list[dict[str, Any]]) -> str:
    """One row a results.json: HR@5, HR@10, NDCG@10 with interval, MRR; SID-level numbers beside where SIDs collide.

    MRR goes as far as all lists do. What a row does not have is "-", and a line below says why.
    """
    sid_level = any("sid_hr@10" in content["metrics"] for content in contents)
    furthest = max(k for k in range(1, max(CUTOFFS) + 1) if all(f"mrr@{k}" in each["metrics"] for each in contents))
    scored = [describe_scored(content["rows"]) for content in contents]
    columns = ["model", "HR@5", "HR@10", "NDCG@10  [95% interval]", f"MRR@{furthest}"]
    own = list_own_metrics(contents)
    rows = [columns + (["SID HR@10", "SID NDCG@10"] if sid_level else []) + own]
    rows += [
        [*make_table_row(content, sid_level, f"mrr@{furthest}"), *(show_mean(content, name) for name in own)]
        for content in contents
    ]
    if len(set(scored)) > 1:
        rows = [[*row, cell] for row, cell in zip(rows, ["rows", *scored], strict=True)]
        return "\n".join([render_table(rows), *make_table_notes(contents)])
    return "\n".join([render_table(rows), f"rows: {scored[0]}", *make_table_notes(contents)])


def list_own_metrics(contents: list[dict[str, Any]]) -> list[str]:
    """Metrics at 10 beside ours, of any row."""
    names = dict.fromkeys(name for content in contents for name in content["metrics"])
    ours = {*GAINS, *(f"sid_{name}" for name in GAINS)}
    return [name for name in names if name.endswith(f"@{HEADLINE_CUTOFF}") and name.partition("@")[0] not in ours]


def show_mean(content: dict[str, Any], name: str) -> str:
    return f"{content['metrics'][name]['mean']:.4f}" if name in content["metrics"] else "-"


def describe_scored(rows: dict[str, Any]) -> str:
    """ "659 (100% of test)"."""
    return f"{rows['rows']:,} ({rows['rows'] / rows['rows_of_split']:.0%} of {rows['split']})"


def make_table_row(content: dict[str, Any], sid_level: bool, mrr: str) -> list[str]:
    metrics = content["metrics"]

    def mean(name: str) -> str:
        return f"{metrics[name]['mean']:.4f}" if name in metrics else "-"

    ndcg = f"{mean('ndcg@10')}  {format_bounds(metrics['ndcg@10'], '.4f')}" if "ndcg@10" in metrics else "-"
    cells = [content["model"], mean("hr@5"), mean("hr@10"), ndcg, mean(mrr)]
    if not sid_level:
        return cells
    same = "" if content["lists"]["length"] >= HEADLINE_CUTOFF else "-"  # an own SID an item needs no number beside
    return cells + [mean(name) if name in metrics else same for name in ("sid_hr@10", "sid_ndcg@10")]


def make_table_notes(contents: list[dict[str, Any]]) -> list[str]:
    """Why a table has gaps, or stops short of the longest list."""
    short: dict[str, list[str]] = {}
    for each in contents:
        if each["lists"]["length"] < max(CUTOFFS):
            short.setdefault(f"end at {each['lists']['length']} items{name_beams(each)}", []).append(each["model"])
    notes = [f"lists of {', '.join(map(repr, models))} {where}" for where, models in short.items()]
    one_user = [each["model"] for each in contents if each["rows"]["users"] < 2]
    notes += describe_seen_items(contents)
    return notes + ([f"no interval of {', '.join(one_user)}: all rows are of one user"] if one_user else [])


def describe_seen_items(contents: list[dict[str, Any]]) -> list[str]:
    """Whether lists hold what the user had before, and how many targets that concerns; a line a difference."""
    lines: dict[str, list[str]] = {}
    for content in contents:
        left_out, repeats = content["lists"]["filter_seen"], content.get("targets_that_repeat")
        line = f"lists {'leave out' if left_out else 'may hold'} what the user had before"
        if repeats:
            line += f"; {count_targets(repeats)}{' and can never be hit' if left_out and repeats['rows'] else ''}"
        lines.setdefault(line, []).append(content["model"])
    if len(lines) == 1:
        return list(lines)
    return [f"{', '.join(models)}: {line}" for line, models in lines.items()]


def count_targets(repeats: dict[str, Any]) -> str:
    if not repeats["rows"]:
        return "no target is such an item"
    return f"{repeats['rows']:,} targets ({repeats['share']:.1%}) are such items"


def name_beams(content: dict[str, Any]) -> str:
    beams = content["lists"]["num_beams"]
    return f", by {beams} beams" if beams is not None and beams == content["lists"]["length"] else ""


def format_bounds(estimate: dict[str, Any], form: str) -> str:
    """ "[0.1, 0.3]", or "-" where there is no interval."""
    if estimate["low"] is None:
        return "-"
    return f"[{estimate['low']:{form}}, {estimate['high']:{form}}]"
