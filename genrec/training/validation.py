"""Validation by what counts in the end: valid rows are decoded and scored, no loss is computed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from genrec.evaluation.metrics import Recommendations, item_scores

VALID_METRIC = "ndcg@10"


class DecodingEvaluation:
    """Mixin of a Trainer whose `evaluate` asks `decode` for the scores of the model as it then is."""

    decode: Callable[[], dict[str, float]]

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix: str = "eval") -> dict[str, float]:
        scores = {f"{metric_key_prefix}_{name}": value for name, value in self.decode().items()}
        self.log(scores)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, scores)
        return scores


def valid_scores(recommended: Recommendations, target: np.ndarray) -> dict[str, float]:
    """Mean HR@10 and NDCG@10 of a validation sample."""
    scores = item_scores(recommended, target)
    return {name: float(scores[name].mean()) for name in ("hr@10", VALID_METRIC)}
