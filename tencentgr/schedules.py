"""How the learning rate moves over a training, and over the further epochs that a finished one is given."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """A training of `num_epochs`, in which earlier schedules ended after the epochs `ends`; each is run anew, warm-up
    and all. Without `ends` there is one, from the first step to the last."""

    kind: str  # cosine | step | none
    epoch_steps: int
    num_epochs: int
    warmup_steps: int = 0
    step_size: int = 10  # epochs between two halvings
    ends: tuple[int, ...] = ()

    def stretch(self, epoch: int) -> tuple[int, int]:
        """(first, end) of the schedule that this epoch belongs to, in epochs from 0."""
        bounds = (0, *self.ends, self.num_epochs)
        return max(b for b in bounds if b <= epoch), min((b for b in bounds if b > epoch), default=self.num_epochs)

    def rate(self, epoch: int, step: int) -> float:
        """Share of the peak rate at a step, counted from the first of the training."""
        first, end = self.stretch(epoch)
        done, steps = step - first * self.epoch_steps, (end - first) * self.epoch_steps
        warm = min(1.0, (done + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.kind == "cosine":
            return warm * 0.5 * (1 + math.cos(math.pi * done / steps))
        return warm * (0.5 ** ((epoch - first) // self.step_size) if self.kind == "step" else 1.0)

    def progress(self, step: int) -> float:
        """How much of the first schedule is done, 0..1: what grew harder with it stays so in further epochs."""
        return min(1.0, step / (self.stretch(0)[1] * self.epoch_steps))
