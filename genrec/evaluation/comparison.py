"""Two models on the same rows: paired differences by user, with bootstrap intervals and a randomisation test.

E examples, U users, M metrics, R rounds
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from genrec.errors import ArtifactError
from genrec.evaluation.report import Estimate, Report, align_columns, estimate_ratios, estimate_to_json, sum_by_user

ROUNDS = 10_000
HEADLINE = "ndcg@10"
METRICS = ("hr@1", "hr@5", "hr@10", "hr@20", "ndcg@5", "ndcg@10", "ndcg@20", "mrr@10")
SLICE_METRICS = ("hr@10", "ndcg@10")
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
    overall: list[Difference]
    slices: dict[str, list[Difference]]


def compare_reports(baseline: Report, optimized: Report, names: tuple[str, str], seed: int) -> Comparison:
    """Every metric over all rows, and two of them a slice; slices are the baseline's."""
    check_same_rows(baseline, optimized, names)
    everything = np.ones(len(baseline.user), dtype=bool)
    sliced = {name: inside for name, inside in baseline.slices.items() if inside.any()}
    return Comparison(
        *names,
        baseline.rows.fingerprint,
        measure_differences(baseline, optimized, METRICS, everything, seed),
        {
            name: measure_differences(baseline, optimized, SLICE_METRICS, inside, seed)
            for name, inside in sliced.items()
        },
    )


def check_same_rows(baseline: Report, optimized: Report, names: tuple[str, str]) -> None:
    one, other = (
        f"{name} has test set {r.rows.fingerprint} ({r.rows.rows:,} {r.rows.split} rows, {r.rows.items:,} items)"
        for name, r in zip(names, (baseline, optimized), strict=True)
    )
    if baseline.rows.fingerprint != optimized.rows.fingerprint:
        raise ArtifactError(
            f"the two runs answer different questions: {one}, {other}; "
            "evaluate both on the same data, split, --limit and --run.seed"
        )


def measure_differences(
    baseline: Report, optimized: Report, metrics: tuple[str, ...], inside: np.ndarray, seed: int
) -> list[Difference]:
    """One Difference a metric over the rows `inside` (E,) bool."""
    user = baseline.user[inside]
    before = np.stack([baseline.scores[name][inside] for name in metrics], axis=1)  # (E, M)
    after = np.stack([optimized.scores[name][inside] for name in metrics], axis=1)
    change = after - before
    intervals = estimate_ratios(user, change, np.ones_like(change), seed)
    by_user = sum_by_user(user, change)  # (U, M)
    p_values = randomisation_test(by_user, seed)
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


def randomisation_test(by_user: np.ndarray, seed: int, chunk: int = 500) -> np.ndarray:
    """(U, M) differences -> (M,) p: the share of random sign flips, a user at a time, at least as far from zero.

    p = (1 + #{rounds: |sum_u s_u d_u| >= |sum_u d_u|}) / (1 + ROUNDS), s_u = -1 or 1; users who tie do not matter.
    """
    by_user = by_user[(np.abs(by_user) > TIE).any(axis=1)]
    random = np.random.default_rng(seed)
    observed = np.abs(by_user.sum(axis=0))
    as_far = np.zeros(by_user.shape[1])
    for begin in range(0, ROUNDS, chunk):
        size = min(chunk, ROUNDS - begin)
        signs = random.integers(0, 2, size=(size, len(by_user)), dtype=np.int8).astype(np.float32) * 2 - 1
        as_far += (np.abs(signs @ by_user) >= observed - TIE).sum(axis=0)
    return (1 + as_far) / (1 + ROUNDS)


def comparison_to_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "baseline": comparison.baseline,
        "optimized": comparison.optimized,
        "test_set": comparison.fingerprint,
        "rounds": ROUNDS,
        "verdict": make_verdict(comparison),
        "overall": differences_to_json(comparison.overall),
        "slices": {name: differences_to_json(differences) for name, differences in comparison.slices.items()},
    }


def differences_to_json(differences: list[Difference]) -> list[dict[str, Any]]:
    return [asdict(each) | {"difference": estimate_to_json(each.difference)} for each in differences]


def make_verdict(comparison: Comparison) -> str:
    """One sentence on the headline metric."""
    headline = next(each for each in comparison.overall if each.metric == HEADLINE)
    change = headline.difference
    numbers = f"{HEADLINE} {change.mean:+.4f} [{change.low:+.4f}, {change.high:+.4f}], p = {headline.p_value:.4f}"
    if change.low > 0:
        return f"optimized is better: {numbers}"
    if change.high < 0:
        return f"optimized is worse: {numbers}"
    return f"no difference shown: {numbers}"


def describe_comparison(comparison: Comparison) -> str:
    """The verdict, one table over all rows and one by slice."""
    overall = [["metric", *HEADER]] + [[each.metric, *make_cells(each)] for each in comparison.overall]
    sliced = [["slice", "metric", "rows", *HEADER]] + [
        [name, each.metric, f"{each.rows:,}", *make_cells(each)]
        for name, differences in comparison.slices.items()
        for each in differences
    ]
    head = (
        f"baseline   {comparison.baseline}\noptimized  {comparison.optimized}\n"
        f"test set   {comparison.fingerprint}, {comparison.overall[0].rows:,} rows; users drawn or swapped whole"
    )
    return "\n\n".join([head, align_columns(overall), align_columns(sliced), make_verdict(comparison)]) + "\n"


HEADER = ["baseline", "optimized", "difference  [95% interval]", "p", "wins/ties/losses (users)"]


def make_cells(difference: Difference) -> list[str]:
    change = difference.difference
    return [
        f"{difference.baseline:.4f}",
        f"{difference.optimized:.4f}",
        f"{change.mean:+.4f}  [{change.low:+.4f}, {change.high:+.4f}]",
        f"{difference.p_value:.4f}",
        f"{difference.wins}/{difference.ties}/{difference.losses}",
    ]
