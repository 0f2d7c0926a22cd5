"""What the Trainer does not bring back when a killed training goes on: an epoch's order, and that it had stopped."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Sampler
from transformers import EarlyStoppingCallback, TrainerCallback


def derive_seed(*numbers: int) -> int:
    """A seed that follows from these numbers alone."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class EpochOrder(TrainerCallback):
    """The order of an epoch follows from the seed and the epoch's number alone.

    So it is the same on every process, whatever their dropout drew, and for a run that goes on in the middle of it: the
    samplers' own generators would there begin again with the order of the first epoch.
    """

    def __init__(self, seed: int):
        self.seed, self.generator = seed, torch.Generator()

    def on_epoch_begin(self, args, state, control, **kwargs) -> None:
        epoch = int((state.epoch or 0.0) + 1e-6)  # a share of steps, as the Trainer counts it
        self.generator.manual_seed(derive_seed(self.seed, epoch))

    def rule(self, sampler: Sampler | None) -> Sampler | None:
        """The sampler, drawing from this order; one that draws nothing, or is seeded by accelerate, stays as it is."""
        if hasattr(sampler, "generator") and not isinstance(sampler, torch.utils.data.RandomSampler):
            sampler.generator = self.generator
        return sampler


class OrderedEpochs:
    """For Trainers: the order of their epochs is an EpochOrder."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.order = EpochOrder(self.args.seed)
        self.add_callback(self.order)

    def _get_train_sampler(self, *args) -> Sampler | None:
        return self.order.rule(super()._get_train_sampler(*args))


class Patience(EarlyStoppingCallback):
    """Early stopping that a run killed after it had stopped does not forget."""

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        super().on_train_begin(args, state, control, **kwargs)
        if self.early_stopping_patience_counter >= self.early_stopping_patience:
            control.should_training_stop = True
