"""Two models on the same rows: paired differences by user, with intervals and p-values of one randomisation test.

E examples, U users, M metrics, R rounds
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from genrec.data.texts import escape_controls
from genrec.errors import ArtifactError
from genrec.evaluation.metrics import CUTOFFS, ListSettings
from genrec.evaluation.report import (
    HEADLINE_CUTOFF,
    LEVEL,
    MIN_ROWS,
    Estimate,
    Report,
    estimate_to_json,
    sum_by_user,
)
from genrec.tables import render_table

ROUNDS = 10_000
METRICS = ("hr@1", "hr@5", "hr@10", "hr@20", "ndcg@5", "ndcg@10", "ndcg@20", "mrr@10")
TIE = 1e-9  # summed scores of equal lists may differ by rounding


@dataclass(frozen=True)
class Difference:
    """One metric on one set of rows: optimized minus baseline."""

    metric: str
    rows: int
    baseline: float
    optimized: float
    difference: Estimate
    p_value: float  # two-sided, that the two models' names could be swapped user by user
    wins: int  # users for whom the optimized model scores higher
    ties: int
    losses: int


@dataclass(frozen=True)
class Comparison:
    baseline: str  # where each came from
    optimized: str
    fingerprint: str
    lists: tuple[ListSettings, ListSettings]  # the baseline's first
    headline: str  # the metric that decides
    overall: list[Difference]
    slices: dict[str, list[Difference]]
    small_slices: dict[str, int]  # rows of those with too few to claim anything


def compare_reports(baseline: Report, optimized: Report, names: tuple[str, str], seed: int) -> Comparison:
    """Every metric that both lists reach over all rows, and two of them a slice; slices are the baseline's."""
    k = shared_cutoff(baseline, optimized)
    whole = measure_all_rows(baseline, optimized, names, list_shared_metrics(baseline, optimized, k), seed)
    rows = {name: int(inside.sum()) for name, inside in baseline.slices.items() if inside.any()}
    return Comparison(
        *names,
        baseline.rows.fingerprint,
        (baseline.lists, optimized.lists),
        f"ndcg@{k}",
        whole,
        {
            name: measure_differences(baseline, optimized, (f"hr@{k}", f"ndcg@{k}"), baseline.slices[name], seed)
            for name, count in rows.items()
            if count >= MIN_ROWS
        },
        {name: count for name, count in rows.items() if count < MIN_ROWS},
    )


def measure_all_rows(
    baseline: Report, optimized: Report, names: tuple[str, str], metrics: tuple[str, ...], seed: int
) -> list[Difference]:
    """One Difference a metric over all rows, which must be the same ones."""
    check_same_rows(baseline, optimized, names)
    everything = np.ones(len(baseline.user), dtype=bool)
    return measure_differences(baseline, optimized, metrics, everything, seed)


def shared_cutoff(baseline: Report, optimized: Report) -> int:
    """The k of the metrics that decide: 10, or as far as both lists go."""
    shared = baseline.scores.keys() & optimized.scores.keys()
    return max(k for k in range(1, HEADLINE_CUTOFF + 1) if f"ndcg@{k}" in shared)


def list_shared_metrics(baseline: Report, optimized: Report, k: int) -> tuple[str, ...]:
    """METRICS as far as both lists go, and always those at k."""
    shared = baseline.scores.keys() & optimized.scores.keys()
    names = METRICS if k in CUTOFFS else (*METRICS, f"hr@{k}", f"ndcg@{k}")
    return tuple(name for name in names if name in shared)


def check_same_rows(baseline: Report, optimized: Report, names: tuple[str, str]) -> None:
    """The same rows of the same split, and the same of them of one user."""
    one, other = (
        f"{name} has test set {r.rows.fingerprint} ({r.rows.rows:,} {r.rows.split} rows, {r.rows.items:,} items)"
        for name, r in zip(names, (baseline, optimized), strict=True)
    )
    same = ("fingerprint", "split", "rows", "items")
    if any(getattr(baseline.rows, name) != getattr(optimized.rows, name) for name in same):
        raise ArtifactError(
            f"the two runs answer different questions: {one}, {other}; "
            "evaluate both on the same data, split, --limit and --run.seed"
        )
    first, second = (number_by_appearance(each.user) for each in (baseline, optimized))
    if not np.array_equal(first, second):
        row = int((first != second).argmax())
        one, other = (f"user {r.user[row]} in {name}" for name, r in zip(names, (baseline, optimized), strict=True))
        raise ArtifactError(
            f"the two runs group their rows by other users, row {row:,} first: {one}, {other}; evaluate both on the "
            "same data"
        )


def number_by_appearance(user: np.ndarray) -> np.ndarray:
    """(E,) -> (E,) users numbered 0, 1, ... as they appear, whatever numbers a run gave them."""
    _, first, number = np.unique(user, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number]


