"""Reports of one model whose users differ in taste."""

from dataclasses import replace

import numpy as np

from genrec.evaluation.metrics import CUTOFFS, ListSettings
from genrec.evaluation.report import Report, ScoredRows


def make_report(seed: int = 0, lift: float = 0.0, users: int = 120, fingerprint: str = "f00d") -> Report:
    """Rows of `users` users whose NDCG is their taste, noise and a lift for everyone."""
    random = np.random.default_rng(seed)
    user = np.repeat(np.arange(users, dtype=np.int32), np.random.default_rng(9).integers(1, 5, users))
    taste = np.random.default_rng(8).random(users)[user]
    score = np.clip(0.5 * taste + 0.3 * random.random(len(user)) + lift, 0, 1)
    scores = {f"{name}@{cutoff}": score for name in ("hr", "ndcg", "mrr") for cutoff in CUTOFFS}
    slices = {"tail target": user % 3 == 0, "cold target": np.zeros(len(user), dtype=bool)}
    rows = ScoredRows(fingerprint, "test", len(user), len(user), users, 50)
    return Report("sft", rows, user, scores, slices, {}, ListSettings(50))


def cut_lists(report: Report, length: int, **settings) -> Report:
    """The same lists, cut: what is measured beyond their end is gone."""
    scores = {name: score for name, score in report.scores.items() if int(name.partition("@")[2]) <= length}
    return replace(report, scores=scores, lists=ListSettings(length, **settings))
