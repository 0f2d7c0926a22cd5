"""Several processes of one launch (torchrun, accelerate launch) that share out work and meet again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch.distributed

from genrec.launch import rank, world_size

Part = TypeVar("Part")


@contextmanager
def together() -> Iterator[None]:
    """Within: the processes of this launch can talk, over CPU memory."""
    torch.distributed.init_process_group("gloo")
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def gather(parts: list[Part]) -> list[Part]:
    """What each process made of the pieces that were dealt out in turn: all, in order, on rank 0; [] elsewhere."""
    found: list[list[Part]] | None = [[] for _ in range(world_size())] if rank() == 0 else None
    torch.distributed.gather_object(parts, found)
    return in_order(found) if found else []


def gather_everywhere(parts: list[Part]) -> list[Part]:
    """As `gather`, on every process."""
    found: list[list[Part]] = [[] for _ in range(world_size())]
    torch.distributed.all_gather_object(found, parts)
    return in_order(found)


def in_order(found: list[list[Part]]) -> list[Part]:
    return [found[piece % len(found)][piece // len(found)] for piece in range(sum(map(len, found)))]
