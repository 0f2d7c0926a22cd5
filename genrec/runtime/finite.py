"""Numbers that are no numbers, in tensors of a training or of a model that is loaded: found, named, refused."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from genrec.errors import ArtifactError


def describe_not_finite(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """The first tensor with NaN or infinite values, and how many: one clause, '' where all are finite."""
    for name, tensor in tensors:
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            count = int((~torch.isfinite(tensor)).sum())
            return f"{count:,} of {tensor.numel():,} values of '{name}' are no finite numbers"
    return ""


def diverged(name: str, fault: str, when: str, rate: str = "the learning rate") -> ArtifactError:
    """What ends a training: `name` is its own, `when` is "after epoch 3" or "at step 12", `rate` the knob to turn."""
    return ArtifactError(
        f"{name}: {fault} {when}; nothing of it was published. Lower {rate}, or look for "
        "values that are no numbers in what it learns from"
    )
