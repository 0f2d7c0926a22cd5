"""Which device a model runs on."""

from __future__ import annotations

import torch

from genrec.artifacts import ArtifactError
from genrec.stage import local_rank


def pick_device(name: str) -> torch.device:
    """`run.device` -> device; auto is the GPU where there is one, of several processes each its own."""
    if name == "auto":
        return torch.device(f"cuda:{local_rank()}" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ArtifactError(f"run.device is '{name}'; it can be auto, cpu, cuda or cuda:1") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ArtifactError(f"run.device is {name}, but torch sees no GPU here; use --run.device auto")
    return device
