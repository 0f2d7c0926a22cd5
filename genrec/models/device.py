"""Which device a model runs on."""

from __future__ import annotations

import torch


def pick_device(name: str) -> torch.device:
    """`run.device` -> device; auto is the GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)
