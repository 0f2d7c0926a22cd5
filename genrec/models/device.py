"""Which device a model runs on."""

from __future__ import annotations

import torch

from genrec.artifacts import ArtifactError
from genrec.stage import local_rank, processes


def pick_device(name: str, flag: str = "run.device") -> torch.device:
    """What `flag` says -> device; auto is the GPU where there is one, and each process of a launch takes its own."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ArtifactError(f"{flag} is '{name}'; it can be auto, cpu, cuda or cuda:1") from None
    if device.type != "cuda":
        return device
    if not torch.cuda.is_available():
        raise ArtifactError(f"{flag} is {name}, but torch sees no GPU here; it can be auto or cpu")
    return torch.device("cuda", local_rank()) if device.index is None or processes() > 1 else device