def measure_differences(
    baseline: Report, optimized: Report, metrics: tuple[str, ...], inside: np.ndarray, seed: int
) -> list[Difference]:
    """One Difference a metric over the rows `inside` (E,) bool."""
    user = baseline.user[inside]
    before = np.stack([baseline.scores[name][inside] for name in metrics], axis=1)  # (E, M)
    after = np.stack([optimized.scores[name][inside] for name in metrics], axis=1)
    by_user = sum_by_user(user, after - before)  # (U, M)
    rows_of_user = sum_by_user(user, np.ones((len(user), 1)))[:, 0]
    halves = draw_halves(by_user, rows_of_user, seed)
    intervals, p_values = estimate_intervals(by_user, rows_of_user, halves), find_p_values(halves)
    return [
        Difference(
            metric=name,
            rows=len(user),
            baseline=float(before[:, m].mean()),
            optimized=float(after[:, m].mean()),
            difference=intervals[m],
            p_value=float(p_values[m]),
            wins=int((by_user[:, m] > TIE).sum()),
            ties=int((np.abs(by_user[:, m]) <= TIE).sum()),
            losses=int((by_user[:, m] < -TIE).sum()),
        )
        for m, name in enumerate(metrics)
    ]


@dataclass(frozen=True)
class Halves:
    """R random halves of the users (each in it or not by a coin) and, one for one, the users outside them."""

    inside: np.ndarray  # (R, M) summed differences
    outside: np.ndarray
    rows_inside: np.ndarray  # (R,)
    rows_outside: np.ndarray


def draw_halves(by_user: np.ndarray, rows_of_user: np.ndarray, seed: int, chunk: int = 500) -> Halves:
    """(U, M) summed differences and (U,) rows -> their sums over random halves of the users.

    Users without any difference count by their rows alone, so of those with equal rows only the number is drawn.
    """
    decisive = (np.abs(by_user) > TIE).any(axis=1)
    values = np.column_stack([by_user, rows_of_user])[decisive]
    random, sums = np.random.default_rng(seed), []
    for begin in range(0, ROUNDS, chunk):
        size = min(chunk, ROUNDS - begin)
        sums.append(random.integers(0, 2, size=(size, len(values)), dtype=np.int8).astype(np.float32) @ values)
    inside = np.concatenate(sums)
    for rows, users in zip(*np.unique(rows_of_user[~decisive], return_counts=True), strict=True):
        inside[:, -1] += rows * random.binomial(users, 0.5, size=ROUNDS)
    whole = np.append(by_user[decisive].sum(axis=0), rows_of_user.sum())
    outside = whole - inside
    for sums_of_half in (inside, outside):
        sums_of_half[np.abs(sums_of_half) <= TIE] = 0.0
    return Halves(inside[:, :-1], outside[:, :-1], inside[:, -1], outside[:, -1])


def find_p_values(halves: Halves) -> np.ndarray:
    """(M,) the share of random sign flips, a user at a time, that come at least as far from zero.

    p = (1 + #{rounds: |sum_u s_u d_u| >= |sum_u d_u|}) / (1 + ROUNDS), s_u = -1 or 1. With S the users whose sign
    stays, the sum of a round is d(S) - d(not S), so it comes as far exactly when d(S) or d(not S) is 0 or has the other
    sign than the whole.
    """
    against = np.where(halves.inside + halves.outside < 0, -1, 1)
    as_far = (against * halves.inside <= 0) | (against * halves.outside <= 0)
    return (1 + as_far.sum(axis=0)) / (1 + ROUNDS)


def estimate_intervals(by_user: np.ndarray, rows_of_user: np.ndarray, halves: Halves) -> list[Estimate]:
    """The mean difference a row, and all differences that the same test does not reject at 5%.

    A difference of delta a row is tested on d_u - delta n_u, n_u the user's rows: a half S counts against it when its
    own mean d(S) / n(S) is at most delta (for the upper end: at least). So the ends are quantiles of the means of
    random halves (Hartigan 1969, "Using subsample values as typical values"), and they exclude zero exactly when
    p <= 0.05. Of fewer than six users empty halves alone are too many: no interval.
    """
    sums, rows = np.concatenate([halves.inside, halves.outside]), np.append(halves.rows_inside, halves.rows_outside)
    place = int((1 - LEVEL) * (1 + ROUNDS) + TIE) - 1  # of the halves in order: p <= 0.05 while no more count against
    ends = []
    for sign in (1, -1):
        means = np.where(rows[:, None] > 0, sign * sums / np.maximum(rows, 1)[:, None], -np.inf)  # (2R, M)
        ends.append(sign * np.partition(means, place, axis=0)[place])
    low, high = (np.where(np.isfinite(end), end, np.nan) for end in ends)
    mean = by_user.sum(axis=0) / rows_of_user.sum()
    return [Estimate(*map(float, each)) for each in zip(mean, low, high, strict=True)]


def comparison_to_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "baseline": comparison.baseline,
        "optimized": comparison.optimized,
        "test_set": comparison.fingerprint,
        "lists": dict(zip(("baseline", "optimized"), map(asdict, comparison.lists), strict=True)),
        "rounds": ROUNDS,
        "verdict": make_verdict(comparison),
        "overall": differences_to_json(comparison.overall),
        "slices": {name: differences_to_json(differences) for name, differences in comparison.slices.items()},
        "too_few_rows": comparison.small_slices,
    }


