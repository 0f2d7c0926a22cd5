"""Which device a model runs on."""

from __future__ import annotations

from pathlib import Path

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


CPU_INFO = Path("/proc/cpuinfo")
MADE_FOR_BFLOAT16 = {"amx_bf16", "avx512_bf16"}  # instructions that multiply it
SMALL = 100_000_000  # weights; below, an answer takes milliseconds either way, and results stay what they were


def pick_dtype(name: str | None, device: torch.device, num_weights: int) -> torch.dtype:
    """evaluation.dtype -> the numbers that a model of so many weights is computed in on a device."""
    if name is not None:
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if num_weights >= SMALL and cpu_multiplies_bfloat16() else torch.float32


def cpu_multiplies_bfloat16() -> bool:
    """By what Linux says of the first core; elsewhere it is not known, so no."""
    if not CPU_INFO.exists():
        return False
    lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return bool(MADE_FOR_BFLOAT16 & set(flags.split()))


def pick_devices(device: str, num_processes: int) -> tuple[str, ...]:
    """run.device -> one name a worker: all GPUs for "auto", `num_processes` times "cpu" without one."""
    if device == "auto" and torch.cuda.is_available():
        return tuple(f"cuda:{i}" for i in range(torch.cuda.device_count()))
    picked = pick_device(device)
    return ("cpu",) * num_processes if picked.type == "cpu" else (str(picked),)
