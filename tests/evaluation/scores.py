"""Reports of one model whose users differ in taste."""

import numpy as np

from genrec.evaluation.metrics import CUTOFFS
from genrec.evaluation.report import Report, ScoredRows


def make_report(seed: int = 0, lift: float = 0.0, users: int = 120, fingerprint: str = "f00d") -> Report:
    """Rows of `users` users whose NDCG is their taste, noise and a lift for everyone."""
    random = np.random.default_rng(seed)
    user = np.repeat(np.arange(users, dtype=np.int32), np.random.default_rng(9).integers(1, 5, users))
    taste = np.random.default_rng(8).random(users)[user]
    score = np.clip(0.5 * taste + 0.3 * random.random(len(user)) + lift, 0, 1)
    scores = {f"{name}@{cutoff}": score for name in ("hr", "ndcg", "mrr") for cutoff in CUTOFFS}
    slices = {"tail target": user % 3 == 0, "cold target": np.zeros(len(user), dtype=bool)}
    return Report("sft", ScoredRows(fingerprint, "test", len(user), len(user), users, 50), user, scores, slices, {})