def differences_to_json(differences: list[Difference]) -> list[dict[str, Any]]:
    return [asdict(each) | {"difference": estimate_to_json(each.difference)} for each in differences]


def make_verdict(comparison: Comparison) -> str:
    """One sentence on the headline metric."""
    headline = next(each for each in comparison.overall if each.metric == comparison.headline)
    change, numbers = headline.difference, f"{headline.metric} {format_change(headline)}, p = {headline.p_value:.4f}"
    if change.low > 0:
        return f"optimized is better: {numbers}"
    if change.high < 0:
        return f"optimized is worse: {numbers}"
    return f"no difference shown: {numbers}"


def format_change(difference: Difference) -> str:
    """ "+0.0123 [+0.0050, +0.0200]", or with "-" where there are too few users for an interval."""
    change = difference.difference
    bounds = "-" if np.isnan(change.low) else f"[{change.low:+.4f}, {change.high:+.4f}]"
    return f"{change.mean:+.4f} {bounds}"


def describe_comparison(comparison: Comparison) -> str:
    """What was compared, one table over all rows and one a metric by slice, the verdict."""
    overall = [["metric", *HEADER]] + [[each.metric, *make_cells(each)] for each in comparison.overall]
    tables = [render_table(overall), *describe_slices(comparison)]
    tables[-1] = "\n".join([tables[-1], *make_notes(comparison)])
    return "\n\n".join([describe_sides(comparison), *tables, make_verdict(comparison)]) + "\n"


def describe_against_first(comparisons: list[Comparison]) -> str:
    """Several models, each against the same first one, on the metric that decides; p-values are of each pair alone."""
    first = comparisons[0]
    names = strip_common_path([first.baseline, *(each.optimized for each in comparisons)])
    headlines = [next(each for each in side.overall if each.metric == side.headline) for side in comparisons]
    rows = [["model", first.headline.upper(), *HEADER[2:4]], [names[0], f"{headlines[0].baseline:.4f}", "-", "-"]]
    for name, each in zip(names[1:], headlines, strict=True):
        rows.append([name, f"{each.optimized:.4f}", format_change(each), f"{each.p_value:.4f}"])
    counts = f"{headlines[0].rows:,} rows, {len(comparisons)} tests, none corrected"
    return f"each against {first.baseline}\n\n{render_table(rows)}\n{counts}\n"


def strip_common_path(names: list[str]) -> list[str]:
    """Paths without the directories that all of them begin with."""
    common = os.path.commonpath([os.path.dirname(name) for name in names])
    return [os.path.relpath(name, common) if common else name for name in names]


def describe_slices(comparison: Comparison) -> list[str]:
    """A table a metric. Users and p-values are left to the JSON file: an interval excludes 0 exactly when p <= 0.05."""
    shown = [each for differences in comparison.slices.values() for each in differences]
    few = [[name, f"{rows:,}", "-", "-", "-"] for name, rows in comparison.small_slices.items()]
    metrics = list(dict.fromkeys(each.metric for each in shown)) or ([comparison.headline] if few else [])
    return [
        render_table([[f"{metric} by slice", "rows", *HEADER[:3]], *make_slice_rows(comparison, metric), *few])
        for metric in metrics
    ]


def make_slice_rows(comparison: Comparison, metric: str) -> list[list[str]]:
    return [
        [name, f"{each.rows:,}", *make_cells(each)[:3]]
        for name, differences in comparison.slices.items()
        for each in differences
        if each.metric == metric
    ]


def describe_sides(comparison: Comparison) -> str:
    """Where both come from, the rows, and what differs in how their lists were made."""
    lines = [
        f"baseline   {escape_controls(comparison.baseline)}",
        f"optimized  {escape_controls(comparison.optimized)}",
        f"test set   {comparison.fingerprint}, {comparison.overall[0].rows:,} rows; users drawn or swapped whole",
    ]
    one, other = map(asdict, comparison.lists)
    differ = [f"{name} {one[name]} against {other[name]}" for name in one if one[name] != other[name]]
    if differ:
        lines.append(f"lists      made in other ways: {', '.join(differ)}; metrics go as far as the shorter ones")
    return "\n".join(lines)


def make_notes(comparison: Comparison) -> list[str]:
    """Why cells are empty."""
    notes = []
    if comparison.small_slices:
        notes.append(f"-: fewer than {MIN_ROWS} rows, nothing is claimed of them")
    shown = [*comparison.overall, *(each for differences in comparison.slices.values() for each in differences)]
    if any(np.isnan(each.difference.low) for each in shown):
        notes.append("-: too few users for an interval; it takes six")
    return notes


HEADER = ["baseline", "optimized", "difference  [95% interval]", "p", "users won/ tied/ lost"]


def make_cells(difference: Difference) -> list[str]:
    return [
        f"{difference.baseline:.4f}",
        f"{difference.optimized:.4f}",
        format_change(difference).replace(" ", "  ", 1),
        f"{difference.p_value:.4f}",
        f"{difference.wins}/{difference.ties}/{difference.losses}",
    ]
