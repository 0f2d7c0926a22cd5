"""Validation by what counts in the end: valid rows are decoded and scored, no loss is computed."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from transformers import TrainerState
from transformers.integrations import is_deepspeed_zero3_enabled

from genrec.data.lists import order_longest_first
from genrec.data.sequences import Examples
from genrec.evaluation.metrics import item_scores, join_recommendations
from genrec.launch import rank, world_size
from genrec.models.generative import Decoding, GenerativeModel
from genrec.runtime.finite import diverged
from genrec.runtime.processes import gather_all

VALID_METRIC = "ndcg@10"
VALID_METRICS = ("hr@10", VALID_METRIC)
VALID_BEAMS = 20


class ValidDecoder:
    """() -> mean HR@10 and NDCG@10 of the model as it then is, over `size` rows of valid drawn by seed.

    Processes share out the batches; each batch, and with it every score, is what one process makes of it.
    """

    def __init__(self, model: GenerativeModel, held_out: Examples, size: int, seed: int, normalization: str):
        self.model, self.decoding = model, Decoding(VALID_BEAMS, normalization=normalization)
        drawn = held_out.take(np.sort(np.random.default_rng(seed).permutation(len(held_out))[:size]))
        self.valid = drawn.take(order_longest_first(model.prompts(drawn)))  # in the order in which they are batched

    def __call__(self) -> dict[str, float]:
        shares = 1 if is_deepspeed_zero3_enabled() else world_size()  # ZeRO-3 makes no pass without all processes
        starts = range(0, len(self.valid), self.decoding.batch_size)[rank() % shares :: shares]
        batches = [self.model.recommend(self.batch(start), 10, self.decoding) for start in starts]
        recommendations = join_recommendations(gather_all(batches) if shares > 1 else batches)
        scores = item_scores(recommendations, self.valid.target)
        return {name: float(scores[name].mean()) for name in VALID_METRICS}

    def batch(self, start: int) -> Examples:
        return self.valid.take(np.arange(start, min(start + self.decoding.batch_size, len(self.valid))))


def validation_curve(state: TrainerState) -> list[dict[str, float]]:
    """[{"step", "hr@10", "ndcg@10"}] of the validations that a Trainer has logged."""
    return [
        {"step": entry["step"]} | {name: entry[f"eval_{name}"] for name in VALID_METRICS if f"eval_{name}" in entry}
        for entry in state.log_history
        if f"eval_{VALID_METRIC}" in entry
    ]


def loss_curve(state: TrainerState) -> list[dict[str, float]]:
    """[{"step", "loss", "learning_rate"}, and "kl" where one is measured] of every mean that a Trainer has logged."""
    names = ("step", "loss", "learning_rate", "kl")
    return [{name: entry[name] for name in names if name in entry} for entry in state.log_history if "loss" in entry]


class DecodingEvaluation:
    """Mixin of a Trainer whose `evaluate` asks `decode` for the scores of the model as it then is."""

    stage: str
    decode: Callable[[], dict[str, float]]

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix: str = "eval") -> dict[str, float]:
        scores = {f"{metric_key_prefix}_{name}": value for name, value in self.decode().items()}
        for name, value in scores.items():
            if not math.isfinite(value):
                raise diverged(self.stage, f"the validation's '{name}' is {value}", f"at step {self.state.global_step}")
        self.log(scores)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, scores)
        return scores
