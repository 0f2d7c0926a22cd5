"""Supervised fine-tuning: a Trainer on token trees, loss at answer tokens only, validation by real decoding.

A answer tokens of a batch, V vocabulary
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, Trainer, TrainingArguments

from genrec.config import Run, Sft
from genrec.errors import ArtifactError
from genrec.launch import world_size
from genrec.models.token_tree import IGNORE, answer_logits, takes_trees
from genrec.runtime.training_record import TrainingRecord, warn_of_rise
from genrec.training.answer_loss import Legal, answer_loss
from genrec.training.arguments import common_arguments, framework_arguments, limit_to_one_gpu, split_step
from genrec.training.checkpoints import SealedCheckpoints, check_best, find_newest_checkpoint
from genrec.training.divergence import symmetric_divergence
from genrec.training.finite_steps import FiniteSteps
from genrec.training.resuming import OrderedEpochs, Patience
from genrec.training.rows import Collator
from genrec.training.screen import SftScreen, show_on
from genrec.training.soft_targets import SoftTargets
from genrec.training.validation import VALID_METRIC, DecodingEvaluation, loss_curve, validation_curve


class TreeTrainer(OrderedEpochs, FiniteSteps, SealedCheckpoints, DecodingEvaluation, Trainer):
    """transformers.Trainer on token trees; `evaluate` decodes and scores instead of computing a loss."""

    stage = "sft"

    def __init__(
        self,
        *args,
        decode: Callable[[], dict[str, float]],
        legal: Legal | None = None,
        rdrop=0.0,
        soften: SoftTargets | None = None,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.decode = decode
        self.rdrop = rdrop
        self.legal = legal  # which tokens the loss normalises over, all where None
        self.soften = soften  # what a teacher says of the answers
        self.model_accepts_loss_kwargs = True  # the loss below is already a mean over the whole optimizer step

    def compute_loss(self, model, inputs: dict[str, Tensor], return_outputs=False, num_items_in_batch=None):
        logits, labels = self.answers(model, inputs)
        legal = self.legal(labels) if self.legal else None
        asked = inputs["labels"] != IGNORE
        soft = self.soften(labels, inputs["event"][asked]) if self.soften else None
        losses = answer_loss(logits, labels, legal, self.args.label_smoothing_factor, soft)  # (A',)
        if self.rdrop:
            again, _ = self.answers(model, inputs)
            losses = (losses + answer_loss(again, labels, legal, self.args.label_smoothing_factor, soft)) / 2
            losses = losses + self.rdrop * self.diverge(logits, again, legal)
        total = (losses * inputs["weight"][asked]).sum()
        # Answers of the whole step, over all processes: their gradients are averaged.
        count = len(labels) if num_items_in_batch is None else num_items_in_batch / self.accelerator.num_processes
        return (total / count, {"logits": logits}) if return_outputs else total / count

    def answers(self, model, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (A', V) and labels (A',) of the batch's answer tokens."""
        logits, labels = answer_logits(model, inputs, self.accelerator.unwrap_model(model))
        return logits.float(), labels

    def diverge(self, logits: Tensor, again: Tensor, legal: Tensor | None) -> Tensor:
        """How far two passes lie apart, (A',)."""
        distances = symmetric_divergence(logits, again, legal)
        if self.state.global_step == 0 and not distances.any():
            raise ArtifactError(
                f"sft.rdrop {self.rdrop} compares two passes under other dropout, but the model has none; set "
                "sft.scratch.dropout, hidden_dropout or embedding_dropout, sft.lora.dropout, or rdrop 0"
            )
        return distances


def training_arguments(settings: Sft, run: Run, directory: Path, num_rows: int) -> TrainingArguments:
    """The section `sft` as TrainingArguments; `sft.trainer` has the last word."""
    max_steps = settings.trainer.get("max_steps", 0)
    steps = max_steps if max_steps > 0 else max(1, int(np.ceil(num_rows / settings.batch_size) * settings.num_epochs))
    micro = micro_batch(settings)
    every = max(1, round(steps * settings.eval_step))
    knobs = common_arguments(settings, run, directory) | {
        "num_train_epochs": settings.num_epochs,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": settings.batch_size // world_size() // micro,
        "warmup_steps": round(steps * settings.warmup_ratio),
        "weight_decay": settings.weight_decay,
        "train_sampling_strategy": "group_by_length",
        "eval_strategy": "steps",
        "eval_steps": every,
        "save_steps": every,
        "load_best_model_at_end": True,
        "logging_steps": max(1, every // 10),
        "remove_unused_columns": False,
    }
    arguments = TrainingArguments(**(knobs | framework_arguments("sft.trainer", settings.trainer)))
    limit_to_one_gpu(arguments)
    return arguments


def micro_batch(settings: Sft) -> int:
    """Rows a forward pass of one process, so that passes fill the step whatever the number of processes."""
    micro, fills = split_step(settings.batch_size, settings.micro_batch_size)
    if not fills:
        raise ArtifactError(
            f"sft.batch_size {settings.batch_size} over {world_size()} process(es) is not a multiple of {micro} rows a "
            "pass (sft.micro_batch_size); change one of them"
        )
    return micro


def train_sft(
    settings: Sft,
    run: Run,
    directory: Path,
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    rows: datasets.Dataset,
    decode: Callable[[], dict[str, float]],
    callbacks: list,
    legal: Legal | None = None,
    soften: SoftTargets | None = None,
) -> TrainingRecord:
    """Train in place, from the newest checkpoint in `directory` if any; the model ends as the best on valid."""
    patience = [Patience(settings.early_stop)] if settings.early_stop else []
    trainer = TreeTrainer(
        model=model,
        args=training_arguments(settings, run, directory, len(rows)),
        train_dataset=rows,
        eval_dataset=rows.select(range(1)),
        data_collator=Collator(settings.cutoff_len if takes_trees(model) else 0),
        processing_class=tokenizer,
        decode=decode,
        legal=legal,
        rdrop=settings.rdrop,
        soften=soften,
        callbacks=[*patience, *callbacks],
    )
    with show_on(trainer, SftScreen(sum(rows["targets"]))):
        trainer.train(resume_from_checkpoint=find_newest_checkpoint(directory, trainer.stage))
    check_best(trainer)
    trainer.accelerator.wait_for_everyone()  # the checkpoints are removed once all have read the best of them
    state = trainer.state
    best_step = state.best_global_step or state.global_step
    curve = validation_curve(state)
    first, *_, last = [entry["loss"] for entry in state.log_history if "loss" in entry] * 2 or [0.0, 0.0]
    warning = warn_of_rise(trainer.stage, first, last, "--sft.learning_rate", settings.learning_rate)
    steps = (state.global_step, best_step, VALID_METRIC, state.best_metric)
    return TrainingRecord("steps", *steps, curve, warning, loss_curve(state))
