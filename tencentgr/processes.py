"""One process or several: torchrun, accelerate launch and torch.distributed.launch all set the same variables."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from genrec.launch import rank, world_size
from genrec.runtime.device import pick_device

Shared = TypeVar("Shared")


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

    def share(self, value: Shared) -> Shared:
        """The first process's value, in all of them."""
        if self.count == 1:
            return value
        values = [value]
        torch.distributed.broadcast_object_list(values, 0, device=self.device)
        return values[0]

    def end(self) -> None:
        if self.count > 1:
            torch.distributed.destroy_process_group()


def start_processes(device: str) -> Processes:
    chosen = pick_device(device, "--device")
    if world_size() > 1:
        torch.distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return Processes(rank(), world_size(), chosen)
