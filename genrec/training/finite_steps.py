"""A training step that gives numbers that are no numbers ends the training before they reach the weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from genrec.errors import ArtifactError
from genrec.runtime.finite import describe_not_finite, diverged


class FiniteSteps:
    """For Trainers: every loss and every gradient's norm is looked at, both of which the Trainer has computed anyway.

    Under fp16 an infinite gradient is a scale that was too high, and the Trainer's own affair.
    """

    stage: str

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not bool(torch.isfinite(loss)):
            raise self.end_of_training(f"the loss is {float(loss)}")
        return loss

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        if norm is not None and not self.args.fp16 and not math.isfinite(norm):
            raise self.end_of_training(f"the gradient's norm is {float(norm)}{name_culprit(model)}")
        return norm

    def end_of_training(self, fault: str) -> ArtifactError:
        knob = f"{self.stage}.learning_rate ({self.args.learning_rate:g}; then with --clean)"
        return diverged(self.stage, fault, f"at step {self.state.global_step + 1}", knob)


def name_culprit(model: nn.Module) -> str:
    """The first parameter whose gradient is not finite; '' where all are so, as clipping by NaN leaves them."""
    gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    faulty = [name for name, gradient in gradients.items() if not bool(torch.isfinite(gradient).all())]
    return f" by that of '{faulty[0]}'" if 0 < len(faulty) < len(gradients) else ""


def check_weights(stage: str, model: nn.Module) -> None:
    """Raise where a weight that is to be published is no finite number, with its name."""
    if fault := describe_not_finite(model.state_dict().items()):
        raise diverged(stage, fault, "after training", f"{stage}.learning_rate (then with --clean)")
