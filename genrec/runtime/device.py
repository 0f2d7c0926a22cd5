"""Which device a model runs on."""

from __future__ import annotations

import torch

from genrec.errors import ArtifactError
from genrec.launch import local_rank, world_size


def pick_device(name: str, flag: str = "run.device") -> torch.device:
    """What `flag` says -> device; auto is the GPU where there is one, and each process of a launch takes its own."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ArtifactError(f"{flag} is '{name}'; it can be auto, cpu, cuda or cuda:1") from None
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise ArtifactError(f"{flag} is '{name}', which is not supported; it can be auto, cpu, cuda or cuda:1")
    if not torch.cuda.is_available():
        raise ArtifactError(f"{flag} is {name}, but torch sees no GPU here; it can be auto or cpu")
    return torch.device("cuda", local_rank()) if device.index is None or world_size() > 1 else device


def pick_devices(device: str, num_processes: int) -> tuple[str, ...]:
    """run.device -> one name a worker: all GPUs for "auto", `num_processes` times "cpu" without one."""
    if device == "auto" and torch.cuda.is_available():
        return tuple(f"cuda:{i}" for i in range(torch.cuda.device_count()))
    picked = pick_device(device)
    return ("cpu",) * num_processes if picked.type == "cpu" else (str(picked),)
