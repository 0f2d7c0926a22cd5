"""One process or several: torchrun, accelerate launch and torch.distributed.launch all set the same variables."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from genrec.artifacts import ArtifactError


@dataclass(frozen=True)
class Processes:
    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module, with gradients averaged over all processes in its backward pass."""
        if self.count == 1:
            return module
        devices = [self.device.index] if self.device.type == "cuda" else None
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # its successor has another name
            return DistributedDataParallel(module, devices, broadcast_buffers=False)

    def wait(self) -> None:
        if self.count > 1:
            torch.distributed.barrier()

    def agree(self, value: float) -> float:
        """The first process's value, in all of them."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(shared, 0)
        return float(shared)

    def end(self) -> None:
        if self.count > 1:
            torch.distributed.destroy_process_group()


def start_processes(device: str) -> Processes:
    count, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", 0)) if count > 1 else None)
    if count > 1:
        torch.distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return Processes(rank, count, chosen)


def choose_device(name: str, local_rank: int | None) -> torch.device:
    """`--device` -> device; auto is the GPU where there is one, and each process of a launch takes its own."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ArtifactError(f"--device is '{name}'; it can be auto, cpu, cuda or cuda:1") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ArtifactError(f"--device is {name}, but torch sees no GPU here; use --device auto")
    return torch.device("cuda", local_rank) if device.type == "cuda" and local_rank is not None else device
